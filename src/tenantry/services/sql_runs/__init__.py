"""SQL that callers send, run with the rights of a database's owner role."""
