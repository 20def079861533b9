"""Bringing one whole cluster back from its repository, into service in the old one's place."""
