"""The control database: the wanted state, who requested it, and what was done.

Each module owns the queries of one noun. A query takes a connection on which the caller has
opened a transaction; a row is returned as a typed value.
"""
