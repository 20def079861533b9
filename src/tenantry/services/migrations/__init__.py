"""Migrations: a folder of SQL files and the database that they bring from version to version.

The files, the ``schema_migrations`` table and the advisory lock are the ones that
golang-migrate uses, so that either tool can take over from the other.
"""
