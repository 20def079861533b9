"""Customers: the owners of databases, identified by their e-mail address."""

import uuid

from tenantry.base.ids import new_id
from tenantry.control.store import Tx


async def ensure(tx: Tx, email: str) -> uuid.UUID:
    """Return the customer with this (lower-case) address; creates it if it is new."""
    await tx.execute(
        "INSERT INTO customers (id, email) VALUES (%s, %s) ON CONFLICT (email) DO NOTHING",
        (new_id(), email),
    )
    row = await (await tx.execute("SELECT id FROM customers WHERE email = %s", (email,))).fetchone()
    if row is None:
        raise RuntimeError("a customer that was just made is not there")
    customer_id: uuid.UUID = row[0]
    return customer_id
