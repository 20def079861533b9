"""Rows of tables: read, changed, and copied as CSV."""
