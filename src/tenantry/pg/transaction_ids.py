"""How many transaction IDs and multixacts a cluster has used, and what keeps old ones in use.

Both are 32-bit counters that wrap around: PostgreSQL refuses to assign another one when the oldest
that a table may still contain is 2^31 behind (manual, section 25.1.5). Vacuum moves the oldest
forward, but not past what the oldest transaction can still see, and not in the temporary tables of
others. Shared catalogs are part of every database, so one old transaction anywhere holds back all
databases. Everything here is read in ``postgres``.
"""

import datetime as dt
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from psycopg import AsyncConnection
from psycopg.rows import TupleRow, class_row

from tenantry.pg.connections import fetch_value

Kind = Literal["transactions", "multixacts"]

# PostgreSQL stops assigning with this many left of 2^31 (varsup.c, multixact.c).
LIMIT = 2**31 - 3_000_000
_WRAP = 2**32
# A page of pg_multixact/members holds 409 groups of 4, a file 32 pages (multixact.c). Their
# offsets are 32 bits wide up to PostgreSQL 18.
_MEMBERS_OF_A_FILE = 32 * 409 * 4
MEMBERS_LIMIT = 2**32


@dataclass(frozen=True, slots=True)
class DatabaseAge:
    """How far the oldest ID that a database may contain is behind the newest."""

    name: str
    oid: int
    transactions: int
    multixacts: int

    def of(self, kind: Kind) -> int:
        """Return the age in transaction IDs or in multixacts."""
        return self.transactions if kind == "transactions" else self.multixacts


@dataclass(frozen=True, slots=True)
class Holder:
    """A session or other object that keeps transaction IDs from being reused.

    ``pid`` and ``began`` are those of a session, None of anything else. ``age`` is how many IDs
    have been assigned since. ``assigned`` is the age of its own transaction ID, if it has one; a
    greater ``age`` can only be that of a snapshot.
    """

    kind: Literal["session", "prepared transaction", "replication slot"]
    name: str
    database: str | None
    pid: int | None
    began: dt.datetime | None
    transaction_began: dt.datetime | None
    assigned: int | None
    age: int


@dataclass(frozen=True, slots=True)
class Consumed:
    """The next transaction ID and the next multixact, counted from the first and modulo 2^32."""

    transactions: int
    multixacts: int

    def of(self, kind: Kind) -> int:
        """Return one of the two counters."""
        return self.transactions if kind == "transactions" else self.multixacts

    def since(self, before: "Consumed") -> "Consumed":
        """Return how many were assigned between two moments."""
        return Consumed(
            (self.transactions - before.transactions) % _WRAP,
            (self.multixacts - before.multixacts) % _WRAP,
        )


@dataclass(frozen=True, slots=True)
class State:
    """A cluster's counters, its databases (oldest first) and what holds them back.

    ``freeze_at`` is the age at which autovacuum begins to freeze a table whatever it costs:
    up to it every age is normal, also that of ``template0`` and of databases that nobody uses.
    """

    consumed: Consumed
    databases: list[DatabaseAge]
    holders: list[Holder]
    freeze_at: dict[Kind, int]

    def oldest(self, kind: Kind) -> DatabaseAge:
        """Return the database that the whole cluster's limit counts from."""
        return max(self.databases, key=lambda each: each.of(kind))


async def consumed(connection: AsyncConnection[TupleRow]) -> Consumed:
    """Return the counters now. Outside of a transaction: in one, they do not move."""
    # 3 is the first transaction ID of a new cluster, 1 the first multixact.
    cursor = await connection.execute("SELECT age('3'::xid), mxid_age('1'::xid)")
    row = await cursor.fetchone()
    if row is None:
        raise RuntimeError("a SELECT without FROM returned no row")
    return Consumed(row[0] % _WRAP, row[1] % _WRAP)


async def ages(connection: AsyncConnection[TupleRow]) -> list[DatabaseAge]:
    """Return the ages of all databases, the oldest first.

    Not those that a DROP DATABASE left half-deleted (``datconnlimit = -2``): they are not vacuumed,
    and PostgreSQL does not count them.
    """
    async with connection.cursor(row_factory=class_row(DatabaseAge)) as cursor:
        await cursor.execute(
            """
            SELECT datname AS name, oid::bigint AS oid, age(datfrozenxid) AS transactions,
                   mxid_age(datminmxid) AS multixacts
            FROM pg_database WHERE datconnlimit <> -2
            ORDER BY greatest(age(datfrozenxid), mxid_age(datminmxid)) DESC
            """
        )
        return await cursor.fetchall()


