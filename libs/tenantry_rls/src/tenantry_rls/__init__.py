"""Isolate customers' rows by PostgreSQL's row-level security.

    with tenant_transaction(connection, TenantContext(customer_id=42)):
        connection.execute("SELECT * FROM sites")  # customer 42's, and no others

``TenantContext`` names the customer of a transaction, and ``tenant_transaction`` sets it in
PostgreSQL, for one transaction only. ``tenantry_rls.tables`` creates the policies of a table, and
``tenantry_rls.check`` proves that they hold; both need psycopg.
"""

from tenantry_rls.context import InvalidContext, NestedContext, TenantContext, TenantError
from tenantry_rls.pools import ConnectionSettings, InvalidSettings, PoolSettings
from tenantry_rls.transactions import tenant_transaction

__all__ = [
    "ConnectionSettings",
    "InvalidContext",
    "InvalidSettings",
    "NestedContext",
    "PoolSettings",
    "TenantContext",
    "TenantError",
    "tenant_transaction",
]
