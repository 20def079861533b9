"""The open sessions of one tenant, what they wait for, and ending them.

All of it is read from the maintenance database, where the server's views are PostgreSQL's own: no
object of a tenant's is involved, and no connection of its database is taken. Only sessions of the
tenant's roles in the tenant's databases count: not autovacuum's, the platform's or a visitor's.
"""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from psycopg import AsyncConnection, sql
from psycopg.rows import TupleRow, class_row

from tenantry.pg import names

Signal = Literal["cancel", "terminate"]
Connection = AsyncConnection[TupleRow]

_END_MILLISECONDS = 2000  # how long the end of a terminated session is waited for

_SIGNALS: dict[Signal, sql.SQL] = {
    "cancel": sql.SQL("pg_cancel_backend(a.pid)"),
    "terminate": sql.SQL(f"pg_terminate_backend(a.pid, {_END_MILLISECONDS})"),
}
_IS_TENANTS = sql.SQL("""
    a.backend_type = 'client backend' AND a.datname = ANY (%(databases)s)
    AND (a.usename = %(owner)s OR starts_with(a.usename, %(additional)s))
""")


@dataclass(frozen=True, slots=True)
class Whose:
    """A tenant: its databases and its owner role."""

    databases: Sequence[str]
    owner: str

    @property
    def parameters(self) -> dict[str, object]:
        return {
            "databases": list(self.databases),
            "owner": self.owner,
            "additional": names.beginning_of_additional(self.owner),
        }


@dataclass(frozen=True, slots=True)
class OpenSession:
    """A row of pg_stat_activity, with seconds since each of its moments.

    ``client_address`` is None for a connection of the pooler. ``blocked_by`` are the process IDs
    that hold the lock that it waits for, or wait for it before this one; of all tenants.
    """

    pid: int
    database_name: str
    role: str
    application: str
    client_address: str | None
    state: str | None
    query: str
    query_id: int | None
    started_at: dt.datetime
    transaction_started_at: dt.datetime | None
    query_started_at: dt.datetime | None
    age_seconds: float
    transaction_seconds: float | None
    state_seconds: float | None
    wait_event_type: str | None
    wait_event: str | None
    blocked_by: list[int]


@dataclass(frozen=True, slots=True)
class LockWait:
    """A lock that a session waits for. ``relation`` is an oid in the session's database."""

    pid: int
    lock_type: str
    mode: str
    relation: int | None
    seconds: float | None


async def of_tenant(connection: Connection, whose: Whose) -> list[OpenSession]:
    """Return a tenant's open sessions: those in a transaction first, the oldest of them first."""
    async with connection.cursor(row_factory=class_row(OpenSession)) as cursor:
        await cursor.execute(
            sql.SQL(
                """
                SELECT a.pid, a.datname::text AS database_name, a.usename::text AS role,
                    a.application_name AS application, host(a.client_addr) AS client_address,
                    a.state, a.query, a.query_id, a.backend_start AS started_at,
                    a.xact_start AS transaction_started_at, a.query_start AS query_started_at,
                    greatest(0, extract(epoch FROM now.at - a.backend_start))::float8
                        AS age_seconds,
                    greatest(0, extract(epoch FROM now.at - a.xact_start))::float8
                        AS transaction_seconds,
                    greatest(0, extract(epoch FROM now.at - a.state_change))::float8
                        AS state_seconds,
                    a.wait_event_type, a.wait_event,
                    CASE WHEN a.wait_event_type = 'Lock' THEN pg_blocking_pids(a.pid)
                        ELSE ARRAY[]::int[] END AS blocked_by
                FROM pg_stat_activity a, (SELECT clock_timestamp() AS at) now WHERE {is_tenants}
                ORDER BY a.xact_start NULLS LAST, a.backend_start, a.pid
                """
            ).format(is_tenants=_IS_TENANTS),
            whose.parameters,
        )
        return await cursor.fetchall()


async def lock_waits(connection: Connection, pids: Sequence[int]) -> list[LockWait]:
    """Return what these sessions wait for.

    Who waits for a row waits for the transaction that changed it, and meanwhile holds the row's
    place in the queue: a lock of the type ``tuple``, which names the table.
    """
    async with connection.cursor(row_factory=class_row(LockWait)) as cursor:
        await cursor.execute(
            """
            WITH held AS MATERIALIZED (SELECT * FROM pg_locks WHERE pid = ANY (%s))
            SELECT DISTINCT ON (w.pid) w.pid, w.locktype AS lock_type, w.mode,
                coalesce(w.relation, t.relation)::int8 AS relation,
                greatest(0, extract(epoch FROM clock_timestamp() - w.waitstart))::float8 AS seconds
            FROM held w LEFT JOIN held t ON t.pid = w.pid AND t.granted AND t.locktype = 'tuple'
            WHERE NOT w.granted ORDER BY w.pid, w.waitstart
            """,
            (list(pids),),
        )
        return await cursor.fetchall()


async def relation_names(inside: Connection, oids: Sequence[int]) -> dict[int, str]:
    """Return the names, with their schemas, of relations of the session's database."""
    cursor = await inside.execute(
        "SELECT c.oid::pg_catalog.int8, n.nspname, c.relname FROM pg_catalog.pg_class c"
        " JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = ANY (%s::oid[])",
        (list(oids),),
    )
    return {oid: f"{schema}.{name}" for oid, schema, name in await cursor.fetchall()}


@dataclass(frozen=True, slots=True)
class Signalled:
    """A session that got a signal. ``done`` is False if it has not ended yet, or cannot get one."""

    pid: int
    database_name: str
    role: str
    started_at: dt.datetime
    done: bool


async def send(
    connection: Connection,
    whose: Whose,
    pid: int,
    signal: Signal,
    *,
    started_at: dt.datetime | None = None,
) -> Signalled | None:
    """Cancel what a session of a tenant runs, or end the session.

    The statement that sends the signal verifies whose session this is, and, if ``started_at`` is
    given, that it began then: the server may have given the process ID to another session.

    Returns None if the tenant has no such session.
    """
    async with connection.cursor(row_factory=class_row(Signalled)) as cursor:
        await cursor.execute(
            sql.SQL(
                """
                SELECT a.pid, a.datname::text AS database_name, a.usename::text AS role,
                    a.backend_start AS started_at, {signal} AS done
                FROM pg_stat_activity a
                WHERE a.pid = %(pid)s AND {is_tenants}
                  AND (%(started_at)s::timestamptz IS NULL OR a.backend_start = %(started_at)s)
                """
            ).format(signal=_SIGNALS[signal], is_tenants=_IS_TENANTS),
            whose.parameters | {"pid": pid, "started_at": started_at},
        )
        return await cursor.fetchone()
