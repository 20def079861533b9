"""Clusters: the PostgreSQL servers that the platform runs, and the connections to them."""
