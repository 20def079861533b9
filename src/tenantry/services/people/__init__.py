"""What people do about their own login: passwords, codes, sessions, the lock after failures."""
