"""What callers may send. Both ``snake_case`` and ``camelCase`` names are taken."""
