"""Lists of databases, page by page."""

import datetime as dt
import uuid
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from psycopg.rows import class_row

from tenantry.control.databases import COLUMNS, FROM, DatabaseRow
from tenantry.control.pages import Key
from tenantry.control.store import Tx

Order = Literal["size", "cpu", "used", "unused"]

_SEARCHED = [
    "coalesce(d.friendly_name, '') || ' ' || coalesce(d.name, '') || ' ' || d.database_name"
    " ILIKE %(search)s",  # matches the index databases_search
    "c.email ILIKE %(search)s",
]


# By the newest sample, in which a database that has been quiet since then has nothing.
_CPU = """
    (SELECT CASE WHEN r.at > now() - interval '1 minute' THEN r.cpu_seconds / nullif(r.seconds, 0)
            ELSE 0 END
     FROM newest_samples n JOIN samples_raw r ON r.database_id = n.database_id AND r.at = n.at
     WHERE n.database_id = d.id AND r.at > now() - interval '10 minutes')
"""
_ORDERS: dict[Order, str] = {
    "size": "u.used_bytes DESC NULLS LAST",
    "cpu": f"{_CPU} DESC NULLS LAST",
    "used": "a.last_active_at DESC NULLS LAST",
    "unused": "a.last_active_at ASC NULLS FIRST",
}


@dataclass(frozen=True, slots=True)
class Filter:
    """A filter of databases; None means any. Those that fit have all of ``tags``."""

    environment: str | None = None
    status: str | None = None
    owner: str | None = None
    search: str | None = None
    parent_id: uuid.UUID | None = None
    blueprint: str | None = None
    without_blueprint: bool = False
    unused_since: dt.datetime | None = None
    tags: Sequence[str] = ()


async def page(
    tx: Tx, wanted: Filter, *, customer_id: uuid.UUID | None, after: Key, limit: int
) -> list[DatabaseRow]:
    """Return up to ``limit`` owned databases, newest first, starting after ``after``."""
    conditions = [*_conditions(wanted, customer_id), "(d.created_at, d.id) < (%(at)s, %(id)s)"]
    # Each searched column gets a page of its own, and the pages are merged: for few matches
    # PostgreSQL then uses an index, while with OR it would read every row.
    places = ["true"] if wanted.search is None else _SEARCHED
    pages = [
        f"""
        (SELECT {COLUMNS} {FROM} WHERE {" AND ".join([*conditions, place])}
         ORDER BY d.created_at DESC, d.id DESC LIMIT %(limit)s)
        """
        for place in places
    ]
    query = f"""
        SELECT * FROM ({" UNION ".join(pages)}) found
        ORDER BY created_at DESC, id DESC LIMIT %(limit)s
    """
    values = _values(wanted, customer_id) | {"at": after[0], "id": after[1], "limit": limit}
    return await _found(tx, query, values, wanted)


async def first(
    tx: Tx, wanted: Filter, order: Order, *, customer_id: uuid.UUID | None, limit: int
) -> list[DatabaseRow]:
    """Return the first ``limit`` owned databases in an order; those of which it is unknown last.

    One that was never seen in use counts as unused for longest.
    """
    conditions = _conditions(wanted, customer_id)
    if wanted.search is not None:
        conditions.append(f"({' OR '.join(_SEARCHED)})")
    query = f"""
        SELECT {COLUMNS} {FROM} WHERE {" AND ".join(conditions)}
        ORDER BY {_ORDERS[order]}, d.created_at DESC, d.id DESC LIMIT %(limit)s
    """
    return await _found(tx, query, _values(wanted, customer_id) | {"limit": limit}, wanted)


def _conditions(wanted: Filter, customer_id: uuid.UUID | None) -> list[str]:
    conditions = ["d.status IN ('active', 'branching', 'deleting')"]
    if customer_id is not None:
        conditions.append("d.customer_id = %(customer_id)s")
    if wanted.environment is not None:
        conditions.append("d.environment = %(environment)s")
    if wanted.status is not None:
        conditions.append("d.status = %(status)s")
    if wanted.parent_id is not None:
        conditions.append("d.parent_id = %(parent_id)s")
    if wanted.blueprint is not None:
        conditions.append("b.name = %(blueprint)s")
    if wanted.without_blueprint:
        conditions.append("b.name IS NULL")
    if wanted.unused_since is not None:  # without knowledge since then it may have been used
        conditions.append(
            "a.watched_since <= %(unused)s AND coalesce(a.last_active_at <= %(unused)s, true)"
        )
    if wanted.tags:
        conditions.append("d.tags @> %(tags)s::text[]")
    if wanted.owner is not None:
        conditions.append("d.customer_id = (SELECT id FROM customers WHERE email = %(owner)s)")
    return conditions


def _values(wanted: Filter, customer_id: uuid.UUID | None) -> dict[str, Any]:
    text = wanted.search or ""
    for letter in ("\\", "%", "_"):
        text = text.replace(letter, "\\" + letter)
    return {
        "customer_id": customer_id,
        "environment": wanted.environment,
        "status": wanted.status,
        "owner": wanted.owner,
        "unused": wanted.unused_since,
        "parent_id": wanted.parent_id,
        "blueprint": wanted.blueprint,
        "tags": [*wanted.tags],
        "search": f"%{text}%",
    }


async def _found(tx: Tx, query: str, values: dict[str, Any], wanted: Filter) -> list[DatabaseRow]:
    async with tx.cursor(row_factory=class_row(DatabaseRow)) as cursor:
        # No generic plan fits both a rare and a frequent text.
        prepare = None if wanted.search is None else False
        await cursor.execute(query, values, prepare=prepare)
        return await cursor.fetchall()


async def largest(tx: Tx, *, limit: int) -> tuple[list[DatabaseRow], int]:
    """Return the databases that take most of the disk, and the bytes of all that were measured."""
    async with tx.cursor(row_factory=class_row(DatabaseRow)) as cursor:
        await cursor.execute(
            f"""
            SELECT {COLUMNS} {FROM}
            WHERE d.id IN (SELECT database_id FROM disk_usage ORDER BY used_bytes DESC LIMIT %s)
            ORDER BY u.used_bytes DESC, d.id
            """,
            (limit,),
        )
        found = await cursor.fetchall()
    summed = await tx.execute("SELECT coalesce(sum(used_bytes), 0)::bigint FROM disk_usage")
    (total,) = await summed.fetchone() or (0,)
    return found, int(total)


async def by_database_names(tx: Tx, wanted: Collection[str]) -> dict[str, DatabaseRow]:
    """Return the databases that have one of these names on their clusters, by that name."""
    async with tx.cursor(row_factory=class_row(DatabaseRow)) as cursor:
        await cursor.execute(
            f"SELECT {COLUMNS} {FROM} WHERE d.database_name = ANY (%s)", ([*wanted],)
        )
        return {row.database_name: row for row in await cursor.fetchall()}
