"""Giving back the disk that deleted rows have taken: VACUUM FULL, as an operation."""
