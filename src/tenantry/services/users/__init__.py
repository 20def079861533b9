"""Administration of users; what users do about their own login is in ``people``."""
