"""The history of samples: three tables with the same columns, each partitioned by time.

A row of ``raw`` is of the time until ``at``; one of ``minute`` or ``hour`` is of the time that
begins there. A counter has what was added, in ``seconds`` altogether, or ``pooler_seconds`` for
those of the pooler; a gauge has its maximum. So a coarser row is computed from finer ones by sums
and maxima, and the result does not depend on how they are grouped.

Invariant: every row of ``raw`` and ``minute`` before the ``until`` of the next coarser resolution
is in that one's rows, and no row is added there any more. Only such rows are dropped. Rows that
are computed again, after a crash, are the same. Rows of deleted databases are left out.
"""

import datetime as dt
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from psycopg import sql
from psycopg.rows import DictRow, dict_row

from tenantry.control.samples import COUNTERS, GAUGES, copy
from tenantry.control.store import Tx

Resolution = Literal["raw", "minute", "hour"]
Coarser = Literal["minute", "hour"]

_SCHEMA = "sample_partitions"
_FINER: dict[Coarser, Resolution] = {"minute": "raw", "hour": "minute"}
_EPOCH = dt.datetime.fromtimestamp(0, dt.UTC)
SUMS = ("seconds", "pooler_seconds", *COUNTERS)
VALUES = (*SUMS, *GAUGES)
_REAL = {name for name in VALUES if name.endswith("seconds")}
_INTEGER = {"deadlocks", "clients_active", "clients_waiting"}
_SMALL = {name for name in GAUGES if name.startswith(("direct_", "pooled_"))}


def _type(name: str) -> str:
    for names, type_ in ((_REAL, "float4"), (_INTEGER, "int4"), (_SMALL, "int2")):
        if name in names:
            return type_
    return "int8"


_COLUMNS = {"database_id": "uuid", "at": "timestamptz"} | {name: _type(name) for name in VALUES}


@dataclass(frozen=True, slots=True)
class Period:
    """What a database had at the end of some time, and did in it.

    ``sums`` are in the order of ``SUMS``, ``gauges`` in that of ``GAUGES``; None is what is not
    known.
    """

    database_id: uuid.UUID
    at: dt.datetime
    sums: Sequence[float | None]
    gauges: Sequence[float | None]


def _table(resolution: Resolution) -> sql.Identifier:
    return sql.Identifier(f"samples_{resolution}")


def _names(names: Iterable[str]) -> sql.Composed:
    return sql.SQL(", ").join(map(sql.Identifier, names))


def _aggregates() -> sql.Composed:
    """Return how each of ``VALUES`` of several rows becomes one, under its name."""
    found = []
    for name in VALUES:
        # The sum of many values of type real would be rounded at each of them.
        how = "max({0})" if name in GAUGES else "sum({0})::int8"
        how = "sum({0}::float8)::float4" if name in SUMS and name in _REAL else how
        found.append(sql.SQL(f"{how} AS {{0}}").format(sql.Identifier(name)))
    return sql.SQL(", ").join(found)


async def add(tx: Tx, periods: Iterable[Period]) -> None:
    """Add rows to ``raw``, whose partitions have to exist."""
    rows = ((each.database_id, each.at, *each.sums, *each.gauges) for each in periods)
    await copy(tx, "samples_raw", _COLUMNS, rows)


# ── coarser resolutions ──────────────────────────────────────────────────────


async def rolled_up(tx: Tx) -> dict[Coarser, dt.datetime]:
    """Return up to when each coarser resolution was computed; without those that never were."""
    return dict(await (await tx.execute("SELECT resolution, until FROM sample_rollups")).fetchall())


async def roll_up(
    tx: Tx, resolution: Coarser, *, start: dt.datetime, end: dt.datetime, length: dt.timedelta
) -> None:
    """Compute the rows from ``start`` to ``end`` from finer ones, each of so much time."""
    await tx.execute(
        sql.SQL(
            """
            INSERT INTO {table} (database_id, at, {values})
            SELECT database_id, date_bin(%(length)s, at, %(epoch)s) AS bucket, {aggregates}
            FROM {finer} s WHERE at >= %(start)s AND at < %(end)s
              AND EXISTS (SELECT FROM databases d WHERE d.id = s.database_id)
            GROUP BY database_id, bucket
            ON CONFLICT (database_id, at) DO UPDATE SET ({values}) = ({excluded})
            """
        ).format(
            table=_table(resolution),
            finer=_table(_FINER[resolution]),
            values=_names(VALUES),
            aggregates=_aggregates(),
            excluded=sql.SQL(", ").join(sql.Identifier("excluded", name) for name in VALUES),
        ),
        {"length": length, "epoch": _EPOCH, "start": start, "end": end},
    )
    await tx.execute(
        "INSERT INTO sample_rollups VALUES (%s, %s)"
        " ON CONFLICT (resolution) DO UPDATE SET until = excluded.until",
        (resolution, end),
    )


# ── partitions ───────────────────────────────────────────────────────────────


async def partitions(tx: Tx) -> set[str]:
    """Return the names of all partitions."""
    cursor = await tx.execute(
        "SELECT relname FROM pg_class WHERE relnamespace = %s::regnamespace AND relkind = 'r'",
        (_SCHEMA,),
    )
    return {name for (name,) in await cursor.fetchall()}


