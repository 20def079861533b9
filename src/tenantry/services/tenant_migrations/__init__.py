"""Tenants' databases, one or many of them, brought through the migrations of a folder."""
