"""Restores: one database restored to a moment, or from a backup, without affecting the others."""
