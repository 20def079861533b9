"""The repositories of physical backups: every cluster's write-ahead log, and its backups."""
