"""Requests of all entry points: authentication, rate limits, idempotency."""
