"""Request bodies. Field names are accepted in ``snake_case`` and in ``camelCase``."""
