"""Additional roles: further logins of a database, with fewer rights than its owner role."""
