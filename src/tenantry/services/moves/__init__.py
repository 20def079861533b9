"""Moves of databases between clusters: to an instance of their own, and back."""
