"""Requests, whichever entry point took them in: who asks, how often, and each change once."""
