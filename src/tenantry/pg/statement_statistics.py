"""The statements of tenants, as pg_stat_statements counts them.

Each shared cluster loads its library. Its views are in the maintenance database, which no tenant
can enter, and are read there by database and role: no tenant's database has the extension. Utility
statements are not recorded: they may have passwords.

The platform runs some statements with the rights of a tenant's role: the console that shows rows,
the record of migrations, the data API that reads the catalog. They end with ``OWN``, a comment, by
which they are known from the tenant's. PostgreSQL counts statements that differ in constants only
as one, with the text of the first: so one that ends with it must not be of a form that an
application may have, such as ``SELECT 1``.
"""

import datetime as dt
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import psycopg
from psycopg import AsyncConnection, sql
from psycopg.rows import TupleRow, class_row

from tenantry.base.errors import Unavailable
from tenantry.pg.api_roles import SHARED
from tenantry.pg.connections import ADMIN, PLATFORM, Address, connect
from tenantry.pg.sessions import Whose
from tenantry.pg.sql_program import OWN

Order = Literal[
    "total_ms", "mean_ms", "max_ms", "calls", "rows", "blocks_read", "temp_bytes", "wal_bytes"
]
Connection = AsyncConnection[TupleRow]

SCHEMA = "statistics"
TRACK = "pg_stat_statements.track"
_MOST_ENTRIES = 5000  # each takes about 500 bytes of shared memory
_MOST_TEXT = 10_000  # characters of one statement in an answer
PARAMETERS = {
    "shared_preload_libraries": "pg_stat_statements",
    "pg_stat_statements.max": str(_MOST_ENTRIES),
    TRACK: "top",
    "pg_stat_statements.track_utility": "off",
    "pg_stat_statements.save": "on",
}


@dataclass(frozen=True, slots=True)
class StatementStatistics:
    """A statement without its constants, of all roles of a tenant in one database.

    ``share`` is its part of the time of all the tenant's statements. Blocks are those of shared
    buffers; ``wal_bytes`` is an estimate. ``min_ms`` and ``max_ms`` are None for a past period.
    ``own`` is whether it is the platform's own, in all that was recorded of it.
    """

    query_id: int
    database_name: str
    query: str
    calls: int
    total_ms: float
    mean_ms: float
    min_ms: float | None
    max_ms: float | None
    rows: int
    share: float
    blocks_hit: int
    blocks_read: int
    temp_bytes: int
    wal_bytes: int
    own: bool = False


@dataclass(frozen=True, slots=True)
class Counting:
    """Since when a cluster counts, and how many entries it has evicted since to make room."""

    since: dt.datetime
    evictions: int


async def ensure(address: Address) -> None:
    """Have the extension, at its newest version, in the maintenance database, for the platform."""
    async with connect(address, user=ADMIN) as admin:
        await admin.execute("SET default_transaction_read_only = off")
        await admin.execute(
            sql.SQL(
                """
                CREATE SCHEMA IF NOT EXISTS {schema};
                CREATE EXTENSION IF NOT EXISTS pg_stat_statements SCHEMA {schema};
                ALTER EXTENSION pg_stat_statements UPDATE;
                REVOKE ALL ON ALL FUNCTIONS IN SCHEMA {schema} FROM PUBLIC;
                REVOKE ALL ON ALL TABLES IN SCHEMA {schema} FROM PUBLIC;
                GRANT USAGE ON SCHEMA {schema} TO {platform};
                GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA {schema} TO {platform};
                GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO {platform};
                GRANT SET ON PARAMETER {track} TO {platform};
                """
            ).format(
                schema=sql.Identifier(SCHEMA),
                platform=sql.Identifier(PLATFORM),
                track=sql.SQL(TRACK),
            )
        )


@contextmanager
def loaded() -> Iterator[None]:
    """Raise Unavailable for what fails because the library is not loaded yet."""
    try:
        yield
    except (
        psycopg.errors.ObjectNotInPrerequisiteState,
        psycopg.errors.UndefinedTable,
        psycopg.errors.UndefinedFunction,
    ) as error:
        raise Unavailable(
            "This server does not count statements yet.",
            hint="It does once it has been restarted.",
        ) from error


IS_OWN = sql.SQL("coalesce(bool_and(right(s.query, {}) = {}), false)").format(
    sql.Literal(len(OWN)), sql.Literal(OWN)
)
_COLUMNS = sql.SQL(
    """
    s.queryid AS query_id, d.datname::text AS database_name,
    left(min(s.query), {most_text}) AS query, sum(s.calls)::int8 AS calls,
    sum(s.total_exec_time) AS total_ms,
    sum(s.total_exec_time) / greatest(sum(s.calls), 1)::float8 AS mean_ms,
    min(s.min_exec_time) AS min_ms, max(s.max_exec_time) AS max_ms, sum(s.rows)::int8 AS rows,
    coalesce(sum(s.total_exec_time)
        / nullif(sum(sum(s.total_exec_time)) OVER (), 0), 0) AS share,
    sum(s.shared_blks_hit)::int8 AS blocks_hit, sum(s.shared_blks_read)::int8 AS blocks_read,
    (sum(s.temp_blks_written) * current_setting('block_size')::int8)::int8 AS temp_bytes,
    sum(s.wal_bytes)::int8 AS wal_bytes, {own} AS own
    """
).format(most_text=sql.Literal(_MOST_TEXT), own=IS_OWN)


