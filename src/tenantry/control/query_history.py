"""The statements that took most of each database's time, by the hour.

The invariant of the snapshots. ``query_counters`` is what a cluster had counted at
``query_snapshots.taken_at``, and all that it counted between the first snapshot and then has been
added to the history, once. Both are changed in one transaction, by whoever has locked the table
before it reads the cluster. So a snapshot that is killed has added nothing, and the next one adds
the same; one that is repeated adds nothing. What an entry counts between a snapshot and its
eviction or reset is lost; nothing is subtracted for it.
"""

import datetime as dt
import uuid
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass, fields
from typing import Any

from psycopg import sql
from psycopg.rows import class_row

from tenantry.control.store import Tx, as_platform
from tenantry.pg.statement_counters import Counters, Key
from tenantry.pg.statement_statistics import Counting, Order

KEPT_DAYS = 8  # a week before the present hour is within it
MOST_KEPT = 50  # statements of a database and hour
MOST_IN_PRESENT_HOUR = 200
MOST_TEXTS = 500  # of a database
WHOLE = 0  # the query ID of all statements of a database together; PostgreSQL gives none this one

Statement = tuple[bool, int]  # whether it is the shadow's, and the query ID
Rows = Mapping[uuid.UUID, Mapping[Statement, Counters]]
_FIELDS = [field.name for field in fields(Counters)]
_COLUMNS = sql.SQL(", ").join(map(sql.Identifier, _FIELDS))
_ARRAYS = sql.SQL(", ").join(
    sql.SQL("%s::float8[]" if name == "total_ms" else "%s::int8[]") for name in _FIELDS
)
_NEW = sql.SQL(", ").join(sql.SQL("excluded.{}").format(sql.Identifier(name)) for name in _FIELDS)
_ADDED = sql.SQL(", ").join(
    sql.SQL("h.{0} + excluded.{0}").format(sql.Identifier(name)) for name in _FIELDS
)
_SUMS = sql.SQL(", ").join(
    sql.SQL("sum({0})::float8 AS {0}" if name == "total_ms" else "sum({0})::int8 AS {0}").format(
        sql.Identifier(name)
    )
    for name in _FIELDS
)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """When a cluster's counts were last added, and what ``Counting`` was then."""

    taken_at: dt.datetime
    counted_since: dt.datetime
    evictions: int


@dataclass(frozen=True, slots=True)
class Hour:
    """How many seconds of an hour were measured, and how many entries were evicted in it."""

    hour: dt.datetime
    seconds: float
    evictions: int


@dataclass(frozen=True, slots=True)
class Past:
    """A statement of a database in some hours; ``share`` is its part of the database's time.

    ``own`` is as in ``StatementStatistics``.
    """

    query_id: int
    shadow: bool
    query: str
    counters: Counters
    share: float
    own: bool


@dataclass(frozen=True, slots=True)
class Pace:
    """How long a database's statements took in an hour, and would have taken a week before.

    Of those that ran in both hours, each as often as in the later one; in milliseconds.
    """

    calls: int
    now_ms: float
    before_ms: float


def hour_of(moment: dt.datetime) -> dt.datetime:
    """Return the beginning of a moment's hour, UTC."""
    return moment.astimezone(dt.UTC).replace(minute=0, second=0, microsecond=0)


# ── snapshots ────────────────────────────────────────────────────────────────


async def roll(tx: Tx) -> None:
    """Create the partitions of today and tomorrow, and drop old ones; the same for the rest."""
    await tx.execute("SELECT roll_query_history(%s)", (KEPT_DAYS,))
    kept = (dt.timedelta(days=KEPT_DAYS),)
    await tx.execute("DELETE FROM query_hours WHERE hour < now() - %s", kept)
    await tx.execute("DELETE FROM query_texts WHERE used_at < now() - %s", kept)


