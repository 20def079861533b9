"""The databases to be sampled, and the newest sample of each: its state, and its counters."""

import datetime as dt
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import get_args, get_type_hints

from psycopg import sql
from psycopg.rows import DictRow, class_row, dict_row

from tenantry.control.store import Tx


@dataclass(frozen=True, slots=True)
class Sample:
    """What a database and its shadow had at a moment, and what they have done so far.

    None is what is not known. ``size_bytes`` is without the shadow. Connections are those of the
    tenant's roles by state; an aborted transaction is one, too. Counters go back to 0 when the
    server loses its statistics (a crash), when the database is restored, and those from
    ``cpu_seconds`` on when what counts them is restarted: the worker, or the pooler.
    ``cpu_seconds`` and ``wal_bytes`` are estimates. ``services.samples.model`` has all units.
    """

    database_id: uuid.UUID
    at: dt.datetime
    size_bytes: int | None
    shadow_bytes: int | None
    memory_bytes: int | None
    direct_active: int
    direct_idle: int
    direct_in_transaction: int
    pooled_active: int
    pooled_idle: int
    pooled_in_transaction: int
    longest_transaction_seconds: float
    clients_active: int | None
    clients_waiting: int | None
    longest_wait_seconds: float | None
    commits: int
    rollbacks: int
    rows_read: int
    rows_fetched: int
    rows_inserted: int
    rows_updated: int
    rows_deleted: int
    blocks_hit: int
    blocks_read: int
    temporary_bytes: int
    deadlocks: int
    cpu_seconds: float | None
    wal_bytes: int | None
    pooled_queries: int | None
    pooled_query_seconds: float | None
    pooled_wait_seconds: float | None


_SQL_TYPES = {uuid.UUID: "uuid", dt.datetime: "timestamptz", int: "int8", float: "float8"}
_TYPES = {
    name: _SQL_TYPES[(get_args(annotation) or (annotation,))[0]]
    for name, annotation in get_type_hints(Sample).items()
}
_NAMES = tuple(_TYPES)
GAUGES = _NAMES[2 : _NAMES.index("commits")]
COUNTERS = _NAMES[len(GAUGES) + 2 :]
POOLER_COUNTERS = COUNTERS[COUNTERS.index("pooled_queries") :]
_values = attrgetter(*_NAMES)


@dataclass(frozen=True, slots=True)
class Sampled:
    """A database to be sampled. Sizes are the last ones metered, None before the first time."""

    id: uuid.UUID
    cluster_id: uuid.UUID
    database_name: str
    has_shadow: bool
    size_bytes: int | None
    shadow_bytes: int | None


async def databases(tx: Tx) -> list[Sampled]:
    """Return all active databases."""
    async with tx.cursor(row_factory=class_row(Sampled)) as cursor:
        await cursor.execute(
            """
            SELECT d.id, d.cluster_id, d.database_name, d.has_shadow,
                u.used_bytes - u.shadow_bytes AS size_bytes, u.shadow_bytes
            FROM databases d LEFT JOIN disk_usage u ON u.database_id = d.id
            WHERE d.status = 'active'
            """
        )
        return await cursor.fetchall()


async def keep_newest(tx: Tx, samples: Sequence[Sample]) -> None:
    """Replace the newest samples of these databases."""
    await tx.execute(
        "DELETE FROM newest_samples WHERE database_id = ANY (%s)",
        ([each.database_id for each in samples],),
    )
    await copy(tx, "newest_samples", _TYPES, map(_values, samples))


async def forget_deleted(tx: Tx) -> None:
    """Forget the newest samples of databases that are deleted. It reads all of them."""
    await tx.execute(
        "DELETE FROM newest_samples n"
        " WHERE NOT EXISTS (SELECT FROM databases d WHERE d.id = n.database_id)"
    )


async def copy(
    tx: Tx, table: str, columns: Mapping[str, str], rows: Iterable[Sequence[object]]
) -> None:
    """Insert rows with COPY; ``columns`` has their types by name."""
    statement = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT binary)").format(
        sql.Identifier(table), sql.SQL(", ").join(map(sql.Identifier, columns))
    )
    async with tx.cursor() as cursor, cursor.copy(statement) as into:
        into.set_types(list(columns.values()))
        for row in rows:
            await into.write_row(row)


async def newest(
    tx: Tx, database_id: uuid.UUID | None, *, customer_id: uuid.UUID | None
) -> list[Sample]:
    """Return the newest sample of a database, or of all; with ``customer_id``, of that customer's.

    A database that was never sampled has none.
    """
    async with tx.cursor(row_factory=class_row(Sample)) as cursor:
        await cursor.execute(
            f"""
            SELECT {", ".join(f"s.{name}" for name in _NAMES)}
            FROM newest_samples s JOIN databases d ON d.id = s.database_id
            WHERE d.status = 'active' AND (%(id)s::uuid IS NULL OR d.id = %(id)s)
              AND (%(customer_id)s::uuid IS NULL OR d.customer_id = %(customer_id)s)
            """,
            {"id": database_id, "customer_id": customer_id},
        )
        return await cursor.fetchall()


_LATEST = (
    "database_id", "at", "seconds", "commits", "rollbacks", "blocks_hit", "blocks_read",
    "temporary_bytes", "wal_bytes", "cpu_seconds", "size_bytes", "clients_waiting",
    "longest_transaction_seconds",
    *(name for name in GAUGES if name.startswith(("direct_", "pooled_"))),
)  # fmt: skip


async def latest(
    tx: Tx,
    databases: Sequence[uuid.UUID] | None,
    *,
    since: dt.datetime,
    customer_id: uuid.UUID | None,
) -> list[DictRow]:
    """Return what the newest row of ``samples_raw`` of each active database has, and its names.

    With ``databases``, of these only; with ``customer_id``, of that customer's. A database that was
    not sampled ``since`` has none.
    """
    async with tx.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(
            f"""
            SELECT {", ".join(f"r.{name}" for name in _LATEST)},
                d.database_name, d.name, d.friendly_name, d.environment
            FROM newest_samples n
                JOIN samples_raw r ON r.database_id = n.database_id AND r.at = n.at
                JOIN databases d ON d.id = n.database_id
            WHERE d.status = 'active' AND r.at >= %(since)s
              AND (%(ids)s::uuid[] IS NULL OR d.id = ANY (%(ids)s::uuid[]))
              AND (%(customer_id)s::uuid IS NULL OR d.customer_id = %(customer_id)s)
            """,
            {
                "ids": None if databases is None else list(databases),
                "since": since,
                "customer_id": customer_id,
            },
        )
        return await cursor.fetchall()


async def visible(
    tx: Tx, databases: Sequence[uuid.UUID], *, customer_id: uuid.UUID | None
) -> list[uuid.UUID]:
    """Return those of these databases that have an owner; with ``customer_id``, that customer."""
    cursor = await tx.execute(
        """
        SELECT d.id FROM databases d JOIN unnest(%(ids)s::uuid[]) WITH ORDINALITY w (id, place)
            ON w.id = d.id
        WHERE d.status IN ('active', 'branching', 'deleting')
          AND (%(customer_id)s::uuid IS NULL OR d.customer_id = %(customer_id)s)
        ORDER BY w.place
        """,
        {"ids": list(dict.fromkeys(databases)), "customer_id": customer_id},
    )
    return [found for (found,) in await cursor.fetchall()]