async def of_tenant(
    connection: Connection,
    whose: Whose,
    *,
    order: Order,
    search: str | None,
    limit: int,
    own: bool = False,
) -> list[StatementStatistics]:
    """Return a tenant's statements, those first that have most of ``order``.

    Those of shared roles in its databases are its own: only its data API's login takes these. With
    ``search`` only those with that text, in any case; those that are the platform's own with
    ``own`` only. Raises Unavailable.
    """
    query = sql.SQL(
        """
        SELECT * FROM (
            SELECT {columns} FROM {schema}.pg_stat_statements s
                JOIN pg_database d ON d.oid = s.dbid JOIN pg_roles r ON r.oid = s.userid
            WHERE d.datname = ANY (%(databases)s) AND s.queryid IS NOT NULL
              AND (r.rolname = %(owner)s OR starts_with(r.rolname, %(additional)s)
                   OR r.rolname = ANY (%(shared)s))
            GROUP BY s.queryid, d.datname) found
        WHERE (%(own)s OR NOT own)
          AND (%(search)s::text IS NULL OR strpos(lower(query), lower(%(search)s)) > 0)
        ORDER BY {order} DESC, query_id LIMIT %(limit)s
        """
    ).format(columns=_COLUMNS, schema=sql.Identifier(SCHEMA), order=sql.Identifier(order))
    with loaded():
        async with connection.cursor(row_factory=class_row(StatementStatistics)) as cursor:
            more = {"shared": [*SHARED], "search": search, "limit": limit, "own": own}
            await cursor.execute(query, whose.parameters | more)
            return await cursor.fetchall()


async def counting(connection: Connection) -> Counting:
    """Return since when statements are counted, and the evictions since. Raises Unavailable."""
    with loaded():
        cursor = await connection.execute(
            sql.SQL("SELECT stats_reset, dealloc FROM {}.pg_stat_statements_info").format(
                sql.Identifier(SCHEMA)
            )
        )
        since, evictions = (await cursor.fetchall())[0]
    return Counting(since, evictions)


async def reset(connection: Connection, databases: Sequence[str]) -> None:
    """Forget the statements of these databases. Raises Unavailable."""
    with loaded():
        await connection.execute(
            sql.SQL(
                "SELECT {}.pg_stat_statements_reset(0, oid, 0) FROM pg_database"
                " WHERE datname = ANY (%s)"
            ).format(sql.Identifier(SCHEMA)),
            (list(databases),),
        )


async def reset_all(connection: Connection) -> None:
    """Forget all statements, and empty the file of their texts."""
    await connection.execute(
        sql.SQL("SELECT {}.pg_stat_statements_reset()").format(sql.Identifier(SCHEMA))
    )


async def reset_dropped(connection: Connection) -> None:
    """Forget the statements of databases that do not exist any more."""
    with loaded():
        await connection.execute(
            sql.SQL(
                "SELECT {0}.pg_stat_statements_reset(0, gone.dbid, 0) FROM ("
                "SELECT DISTINCT dbid FROM {0}.pg_stat_statements(false)"
                " EXCEPT SELECT oid FROM pg_database) gone"
            ).format(sql.Identifier(SCHEMA))
        )


async def largest_texts(connection: Connection) -> tuple[str, int] | None:
    """Return the database whose statements have the longest texts, and their bytes together."""
    cursor = await connection.execute(
        sql.SQL(
            """
            SELECT d.datname::text, sum(octet_length(s.query))::int8 FROM {}.pg_stat_statements s
                JOIN pg_database d ON d.oid = s.dbid
            GROUP BY d.datname ORDER BY 2 DESC LIMIT 1
            """
        ).format(sql.Identifier(SCHEMA))
    )
    return await cursor.fetchone()


async def untracked(connection: Connection) -> set[str]:
    """Return the databases whose statements are not recorded."""
    cursor = await connection.execute(
        "SELECT d.datname::text FROM pg_db_role_setting s JOIN pg_database d"
        " ON d.oid = s.setdatabase WHERE s.setrole = 0 AND %s = ANY (s.setconfig)",
        (f"{TRACK}=none",),
    )
    return {name for (name,) in await cursor.fetchall()}


async def track(connection: Connection, database: str, *, on: bool) -> None:
    """Have the statements of new sessions in a database recorded, or not."""
    await connection.execute(
        sql.SQL("ALTER DATABASE {} {} {}{}").format(
            sql.Identifier(database),
            sql.SQL("RESET" if on else "SET"),
            sql.SQL(TRACK),
            sql.SQL("" if on else " = 'none'"),
        )
    )