async def lock(tx: Tx, cluster_id: uuid.UUID) -> tuple[Snapshot | None, dt.datetime]:
    """Wait for other snapshots. Return the last one of this cluster, and the time now.

    Raises Busy.
    """
    await tx.execute("LOCK TABLE query_snapshots IN SHARE ROW EXCLUSIVE MODE")
    ((now,),) = await (await tx.execute("SELECT clock_timestamp()")).fetchall()
    return await last(tx, cluster_id), now


async def last(tx: Tx, cluster_id: uuid.UUID) -> Snapshot | None:
    """Return the last snapshot of a cluster."""
    async with as_platform(tx), tx.cursor(row_factory=class_row(Snapshot)) as cursor:
        await cursor.execute(
            "SELECT taken_at, counted_since, evictions FROM query_snapshots WHERE cluster_id = %s",
            (cluster_id,),
        )
        return await cursor.fetchone()


async def counters(tx: Tx, cluster_id: uuid.UUID) -> dict[Key, Counters]:
    """Return what a cluster had counted at its last snapshot."""
    query = sql.SQL(
        "SELECT database_oid::int8, role_oid::int8, query_id, {} FROM query_counters"
        " WHERE cluster_id = %s"
    ).format(_COLUMNS)
    cursor = await tx.execute(query, (cluster_id,))
    return {
        (database, role, query_id): Counters(*counted)
        for database, role, query_id, *counted in await cursor.fetchall()
    }


async def note(
    tx: Tx,
    cluster_id: uuid.UUID,
    at: dt.datetime,
    counting: Counting,
    *,
    changed: Mapping[Key, Counters],
    gone: Collection[Key],
) -> None:
    """Record a snapshot: the entries that changed, and the keys of those that are gone."""
    await tx.execute(
        """
        INSERT INTO query_snapshots VALUES (%s, %s, %s, %s)
        ON CONFLICT (cluster_id) DO UPDATE SET taken_at = excluded.taken_at,
            counted_since = excluded.counted_since, evictions = excluded.evictions
        """,
        (cluster_id, at, counting.since, counting.evictions),
    )
    await tx.execute(
        """
        DELETE FROM query_counters c USING unnest(%s::oid[], %s::oid[], %s::int8[]) g (d, r, q)
        WHERE c.cluster_id = %s AND (c.database_oid, c.role_oid, c.query_id) = (g.d, g.r, g.q)
        """,
        (*_turned(gone, 3), cluster_id),
    )
    query = sql.SQL(
        """
        INSERT INTO query_counters (cluster_id, database_oid, role_oid, query_id, {columns})
        SELECT %s, * FROM unnest(%s::oid[], %s::oid[], %s::int8[], {arrays})
        ON CONFLICT (cluster_id, database_oid, role_oid, query_id) DO UPDATE SET
            ({columns}) = ROW ({new})
        """
    ).format(columns=_COLUMNS, arrays=_ARRAYS, new=_NEW)
    found = [(*key, *astuple(each)) for key, each in changed.items()]
    await tx.execute(query, (cluster_id, *_turned(found, 10)))


def _turned(rows: Iterable[Sequence[Any]], width: int) -> list[list[Any]]:
    """Return the columns of rows."""
    found = list(rows)
    return [[row[index] for row in found] for index in range(width)]


async def note_hour(
    tx: Tx, cluster_id: uuid.UUID, hour: dt.datetime, *, seconds: float, evictions: int
) -> None:
    """Record that so much more of an hour was measured, with so many evictions."""
    await tx.execute(
        """
        INSERT INTO query_hours AS h VALUES (%s, %s, %s, %s)
        ON CONFLICT (cluster_id, hour) DO UPDATE SET seconds = h.seconds + excluded.seconds,
            evictions = h.evictions + excluded.evictions
        """,
        (cluster_id, hour, seconds, evictions),
    )