async def create_partition(
    tx: Tx, resolution: Resolution, name: str, *, start: dt.datetime, end: dt.datetime
) -> None:
    """Create a partition, which holds neither readers nor writers up."""
    partition = sql.Identifier(_SCHEMA, name)
    await tx.execute(
        sql.SQL("CREATE TABLE {} (LIKE {} INCLUDING ALL)").format(partition, _table(resolution))
    )
    await tx.execute(
        sql.SQL("ALTER TABLE {} ATTACH PARTITION {} FOR VALUES FROM ({}) TO ({})").format(
            _table(resolution), partition, sql.Literal(start), sql.Literal(end)
        )
    )


async def drop_partition(tx: Tx, name: str) -> None:
    """Drop a partition with all its rows."""
    await tx.execute(sql.SQL("DROP TABLE {}").format(sql.Identifier(_SCHEMA, name)))


# ── reading ──────────────────────────────────────────────────────────────────


async def in_steps(
    tx: Tx,
    databases: Sequence[uuid.UUID],
    resolution: Resolution,
    *,
    start: dt.datetime,
    end: dt.datetime,
    step: dt.timedelta,
) -> list[DictRow]:
    """Return ``database_id``, ``bucket`` (the start of a step) and ``VALUES``, in order of time.

    Steps without a row are left out. Rows of that resolution are read, and finer ones of the time
    for which it is not yet computed.
    """
    selects = [
        sql.SQL(
            "SELECT database_id, at, {values} FROM {table}"
            " WHERE database_id = ANY (%(ids)s) AND at >= {first} AND at < {last}"
        ).format(
            values=_names(VALUES),
            table=_table(part),
            first=sql.Literal(first),
            last=sql.Literal(last),
        )
        for part, first, last in _parts(resolution, start, end, await rolled_up(tx))
    ]
    async with tx.cursor(row_factory=dict_row, binary=True) as cursor:
        await cursor.execute(
            sql.SQL(
                """
                SELECT database_id, date_bin(%(step)s, at, %(epoch)s) AS bucket, {aggregates}
                FROM ({rows}) s GROUP BY database_id, bucket ORDER BY bucket
                """
            ).format(aggregates=_aggregates(), rows=sql.SQL(" UNION ALL ").join(selects)),
            {"ids": list(databases), "step": step, "epoch": _EPOCH},
        )
        return await cursor.fetchall()


async def transactions_of_clusters(
    tx: Tx, *, start: dt.datetime, step: dt.timedelta, steps: int
) -> dict[uuid.UUID, list[float | None]]:
    """Return the transactions a second of each cluster's databases together, for each step.

    None is what is not known: nothing was sampled then. ``start`` is the begin of a step.
    """
    selects = [
        sql.SQL(
            "SELECT database_id, at, commits, rollbacks FROM {} WHERE at >= {} AND at < {}"
        ).format(_table(part), sql.Literal(first), sql.Literal(last))
        for part, first, last in _parts("hour", start, start + steps * step, await rolled_up(tx))
    ]
    cursor = await tx.execute(
        sql.SQL(
            """
            SELECT cluster_id, date_bin(%(step)s, at, %(start)s),
                sum(commits + rollbacks)::float8 / extract(epoch FROM %(step)s)::float8
            FROM ({}) s JOIN databases d ON d.id = s.database_id GROUP BY 1, 2
            """
        ).format(sql.SQL(" UNION ALL ").join(selects)),
        {"step": step, "start": start},
    )
    found: dict[uuid.UUID, list[float | None]] = {}
    for cluster_id, at, rate in await cursor.fetchall():
        found.setdefault(cluster_id, [None] * steps)[int((at - start) / step)] = rate
    return found


def _parts(
    resolution: Resolution,
    start: dt.datetime,
    end: dt.datetime,
    until: Mapping[Coarser, dt.datetime],
) -> Iterator[tuple[Resolution, dt.datetime, dt.datetime]]:
    """Yield which resolution is read from when to when: the coarsest as far as it is computed."""
    coarser: dict[Resolution, tuple[Coarser, ...]] = {
        "raw": (),
        "minute": ("minute",),
        "hour": ("hour", "minute"),
    }
    begins = start
    for each in coarser[resolution]:
        ends = min(end, max(begins, until.get(each, _EPOCH)))
        yield each, begins, ends
        begins = ends
    yield "raw", begins, end


async def largest_since(tx: Tx, database_id: uuid.UUID, since: dt.datetime) -> int:
    """Return the largest sampled size of a database since then, without its shadow; or 0."""
    cursor = await tx.execute(
        """
        SELECT max(size_bytes) FROM (
            SELECT size_bytes FROM samples_hour
            WHERE database_id = %(id)s AND at >= date_trunc('hour', %(since)s, 'UTC')
            UNION ALL
            SELECT size_bytes FROM samples_raw WHERE database_id = %(id)s AND at >= %(since)s
        ) every
        """,
        {"id": database_id, "since": since},
    )
    row = await cursor.fetchone()
    return int(row[0] or 0) if row else 0
