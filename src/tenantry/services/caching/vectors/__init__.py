"""Vectors that a site's programs store and search by their nearness, attributes and words."""
