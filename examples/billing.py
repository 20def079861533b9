"""The billing blueprint with asyncpg: users see their own payments, administrators refund them.

    DATABASE_URL=postgresql://… python examples/billing.py

Run it as often as you like: each time Ann and Bob pay, and Ann gets a part of it back.
"""

import asyncio
import os
from typing import Any, TypeAlias
from uuid import UUID

import asyncpg

from tenantry_rls import TenantContext, tenant_transaction

Connection: TypeAlias = "asyncpg.Connection[Any]"

ADMINISTRATOR = TenantContext(user_role="administrator")


async def main(url: str) -> None:
    conn = await asyncpg.connect(url)
    try:
        async with tenant_transaction(conn, ADMINISTRATOR):
            ada, ann, bob = [await ensure_user(conn, name) for name in ("ada", "ann", "bob")]
            payment = await pay(conn, ann, 1999, "USD")
            await pay(conn, bob, 2900, "JPY")
        async with tenant_transaction(conn, ADMINISTRATOR):
            await refund(conn, payment, 500, ada)
        try:
            async with tenant_transaction(conn, ADMINISTRATOR):
                await refund(conn, payment, 1500, ada)
        except asyncpg.CheckViolationError as error:
            print("too much:", error.constraint_name)

        for name, user in (("ann", ann), ("bob", bob)):
            async with tenant_transaction(conn, TenantContext(user)):
                print(f"{name}:", *await payments(conn))
        async with tenant_transaction(conn, ADMINISTRATOR):
            print("administrator:", *await payments(conn))
        print("nobody:", *await payments(conn))
    finally:
        await conn.close()


async def ensure_user(conn: Connection, name: str) -> UUID:
    """The user's id; who pays must be known."""
    await conn.execute(
        "INSERT INTO users (email, name) VALUES ($1 || '@billing.example', $1)"
        " ON CONFLICT DO NOTHING",
        name,
    )
    found: UUID = await conn.fetchval(
        "SELECT id FROM users WHERE email = $1 || '@billing.example'", name
    )
    return found


async def pay(conn: Connection, user: UUID, amount: int, currency: str) -> UUID:
    """A payment as the provider reports it, in minor units: 1999 USD is 19.99 dollars."""
    payment: UUID = await conn.fetchval(
        "INSERT INTO payment_transactions (user_id, amount, currency) VALUES ($1, $2, $3)"
        " RETURNING id",
        user, amount, currency,
    )  # fmt: skip
    await conn.execute(
        "UPDATE payment_transactions SET status = 'succeeded' WHERE id = $1", payment
    )
    return payment


async def refund(conn: Connection, payment: UUID, amount: int, admin: UUID) -> None:
    """Give a part of it back, and have it in the audit log, or neither."""
    await conn.execute(
        "INSERT INTO refunds (user_id, transaction_id, amount, currency, admin_user_id)"
        " SELECT user_id, id, $2, currency, $3 FROM payment_transactions WHERE id = $1",
        payment, amount, admin,
    )  # fmt: skip
    await conn.execute(
        "INSERT INTO admin_audit_logs (admin_user_id, action, resource_type, resource_id)"
        " VALUES ($2, 'refund_issued', 'payment_transaction', $1)",
        str(payment), admin,
    )  # fmt: skip


async def payments(conn: Connection) -> list[str]:
    """What each user paid last, for whoever's transaction it is."""
    rows = await conn.fetch(
        "SELECT DISTINCT ON (user_id) users.name, amount - refunded_amount AS amount, currency"
        " FROM payment_transactions JOIN users ON users.id = user_id"
        " WHERE email LIKE '%@billing.example'"
        " ORDER BY user_id, payment_transactions.created_at DESC"
    )
    return sorted(f"{row['name']}={row['amount']}{row['currency']}" for row in rows)


if __name__ == "__main__":
    asyncio.run(main(os.environ["DATABASE_URL"]))
