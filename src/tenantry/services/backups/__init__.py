"""Logical backups: one database as a file of pg_dump's, made on demand or on a schedule."""
