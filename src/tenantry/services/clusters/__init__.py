"""Clusters: the servers that the platform runs, and the ways into them."""
