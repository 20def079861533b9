"""Migrations of tenants' databases, one or many, by a folder of files."""
