"""Drills: a database restored somewhere, to prove that its backups are good."""
