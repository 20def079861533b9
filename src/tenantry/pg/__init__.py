"""Any PostgreSQL server: connections, catalogs, roles, databases, rules, parameters."""
