"""Imports: a database from another PostgreSQL server, or from an uploaded dump."""
