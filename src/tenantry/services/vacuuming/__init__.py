"""Returns the disk space of deleted rows: VACUUM FULL, as an operation."""
