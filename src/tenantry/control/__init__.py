"""The control database: what should be, who asked for it, and what was done.

Each module owns the queries of one noun. A query takes a connection that the caller
has opened a transaction on; a row comes back as a typed value.
"""
