"""Customers: the owners of databases, identified by their e-mail address."""

import uuid

from tenantry.base.errors import FieldError, InvalidInput
from tenantry.base.ids import new_id
from tenantry.base.suggestions import did_you_mean
from tenantry.control.store import Tx

_COMPARED = 1000  # addresses, with one that no customer has


class UnknownCustomer(InvalidInput):
    code = "unknown_customer"
    title = "No customer has this address"


async def ensure(tx: Tx, email: str, *, field: str, may_be_new: bool) -> uuid.UUID:
    """Return the customer with this (lower-case) address; creates it if it is new.

    Raises UnknownCustomer, for the request's ``field``, if it is new and may not be: the address
    may be mistyped.
    """
    if may_be_new:
        await tx.execute(
            "INSERT INTO customers (id, email) VALUES (%s, %s) ON CONFLICT (email) DO NOTHING",
            (new_id(), email),
        )
    row = await (await tx.execute("SELECT id FROM customers WHERE email = %s", (email,))).fetchone()
    if row is None:
        meant = did_you_mean(email, await _similar(tx, email)) or ""
        message = f"there is no customer {email} yet. {meant}".rstrip()
        raise UnknownCustomer(
            f"{field}: {message}",
            hint="If it is a new customer, set new_customer.",
            fields=(FieldError(field, message, UnknownCustomer.code),),
        )
    customer_id: uuid.UUID = row[0]
    return customer_id


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
