"""Dedicated instances: clusters with the database of one tenant, which can be stopped."""
