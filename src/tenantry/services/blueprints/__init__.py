"""Blueprints: versioned schemas that databases are created with, compared with and upgraded to."""
