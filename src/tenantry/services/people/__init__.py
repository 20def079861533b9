"""People coming in: passwords, codes, sessions, and the lock after failures."""
