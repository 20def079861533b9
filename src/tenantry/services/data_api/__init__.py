"""The REST API on a database: who may use it, with which keys, and as which role."""