async def add(tx: Tx, hour: dt.datetime, rows: Rows) -> None:
    """Add to what databases have done in an hour."""
    query = sql.SQL(
        """
        INSERT INTO query_history AS h (hour, database_id, shadow, query_id, {columns})
        SELECT %s, * FROM unnest(%s::uuid[], %s::boolean[], %s::int8[], {arrays})
        ON CONFLICT (database_id, hour, shadow, query_id) DO UPDATE SET
            ({columns}) = ROW ({added})
        """
    ).format(columns=_COLUMNS, arrays=_ARRAYS, added=_ADDED)
    found = [
        (database_id, *statement, *astuple(each))
        for database_id, statements in rows.items()
        for statement, each in statements.items()
    ]
    await tx.execute(query, (hour, *_turned(found, 10)))


async def cut(tx: Tx, hour: dt.datetime, databases: Collection[uuid.UUID], *, most: int) -> None:
    """Keep the statements of each database that took most of its time in an hour."""
    await tx.execute(
        """
        DELETE FROM query_history h USING (
            SELECT database_id, shadow, query_id, row_number() OVER (
                PARTITION BY database_id ORDER BY total_ms DESC, query_id, shadow) AS place
            FROM query_history
            WHERE hour = %(hour)s AND database_id = ANY (%(databases)s) AND query_id <> %(whole)s
        ) r
        WHERE r.place > %(most)s AND h.hour = %(hour)s
          AND (h.database_id, h.shadow, h.query_id) = (r.database_id, r.shadow, r.query_id)
        """,
        {"hour": hour, "databases": list(databases), "whole": WHOLE, "most": most},
    )


async def without_text(
    tx: Tx, hour: dt.datetime, databases: Collection[uuid.UUID]
) -> list[tuple[uuid.UUID, bool, int]]:
    """Return the first statements of databases in an hour that have no text yet.

    The texts of the others are recorded as used.
    """
    cursor = await tx.execute(
        """
        WITH first AS (
            SELECT database_id, shadow, query_id, row_number() OVER (
                PARTITION BY database_id ORDER BY total_ms DESC, query_id, shadow) AS place
            FROM query_history
            WHERE hour = %(hour)s AND database_id = ANY (%(databases)s) AND query_id <> %(whole)s
        ), used AS (
            UPDATE query_texts t SET used_at = %(hour)s FROM first f
            WHERE f.place <= %(most)s AND t.used_at < %(hour)s
              AND (t.database_id, t.query_id) = (f.database_id, f.query_id)
        )
        SELECT f.database_id, f.shadow, f.query_id FROM first f
        WHERE f.place <= %(most)s AND NOT EXISTS (SELECT FROM query_texts t
            WHERE (t.database_id, t.query_id) = (f.database_id, f.query_id))
        """,
        {"hour": hour, "databases": list(databases), "whole": WHOLE, "most": MOST_KEPT},
    )
    return await cursor.fetchall()


async def add_texts(
    tx: Tx, hour: dt.datetime, texts: Mapping[tuple[uuid.UUID, int], tuple[str, bool]]
) -> None:
    """Add texts by database and query ID, and keep those of each database used last.

    Each has whether it is the platform's own.
    """
    found = [(*key, *text) for key, text in texts.items()]
    await tx.execute(
        """
        INSERT INTO query_texts (used_at, database_id, query_id, query, own)
        SELECT %s, * FROM unnest(%s::uuid[], %s::int8[], %s::text[], %s::boolean[])
        ON CONFLICT DO NOTHING
        """,
        (hour, *_turned(found, 4)),
    )
    await tx.execute(
        """
        DELETE FROM query_texts t USING (
            SELECT database_id, query_id, row_number() OVER (
                PARTITION BY database_id ORDER BY used_at DESC, query_id) AS place
            FROM query_texts WHERE database_id = ANY (%s)) r
        WHERE r.place > %s AND (t.database_id, t.query_id) = (r.database_id, r.query_id)
        """,
        (list({database_id for database_id, _ in texts}), MOST_TEXTS),
    )


# ── reading ──────────────────────────────────────────────────────────────────


