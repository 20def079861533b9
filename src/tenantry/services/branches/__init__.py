"""Branches: copies of databases, with connection strings and limits of their own."""
