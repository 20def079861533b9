"""The hosting blueprint with psycopg 3: customers see their own sites, administrators all.

    DATABASE_URL=postgresql://… python examples/hosting.py

Run it as often as you like.
"""

import os
from typing import Any

import psycopg

from tenantry_rls import TenantContext, tenant_transaction

Connection = psycopg.Connection[Any]

ADMINISTRATOR = TenantContext(user_role="administrator")


def main(url: str) -> None:
    # Settings of the session would be the next client's too, behind a pooler.
    with psycopg.connect(url, autocommit=True) as conn:
        with tenant_transaction(conn, ADMINISTRATOR):
            ann, bob = (ensure_customer(conn, name) for name in ("ann", "bob"))
        for customer in (ann, bob):
            with tenant_transaction(conn, TenantContext(customer)):
                ensure_site(conn, customer)

        with tenant_transaction(conn, TenantContext(ann)):
            print("ann:", *domains(conn))
            # Bob's site is there, and yet there is nothing to change.
            changed = conn.execute("UPDATE sites SET status = 'suspended' WHERE name = 'bob'")
            print("ann suspends bob's:", changed.rowcount)
        with tenant_transaction(conn, TenantContext(bob)):
            print("bob:", *domains(conn))
        with tenant_transaction(conn, ADMINISTRATOR):
            print("administrator:", *domains(conn))
        print("nobody:", *domains(conn))


def ensure_customer(conn: Connection, name: str) -> int:
    """The customer's id. Making customers is the administrators' business."""
    email = f"{name}@hosting.example"
    conn.execute(
        "INSERT INTO users (email, password_hash) VALUES (%s, '!') ON CONFLICT DO NOTHING", (email,)
    )
    conn.execute(
        "INSERT INTO customers (owner_user_id, name) SELECT id, %s FROM users WHERE email = %s"
        " AND NOT EXISTS (SELECT FROM customers WHERE owner_user_id = users.id)",
        (name, email),
    )
    [(customer,)] = conn.execute(
        "SELECT customers.id FROM customers JOIN users ON users.id = owner_user_id"
        " WHERE email = %s",
        (email,),
    ).fetchall()
    return int(customer)


def ensure_site(conn: Connection, customer: int) -> None:
    """A site named like its customer, who says so and may not say another's."""
    conn.execute(
        "INSERT INTO sites (customer_id, name, domain, cloud_provider)"
        " SELECT id, name, name || '.hosting.example', 'aws' FROM customers WHERE id = %s"
        " ON CONFLICT DO NOTHING",
        (customer,),
    )


def domains(conn: Connection) -> list[str]:
    """All that there are, for whoever's transaction it is."""
    return [domain for (domain,) in conn.execute("SELECT domain FROM sites ORDER BY domain")]


if __name__ == "__main__":
    main(os.environ["DATABASE_URL"])
