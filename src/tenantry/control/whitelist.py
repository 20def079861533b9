"""Allowlists: the addresses that may reach a database or a site. An empty list allows all."""

import datetime as dt
import uuid
from dataclasses import dataclass

from psycopg import sql
from psycopg.rows import class_row

from tenantry.base.ids import new_id
from tenantry.base.networks import Network
from tenantry.control.store import Tx


@dataclass(frozen=True, slots=True)
class Lists:
    """Where the allowlists of a kind of resource are: a table, and its column of resources' ids."""

    table: str
    column: str

    def query(self, text: str) -> sql.Composed:
        """Return a statement with its table and its column in place of their names in braces."""
        return sql.SQL(text).format(
            table=sql.Identifier(self.table), column=sql.Identifier(self.column)
        )


DATABASES = Lists("ip_whitelist", "database_id")
SITES = Lists("site_whitelist", "site_id")


@dataclass(frozen=True, slots=True)
class NewEntry:
    """An address or a range to allow, until ``expires_at`` if set.

    ``unsaid`` are those of its fields that stay unchanged if the network is already listed.
    """

    network: Network
    description: str | None
    expires_at: dt.datetime | None
    unsaid: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class EntryRow:
    """An entry of an allowlist."""

    id: uuid.UUID
    network: Network
    description: str | None
    expires_at: dt.datetime | None
    created_at: dt.datetime


_ENTRY = ", ".join(EntryRow.__annotations__)


@dataclass(frozen=True, slots=True)
class Admission:
    """A role whose database has an allowlist, and an allowed network, None if none is in force.

    ``cluster`` is the name of the cluster that the role is on.
    """

    username: str
    cluster: str
    network: Network | None


@dataclass(frozen=True, slots=True)
class OnInstance:
    """A login of a database that is on an instance, by the name of that cluster."""

    cluster: str
    database_name: str
    username: str


async def entries(tx: Tx, of: uuid.UUID, lists: Lists = DATABASES) -> list[EntryRow]:
    """Return a whole allowlist, oldest first."""
    query = f"SELECT {_ENTRY} FROM {{table}} WHERE {{column}} = %s ORDER BY created_at, id"
    async with tx.cursor(row_factory=class_row(EntryRow)) as cursor:
        await cursor.execute(lists.query(query), (of,))
        return await cursor.fetchall()


async def put(tx: Tx, of: uuid.UUID, entry: NewEntry, lists: Lists = DATABASES) -> uuid.UUID:
    """Insert the entry for this network, or update the given fields of an existing one."""
    query = lists.query(
        """
        INSERT INTO {table} AS listed
            (id, {column}, network, description, expires_at, created_at)
        VALUES (%s, %s, %s, %s, %s, clock_timestamp())
        ON CONFLICT ({column}, network) DO UPDATE
        SET description = CASE WHEN %s THEN listed.description ELSE excluded.description END,
            expires_at = CASE WHEN %s THEN listed.expires_at ELSE excluded.expires_at END
        RETURNING id
        """
    )
    row = await (
        await tx.execute(
            query,
            (
                new_id(),
                of,
                entry.network,
                entry.description,
                entry.expires_at,
                "description" in entry.unsaid,
                "expires_at" in entry.unsaid,
            ),
        )
    ).fetchone()
    if row is None:
        raise RuntimeError("an upsert returned nothing")
    entry_id: uuid.UUID = row[0]
    return entry_id


async def remove(
    tx: Tx, of: uuid.UUID, entry_id: uuid.UUID, lists: Lists = DATABASES
) -> EntryRow | None:
    """Remove an entry from an allowlist; returns None if it is not listed."""
    query = f"DELETE FROM {{table}} WHERE id = %s AND {{column}} = %s RETURNING {_ENTRY}"
    async with tx.cursor(row_factory=class_row(EntryRow)) as cursor:
        await cursor.execute(lists.query(query), (entry_id, of))
        return await cursor.fetchone()


async def remove_others(
    tx: Tx, of: uuid.UUID, kept: list[uuid.UUID], lists: Lists = DATABASES
) -> None:
    """Remove all entries of an allowlist but these."""
    query = lists.query("DELETE FROM {table} WHERE {column} = %s AND id <> ALL (%s)")
    await tx.execute(query, (of, kept))


async def copy(tx: Tx, source_id: uuid.UUID, target_id: uuid.UUID) -> None:
    """Copy one database's allowlist to a new database."""
    await tx.execute(
        """
        INSERT INTO ip_whitelist (id, database_id, network, description, expires_at, created_at)
        SELECT gen_random_uuid(), %s, network, description, expires_at, created_at
        FROM ip_whitelist WHERE database_id = %s
        """,
        (target_id, source_id),
    )


async def is_any(tx: Tx) -> bool:
    """Whether any database has an allowlist."""
    row = await (await tx.execute("SELECT EXISTS (SELECT FROM ip_whitelist)")).fetchone()
    return row is not None and bool(row[0])


async def admissions(tx: Tx) -> list[Admission]:
    """Return the allowed networks of all roles whose database has an allowlist.

    A database whose entries have all expired allows no address: it has a list, and only its owner
    may open it again. An allowlist applies to all the database's roles. The login of a data API is
    admitted from no address, with or without a list: it comes by the pooler's socket.
    """
    async with tx.cursor(row_factory=class_row(Admission)) as cursor:
        await cursor.execute(
            """
            SELECT DISTINCT login.username, c.name AS cluster,
                CASE WHEN w.expires_at IS NULL OR w.expires_at > now() THEN w.network END AS network
            FROM ip_whitelist w JOIN databases d ON d.id = w.database_id
            JOIN clusters c ON c.id = d.cluster_id
            CROSS JOIN LATERAL (
                SELECT d.username
                UNION ALL SELECT r.username FROM database_roles r WHERE r.database_id = d.id
            ) login
            WHERE d.status IN ('active', 'branching')
            UNION ALL SELECT a.authenticator, c.name, NULL
            FROM data_apis a JOIN databases d ON d.id = a.database_id
                JOIN clusters c ON c.id = d.cluster_id
            """
        )
        return await cursor.fetchall()


async def logins_on_instances(tx: Tx) -> list[OnInstance]:
    """Return the logins of all databases that are on instances, with a list or without."""
    async with tx.cursor(row_factory=class_row(OnInstance)) as cursor:
        await cursor.execute(
            """
            SELECT c.name AS cluster, d.database_name, login.username
            FROM databases d JOIN clusters c ON c.id = d.cluster_id
            CROSS JOIN LATERAL (
                SELECT d.username
                UNION ALL SELECT r.username FROM database_roles r WHERE r.database_id = d.id
            ) login
            WHERE c.kind = 'dedicated' AND d.status IN ('active', 'branching')
            ORDER BY 1, 2, 3
            """
        )
        return await cursor.fetchall()
