"""Checks that all in tenants' databases belongs to their tenants."""
