"""Branches: databases made from others as these are, with strings and limits of their own."""
