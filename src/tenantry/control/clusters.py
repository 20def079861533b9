"""Clusters: the PostgreSQL servers on which databases are placed."""

import datetime as dt
import uuid
from dataclasses import dataclass
from pathlib import Path

from psycopg.rows import class_row

from tenantry.base.ids import new_id
from tenantry.control.store import Tx
from tenantry.pg.connections import Address


@dataclass(frozen=True, slots=True)
class ClusterRow:
    """A cluster as the control database knows it.

    ``databases`` counts tenants' databases, ``placed`` also warm ones and those being made.
    ``full_backup_since``, if set, is a moment after which a full backup has to be made.
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
    databases: int
    placed: int

    @property
    def address(self) -> Address:
        return Address(Path(self.socket_dir), self.port)


async def every(tx: Tx) -> list[ClusterRow]:
    """Return all clusters, oldest first."""
    async with tx.cursor(row_factory=class_row(ClusterRow)) as cursor:
        await cursor.execute(
            """
            SELECT c.*, held.databases, held.placed
            FROM clusters c, LATERAL (
                SELECT count(*) AS placed,
                    count(*) FILTER (WHERE d.status IN ('branching', 'active', 'deleting'))
                        AS databases
                FROM databases d WHERE d.cluster_id = c.id
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


async def find(tx: Tx, cluster_id: uuid.UUID) -> ClusterRow | None:
    """Return a cluster by its id."""
    return next((row for row in await every(tx) if row.id == cluster_id), None)


async def want_full_backup(tx: Tx, name: str) -> None:
    """Mark a full backup as due: existing ones belong to an abandoned timeline."""
    await tx.execute(
        "UPDATE clusters SET full_backup_since = clock_timestamp() WHERE name = %s", (name,)
    )