async def holders(connection: AsyncConnection[TupleRow]) -> list[Holder]:
    """Return what holds back transaction IDs, the oldest first. Vacuum's own workers do not."""
    async with connection.cursor(row_factory=class_row(Holder)) as cursor:
        await cursor.execute(
            """
            SELECT 'session' AS kind, coalesce(usename::text, backend_type) AS name,
                   datname::text AS database, pid, backend_start AS began,
                   xact_start AS transaction_began, age(backend_xid) AS assigned,
                   coalesce(greatest(age(backend_xid), age(backend_xmin)), 0) AS age
            FROM pg_stat_activity
            WHERE (backend_xid IS NOT NULL OR backend_xmin IS NOT NULL OR xact_start IS NOT NULL)
              AND backend_type <> 'autovacuum worker' AND pid <> pg_backend_pid()
            UNION ALL
            SELECT 'prepared transaction', gid, database::text, NULL, NULL, NULL, age(transaction),
                   age(transaction)
            FROM pg_prepared_xacts
            UNION ALL
            SELECT 'replication slot', slot_name::text, database::text, NULL, NULL, NULL, NULL,
                   greatest(age(xmin), age(catalog_xmin))
            FROM pg_replication_slots WHERE xmin IS NOT NULL OR catalog_xmin IS NOT NULL
            ORDER BY age DESC
            """
        )
        return await cursor.fetchall()


async def state(connection: AsyncConnection[TupleRow]) -> State:
    """Return the counters, the databases and the holders together, for reports."""
    cursor = await connection.execute(
        "SELECT current_setting('autovacuum_freeze_max_age')::bigint,"
        " current_setting('autovacuum_multixact_freeze_max_age')::bigint"
    )
    row = await cursor.fetchone()
    if row is None:
        raise RuntimeError("a SELECT without FROM returned no row")
    return State(
        consumed=await consumed(connection),
        databases=await ages(connection),
        holders=await holders(connection),
        freeze_at={"transactions": row[0], "multixacts": row[1]},
    )


async def busiest(connection: AsyncConnection[TupleRow], *, looks: int) -> Counter[str]:
    """Return the databases whose sessions use up IDs, with how many were seen in these looks.

    PostgreSQL does not count IDs by session. But a session holds a lock on each of its transaction
    IDs while it is in use: one that uses up many has another ID at every look, and so has one with
    long transactions. It is so for multixacts too: the same transactions lock another row with the
    multixact that they have.
    """
    # Only IDs that are assigned meanwhile: savepoints of one long transaction have many old ones.
    first = int(
        str(
            await fetch_value(
                connection, "SELECT (pg_snapshot_xmax(pg_current_snapshot())::text::numeric)"
            )
        )
    )
    seen: set[tuple[str, int, str]] = set()
    for _ in range(looks):
        cursor = await connection.execute(
            """
            SELECT a.datname::text, l.pid, l.transactionid::text
            FROM pg_lock_status() l JOIN pg_stat_activity a USING (pid)
            WHERE l.locktype = 'transactionid' AND l.mode = 'ExclusiveLock' AND l.granted
              AND a.datname IS NOT NULL
            """
        )
        seen.update(
            (database, pid, xid)
            for database, pid, xid in await cursor.fetchall()
            if (int(xid) - first) % 2**32 < 2**31
        )
    return Counter(database for database, _, _ in seen)


def members(data: Path) -> int:
    """Return how many members of multixacts a cluster keeps, by the files in its data folder."""
    try:
        files = sum(1 for _ in (data / "pg_multixact" / "members").iterdir())
    except FileNotFoundError:
        return 0
    return files * _MEMBERS_OF_A_FILE


def oldest_temporary_use(data: Path, databases: Sequence[DatabaseAge]) -> dict[str, dt.datetime]:
    """Return, by database with temporary tables, when the oldest one's file was last written.

    Autovacuum cannot freeze temporary tables of a session that is still open. Which session has
    them is not visible from outside; it began before that moment.
    """
    found = {}
    for each in databases:
        try:
            with os.scandir(data / "base" / str(each.oid)) as entries:
                # t<backend>_<file>: src/common/relpath.c
                times = [e.stat().st_mtime for e in entries if e.name.startswith("t")]
        except FileNotFoundError:  # the database or a table was dropped meanwhile
            continue
        if times:
            found[each.name] = dt.datetime.fromtimestamp(min(times), dt.UTC)
    return found
