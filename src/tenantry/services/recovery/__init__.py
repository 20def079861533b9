"""Restores a whole installation from its backups, on an empty machine."""
