"""Metrics that capabilities measure, and events that are logged and counted."""
