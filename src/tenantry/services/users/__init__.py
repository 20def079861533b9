"""What administrators do about users; what people do about their own login is in ``people``."""
