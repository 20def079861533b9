"""Databases of tenants: desired in the control database, reconciled in the clusters."""
