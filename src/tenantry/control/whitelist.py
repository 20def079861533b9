"""Allowlists: the addresses that may reach a database. An empty list allows all addresses."""

import datetime as dt
import uuid
from dataclasses import dataclass

from psycopg.rows import class_row

from tenantry.base.ids import new_id
from tenantry.base.networks import Network
from tenantry.control.store import Tx


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
    """An entry of a database's allowlist."""

    id: uuid.UUID
    database_id: uuid.UUID
    network: Network
    description: str | None
    expires_at: dt.datetime | None
    created_at: dt.datetime


@dataclass(frozen=True, slots=True)
class Admission:
    """A role whose database has an allowlist, and an allowed network, None if none is in force.

    ``cluster`` is the name of the cluster that the role is on.
    """

    username: str
    cluster: str
    network: Network | None


async def of_database(tx: Tx, database_id: uuid.UUID) -> list[EntryRow]:
    """Return a database's whole allowlist, oldest first."""
    async with tx.cursor(row_factory=class_row(EntryRow)) as cursor:
        await cursor.execute(
            "SELECT * FROM ip_whitelist WHERE database_id = %s ORDER BY created_at, id",
            (database_id,),
        )
        return await cursor.fetchall()


async def put(tx: Tx, database_id: uuid.UUID, entry: NewEntry) -> uuid.UUID:
    """Insert the entry for this network, or update the given fields of an existing one."""
    row = await (
        await tx.execute(
            """
            INSERT INTO ip_whitelist (id, database_id, network, description, expires_at, created_at)
            VALUES (%s, %s, %s, %s, %s, clock_timestamp())
            ON CONFLICT (database_id, network) DO UPDATE
            SET description = CASE WHEN %s THEN ip_whitelist.description
                    ELSE excluded.description END,
                expires_at = CASE WHEN %s THEN ip_whitelist.expires_at ELSE excluded.expires_at END
            RETURNING id
            """,
            (
                new_id(),
                database_id,
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


async def remove(tx: Tx, database_id: uuid.UUID, entry_id: uuid.UUID) -> EntryRow | None:
    """Remove an entry from a database's allowlist; returns None if it is not listed."""
    async with tx.cursor(row_factory=class_row(EntryRow)) as cursor:
        await cursor.execute(
            "DELETE FROM ip_whitelist WHERE id = %s AND database_id = %s RETURNING *",
            (entry_id, database_id),
        )
        return await cursor.fetchone()


async def remove_others(tx: Tx, database_id: uuid.UUID, kept: list[uuid.UUID]) -> None:
    """Remove all entries of a database's allowlist but these."""
    await tx.execute(
        "DELETE FROM ip_whitelist WHERE database_id = %s AND id <> ALL (%s)", (database_id, kept)
    )


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
