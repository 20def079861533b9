"""Drills: test restores of databases, to prove that their backups are good."""