async def hours(tx: Tx, cluster_id: uuid.UUID, since: dt.datetime) -> list[Hour]:
    """Return the measured hours of a cluster from that of ``since`` on."""
    async with as_platform(tx), tx.cursor(row_factory=class_row(Hour)) as cursor:
        await cursor.execute(
            "SELECT hour, seconds, evictions FROM query_hours WHERE cluster_id = %s AND hour >= %s"
            " ORDER BY hour",
            (cluster_id, hour_of(since)),
        )
        return await cursor.fetchall()


async def of_hours(
    tx: Tx, database_id: uuid.UUID, wanted: Collection[dt.datetime]
) -> dict[tuple[dt.datetime, bool, int], Counters]:
    """Return what a database did in these hours, by hour, shadow and query ID."""
    query = sql.SQL(
        "SELECT hour, shadow, query_id, {} FROM query_history WHERE database_id = %s"
        " AND hour = ANY (%s)"
    ).format(_COLUMNS)
    cursor = await tx.execute(query, (database_id, list(wanted)))
    return {
        (hour, shadow, query_id): Counters(*counted)
        for hour, shadow, query_id, *counted in await cursor.fetchall()
    }


async def paces(tx: Tx, cluster_id: uuid.UUID, hour: dt.datetime) -> dict[uuid.UUID, Pace]:
    """Return the pace of each database of a cluster in an hour, but of those without a past."""
    cursor = await tx.execute(
        """
        SELECT n.database_id, sum(n.calls)::int8, sum(n.total_ms)::float8,
            sum(n.calls * b.total_ms / b.calls)::float8
        FROM query_history n
        JOIN query_history b USING (database_id, shadow, query_id)
        JOIN databases d ON d.id = n.database_id AND d.cluster_id = %(cluster)s
        WHERE n.hour = %(hour)s AND b.hour = %(hour)s - interval '7 days' AND b.calls > 0
          AND n.query_id <> %(whole)s AND NOT n.shadow
        GROUP BY n.database_id
        """,
        {"cluster": cluster_id, "hour": hour, "whole": WHOLE},
    )
    return {database_id: Pace(*rest) for database_id, *rest in await cursor.fetchall()}


async def since(
    tx: Tx,
    database_id: uuid.UUID,
    moment: dt.datetime,
    *,
    order: Order,
    search: str | None,
    limit: int,
    own: bool = False,
) -> list[Past]:
    """Return a database's statements from the hour of ``moment`` on; as ``of_tenant`` does."""
    query = sql.SQL(
        """
        WITH found AS (
            SELECT query_id, shadow, {sums}, sum(total_ms) / greatest(sum(calls), 1) AS mean_ms
            FROM query_history WHERE database_id = %(database)s AND hour >= %(since)s
            GROUP BY query_id, shadow)
        SELECT f.query_id, f.shadow, t.query, coalesce(f.total_ms / nullif(
            (SELECT total_ms FROM found WHERE query_id = %(whole)s), 0), 0), t.own, {columns}
        FROM found f JOIN query_texts t ON t.database_id = %(database)s AND t.query_id = f.query_id
        WHERE (%(own)s OR NOT t.own)
          AND (%(search)s::text IS NULL OR strpos(lower(t.query), lower(%(search)s)) > 0)
        ORDER BY f.{order} DESC, f.query_id LIMIT %(limit)s
        """
    ).format(
        sums=_SUMS,
        columns=sql.SQL(", ").join(sql.SQL("f.{}").format(sql.Identifier(n)) for n in _FIELDS),
        order=sql.Identifier(order),
    )
    cursor = await tx.execute(
        query,
        {
            "database": database_id,
            "since": hour_of(moment),
            "whole": WHOLE,
            "search": search,
            "limit": limit,
            "own": own,
        },
    )
    return [
        Past(query_id, shadow, text, Counters(*counted), share, is_own)
        for query_id, shadow, text, share, is_own, *counted in await cursor.fetchall()
    ]
