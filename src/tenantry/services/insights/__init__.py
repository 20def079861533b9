"""Insights: what a database does, such as its sessions and locks."""
