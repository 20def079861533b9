"""Blueprints: versioned schemas that a database can be made with, compared with, and brought to."""
