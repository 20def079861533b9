"""Tenantry: Postgres for many tenants, on servers you own."""

__version__ = "0.11.0"
