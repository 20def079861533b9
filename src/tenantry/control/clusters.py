"""Clusters: the PostgreSQL servers on which databases are placed."""

import datetime as dt
import uuid
from dataclasses import dataclass
from pathlib import Path

from psycopg.rows import class_row

from tenantry.base.ids import new_id
from tenantry.control.store import Tx
from tenantry.pg.connections import Address

_ADDITIONS_LOCK = 0x636C7573  # "clus"


@dataclass(frozen=True, slots=True)
class ClusterRow:
    """A cluster as the control database knows it.

    ``databases`` counts tenants' databases, ``placed`` also warm ones and those being made, and
    ``allotted`` is the sum of the connections that all these may hold. A cluster that is not
    ``ready`` is being added. ``full_backup_since``, if set, is a moment after which a full backup
    has to be made.
    """

    id: uuid.UUID
    name: str
    kind: str
    driver: str
    version: int
    socket_dir: str
    port: int
    max_databases: int
    created_at: dt.datetime
    full_backup_since: dt.datetime | None
    ready: bool
    databases: int
    placed: int
    allotted: int

    @property
    def address(self) -> Address:
        return Address(Path(self.socket_dir), self.port)


async def every(tx: Tx) -> list[ClusterRow]:
    """Return all clusters, oldest first."""
    async with tx.cursor(row_factory=class_row(ClusterRow)) as cursor:
        await cursor.execute(
            """
            SELECT c.*, held.databases, held.placed, held.allotted
            FROM clusters c, LATERAL (
                SELECT count(*) AS placed,
                    count(*) FILTER (WHERE d.status IN ('branching', 'active', 'deleting'))
                        AS databases,
                    coalesce(sum(coalesce(d.max_connections, p.max_connections)), 0)::bigint
                        AS allotted
                FROM databases d JOIN plans p ON p.name = d.plan WHERE d.cluster_id = c.id
            ) held
            ORDER BY c.created_at, c.name
            """
        )
        return await cursor.fetchall()


async def ensure(tx: Tx, *, name: str, kind: str, version: int, address: Address) -> None:
    """Ensure a row for a cluster of the process driver, with its current version and address."""
    await tx.execute(
        """
        INSERT INTO clusters (id, name, kind, driver, version, socket_dir, port)
        VALUES (%s, %s, %s, 'process', %s, %s, %s)
        ON CONFLICT (name) DO UPDATE
        SET version = excluded.version, socket_dir = excluded.socket_dir, port = excluded.port
        """,
        (new_id(), name, kind, version, str(address.socket_dir), address.port),
    )


async def lock_additions(tx: Tx) -> None:
    """Make other transactions that add a cluster wait until this one ends."""
    await tx.execute("SELECT pg_advisory_xact_lock(%s)", (_ADDITIONS_LOCK,))


async def insert_unready(
    tx: Tx, *, name: str, driver: str, version: int, address: Address
) -> uuid.UUID:
    """Insert a shared cluster that is going to be added."""
    cluster_id = new_id()
    await tx.execute(
        """
        INSERT INTO clusters (id, name, kind, driver, version, socket_dir, port, ready)
        VALUES (%s, %s, 'shared', %s, %s, %s, %s, false)
        """,
        (cluster_id, name, driver, version, str(address.socket_dir), address.port),
    )
    return cluster_id


async def set_ready(tx: Tx, name: str) -> None:
    """Let databases be placed on a cluster from now on."""
    await tx.execute("UPDATE clusters SET ready = true WHERE name = %s", (name,))


async def remove_unready(tx: Tx, name: str) -> None:
    """Remove a cluster that was not added after all."""
    await tx.execute("DELETE FROM clusters WHERE name = %s AND NOT ready", (name,))


async def find(tx: Tx, cluster_id: uuid.UUID) -> ClusterRow | None:
    """Return a cluster by its id."""
    return next((row for row in await every(tx) if row.id == cluster_id), None)


async def want_full_backup(tx: Tx, name: str) -> None:
    """Mark a full backup as due: existing ones belong to an abandoned timeline."""
    await tx.execute(
        "UPDATE clusters SET full_backup_since = clock_timestamp() WHERE name = %s", (name,)
    )
