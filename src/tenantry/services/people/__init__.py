"""Users' own logins: passwords, codes, sessions, the lock after failures."""
