"""Databases: what tenants get. Wanted in the control database, made to be so in the clusters."""
