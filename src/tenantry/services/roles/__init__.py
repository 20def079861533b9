"""Additional roles: logins of a database with fewer rights than its owner role."""
