"""Customers: the owners of databases, identified by their e-mail address."""

import datetime as dt
import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from psycopg.rows import class_row

from tenantry.base.errors import FieldError, InvalidInput
from tenantry.base.ids import new_id
from tenantry.base.suggestions import did_you_mean
from tenantry.control import plans
from tenantry.control.pages import Key
from tenantry.control.store import Tx

_COMPARED = 1000  # addresses, with one that no customer has


@dataclass(frozen=True, slots=True)
class CustomerRow:
    """A customer, and its pricing plan."""

    id: uuid.UUID
    email: str
    plan: str
    created_at: dt.datetime


@dataclass(frozen=True, slots=True)
class Belongings:
    """What a customer has: all its keys, also those without rights, and unfinished operations."""

    id: uuid.UUID
    databases: int
    users: int
    key_ids: list[uuid.UUID]
    backups: int
    sites: int
    operations: int


class UnknownCustomer(InvalidInput):
    code = "unknown_customer"
    title = "No customer has this address"


async def ensure(tx: Tx, email: str, *, field: str, may_be_new: bool) -> uuid.UUID:
    """Return the customer with this (lower-case) address; creates it if it is new.

    Raises UnknownCustomer, for the request's ``field``, if it is new and may not be: the address
    may be mistyped. A customer that is returned cannot be removed before ``tx`` ends.
    """
    if may_be_new:
        await tx.execute(
            "INSERT INTO customers (id, email) VALUES (%s, %s) ON CONFLICT (email) DO NOTHING",
            (new_id(), email),
        )
    rows = await tx.execute("SELECT id FROM customers WHERE email = %s FOR KEY SHARE", (email,))
    row = await rows.fetchone()
    if row is None:
        message = await _unknown(tx, email)
        raise UnknownCustomer(
            f"{field}: {message}",
            hint="If it is a new customer, set new_customer.",
            fields=(FieldError(field, message, UnknownCustomer.code),),
        )
    customer_id: uuid.UUID = row[0]
    return customer_id


async def require(tx: Tx, email: str, *, field: str) -> None:
    """Raise InvalidInput, for the request's ``field``, if the caller's customers lack this one."""
    rows = await tx.execute("SELECT FROM customers WHERE email = %s", (email,))
    if await rows.fetchone() is None:
        raise InvalidInput.of(field, await _unknown(tx, email))


async def _unknown(tx: Tx, email: str) -> str:
    meant = did_you_mean(email, await _similar(tx, email)) or ""
    return f"there is no customer {email} yet. {meant}".rstrip()


async def _similar(tx: Tx, email: str) -> list[str]:
    """Return customers' addresses that agree before or after the @, the newest first."""
    rows = await tx.execute(
        "SELECT email FROM customers WHERE abs(length(email) - length(%(email)s)) <= 3"
        " AND (split_part(email, '@', 1) = split_part(%(email)s, '@', 1)"
        " OR split_part(email, '@', 2) = split_part(%(email)s, '@', 2))"
        " ORDER BY id DESC LIMIT %(most)s",
        {"email": email, "most": _COMPARED},
    )
    return [str(row[0]) for row in await rows.fetchall()]


_SELECT = "SELECT id, email, plan, created_at FROM customers "


async def page(
    tx: Tx, *, email: str | None, search: str | None, after: Key, limit: int
) -> list[CustomerRow]:
    """Return up to ``limit`` customers, newest first, starting after ``after``.

    With ``search`` those whose address has this text, in any case.
    """
    async with tx.cursor(row_factory=class_row(CustomerRow)) as cursor:
        await cursor.execute(
            _SELECT
            + """
            WHERE (created_at, id) < (%s, %s) AND (%s::text IS NULL OR email = %s)
              AND (%s::text IS NULL OR strpos(lower(email), lower(%s)) > 0)
            ORDER BY created_at DESC, id DESC LIMIT %s
            """,
            (*after, email, email, search, search, limit),
        )
        return await cursor.fetchall()


async def find(tx: Tx, customer_id: uuid.UUID) -> CustomerRow | None:
    """Return a customer by id, or None."""
    async with tx.cursor(row_factory=class_row(CustomerRow)) as cursor:
        await cursor.execute(_SELECT + "WHERE id = %s", (customer_id,))
        return await cursor.fetchone()


async def lock(tx: Tx, customer_id: uuid.UUID) -> CustomerRow | None:
    """As ``find``; until ``tx`` ends no row that refers to the customer can be added."""
    async with tx.cursor(row_factory=class_row(CustomerRow)) as cursor:
        await cursor.execute(_SELECT + "WHERE id = %s FOR UPDATE", (customer_id,))
        return await cursor.fetchone()


async def set_plan(tx: Tx, customer_id: uuid.UUID, plan: str) -> None:
    """Give a customer another pricing plan. Raises InvalidInput if there is none of this name."""
    await plans.require(tx, plan)
    await tx.execute("UPDATE customers SET plan = %s WHERE id = %s", (plan, customer_id))


async def belongings(tx: Tx, ids: Sequence[uuid.UUID]) -> dict[uuid.UUID, Belongings]:
    """Return what each of these customers has."""
    async with tx.cursor(row_factory=class_row(Belongings)) as cursor:
        await cursor.execute(
            """
            SELECT c.id,
                (SELECT count(*) FROM databases d WHERE d.customer_id = c.id) AS databases,
                (SELECT count(*) FROM users u WHERE u.customer_id = c.id) AS users,
                ARRAY(SELECT k.id FROM api_keys k WHERE k.customer_id = c.id) AS key_ids,
                (SELECT count(*) FROM backups b WHERE b.customer_id = c.id) AS backups,
                (SELECT count(*) FROM sites s WHERE s.customer_id = c.id) AS sites,
                (SELECT count(*) FROM operations o WHERE o.customer_id = c.id
                    AND o.finished_at IS NULL) AS operations
            FROM customers c WHERE c.id = ANY (%s)
            """,
            (list(ids),),
        )
        return {row.id: row for row in await cursor.fetchall()}


async def remove(tx: Tx, customer_id: uuid.UUID) -> None:
    """Delete a customer without databases, users, backups and sites, and all its keys.

    Its operations become the platform's.
    """
    # Keys that a customer's key has created are the customer's too.
    await tx.execute("DELETE FROM api_keys WHERE customer_id = %s", (customer_id,))
    await tx.execute(
        "UPDATE operations SET customer_id = NULL WHERE customer_id = %s", (customer_id,)
    )
    await tx.execute("DELETE FROM customers WHERE id = %s", (customer_id,))
