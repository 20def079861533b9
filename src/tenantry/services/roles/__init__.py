"""Roles: further logins of a database, with less right than its first one."""
