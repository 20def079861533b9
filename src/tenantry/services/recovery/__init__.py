"""Bringing a whole installation back from its backups, on an empty machine."""
