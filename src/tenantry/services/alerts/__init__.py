"""Alerts: conditions that need attention, and the messages about them and about events."""
