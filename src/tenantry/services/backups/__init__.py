"""Logical backups: one database as a file of pg_dump's, made on demand and by the clock."""
