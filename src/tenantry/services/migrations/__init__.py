"""Migrations: a folder of SQL files, and a database that they bring from version to version.

The files, the ``schema_migrations`` table and the advisory lock are those of golang-migrate, so
that either tool can take over from the other.
"""
