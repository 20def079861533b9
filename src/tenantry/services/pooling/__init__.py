"""Pooling: one PgBouncer in front of the shared cluster, in transaction mode."""
