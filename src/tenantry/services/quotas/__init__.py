"""Disk quotas: measuring the size of databases, and limiting it."""
