"""The cache in a Redis alone: the requests of the clients are answered here."""
