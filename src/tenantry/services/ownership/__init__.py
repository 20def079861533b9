"""Checks that everything in tenants' databases belongs to their tenants."""
