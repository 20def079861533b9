"""The data API of all databases, in one process."""
