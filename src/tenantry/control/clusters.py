"""Clusters: the PostgreSQL servers on which databases are placed.

A dedicated one is an instance: it has one tenant's database, and what that tenant makes beside it.
"""

import datetime as dt
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from tenantry.base.ids import new_id
from tenantry.control.attributes import SuspendedDirect
from tenantry.control.store import Tx
from tenantry.pg.clusters import Kind
from tenantry.pg.connections import Address

Wanted = Literal["running", "stopped", "suspended"]

_ADDITIONS_LOCK = 0x636C7573  # "clus"


@dataclass(frozen=True, slots=True)
class ClusterRow:
    """A cluster as the control database knows it.

    A cluster that is not ``ready`` is being added. ``full_backup_since``, if set, is a moment after
    which a full backup has to be made. Only an instance has ``cpus``, ``memory_mb``,
    ``container_name`` and parameters of its owner's, only an instance can be ``wanted`` stopped or
    suspended, and one that is suspended when it is idle has ``auto_suspend_seconds``;
    ``auto_suspend_direct`` is what a direct connection does then. ``parameters`` are in its files;
    ``next_parameters``, if any, replace them at its next start by an operation.
    """

    id: uuid.UUID
    name: str
    kind: Kind
    driver: str
    version: int
    socket_dir: str
    port: int
    max_databases: int
    created_at: dt.datetime
    full_backup_since: dt.datetime | None
    ready: bool
    wanted: Wanted
    cpus: float | None
    memory_mb: int | None
    container_name: str | None
    auto_suspend_seconds: int | None
    auto_suspend_direct: SuspendedDirect | None
    parameters: dict[str, str] = field(default_factory=dict)
    next_parameters: dict[str, str] | None = None

    @property
    def wanted_parameters(self) -> dict[str, str]:
        """Return what its owner has set, in force or not."""
        return self.parameters if self.next_parameters is None else self.next_parameters

    @property
    def address(self) -> Address:
        return Address(Path(self.socket_dir), self.port)

    @property
    def serves(self) -> bool:
        """Whether it is to run, and may hold databases."""
        return self.kind != "control" and self.ready and self.wanted == "running"


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedCluster(ClusterRow):
    """A cluster with what is on it.

    ``databases`` counts tenants' databases, ``placed`` also warm ones and those being made.
    ``allotted`` is the sum of the connections that all these may hold, and ``used_bytes`` what they
    were last measured to have on disk.
    """

    databases: int
    placed: int
    allotted: int
    used_bytes: int


# Most work needs no load: it takes a look at every database.
_COLUMNS = "c.*, held.auto_suspend_seconds, held.auto_suspend_direct"
_FROM = """
    FROM clusters c LEFT JOIN LATERAL (
        SELECT max(d.auto_suspend_seconds) AS auto_suspend_seconds,
            max(d.auto_suspend_direct) FILTER (WHERE d.auto_suspend_seconds IS NOT NULL)
                AS auto_suspend_direct
        FROM databases d WHERE c.kind = 'dedicated' AND d.cluster_id = c.id
    ) held ON true
"""


async def every(tx: Tx) -> list[ClusterRow]:
    """Return all clusters, oldest first."""
    async with tx.cursor(row_factory=class_row(ClusterRow)) as cursor:
        await cursor.execute(f"SELECT {_COLUMNS} {_FROM} ORDER BY c.created_at, c.name")
        return await cursor.fetchall()


async def find(tx: Tx, cluster_id: uuid.UUID) -> ClusterRow | None:
    """Return a cluster by its id."""
    async with tx.cursor(row_factory=class_row(ClusterRow)) as cursor:
        await cursor.execute(f"SELECT {_COLUMNS} {_FROM} WHERE c.id = %s", (cluster_id,))
        return await cursor.fetchone()


async def loaded(tx: Tx) -> list[LoadedCluster]:
    """Return all clusters with what is on them, oldest first."""
    async with tx.cursor(row_factory=class_row(LoadedCluster)) as cursor:
        await cursor.execute(
            f"""
            SELECT {_COLUMNS}, coalesce(l.databases, 0) AS databases,
                coalesce(l.placed, 0) AS placed, coalesce(l.allotted, 0) AS allotted,
                coalesce(l.used_bytes, 0) AS used_bytes
            {_FROM} LEFT JOIN (
                SELECT d.cluster_id, count(*) AS placed,
                    count(*) FILTER (WHERE d.status IN ('branching', 'active', 'deleting'))
                        AS databases,
                    sum(coalesce(d.max_connections, p.max_connections))::bigint AS allotted,
                    sum(u.used_bytes)::bigint AS used_bytes
                FROM databases d JOIN plans p ON p.name = d.plan
                    LEFT JOIN disk_usage u ON u.database_id = d.id
                GROUP BY d.cluster_id
            ) l ON l.cluster_id = c.id
            ORDER BY c.created_at, c.name
            """
        )
        return await cursor.fetchall()


async def databases_of(tx: Tx, customer_id: uuid.UUID) -> dict[uuid.UUID, int]:
    """Return how many databases of a customer are on each cluster that has any."""
    cursor = await tx.execute(
        """
        SELECT cluster_id, count(*) FROM databases
        WHERE customer_id = %s AND status IN ('branching', 'active', 'deleting') GROUP BY 1
        """,
        (customer_id,),
    )
    return dict(await cursor.fetchall())


async def ensure(
    tx: Tx, *, name: str, kind: Kind, driver: str, version: int, address: Address
) -> None:
    """Ensure a row for a cluster, with its current version and address."""
    await tx.execute(
        """
        INSERT INTO clusters (id, name, kind, driver, version, socket_dir, port)
        VALUES (%s, %s, %s, %s, %s, %s, %s)
        ON CONFLICT (name) DO UPDATE
        SET version = excluded.version, socket_dir = excluded.socket_dir, port = excluded.port
        """,
        (new_id(), name, kind, driver, version, str(address.socket_dir), address.port),
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


async def insert_instance(
    tx: Tx,
    *,
    name: str,
    driver: str,
    version: int,
    address: Address,
    cpus: float | None,
    memory_mb: int,
    container_name: str,
) -> uuid.UUID:
    """Insert an instance that is going to be created."""
    cluster_id = new_id()
    await tx.execute(
        """
        INSERT INTO clusters (id, name, kind, driver, version, socket_dir, port, ready,
            cpus, memory_mb, container_name)
        VALUES (%s, %s, 'dedicated', %s, %s, %s, %s, false, %s, %s, %s)
        """,
        (
            cluster_id,
            name,
            driver,
            version,
            str(address.socket_dir),
            address.port,
            cpus,
            memory_mb,
            container_name,
        ),
    )
    return cluster_id


async def set_ready(tx: Tx, name: str) -> None:
    """Let databases be placed on a cluster from now on."""
    await tx.execute("UPDATE clusters SET ready = true WHERE name = %s", (name,))


async def set_wanted(tx: Tx, cluster_id: uuid.UUID, wanted: Wanted) -> None:
    """Set whether an instance is to run."""
    await tx.execute("UPDATE clusters SET wanted = %s WHERE id = %s", (wanted, cluster_id))


async def set_parameters(
    tx: Tx, cluster_id: uuid.UUID, now: Mapping[str, str], later: Mapping[str, str] | None
) -> None:
    """Set the parameters that an instance's files have, and those that wait for its next start."""
    await tx.execute(
        "UPDATE clusters SET parameters = %s, next_parameters = %s WHERE id = %s",
        (Jsonb({**now}), None if later is None else Jsonb({**later}), cluster_id),
    )


async def settle_parameters(
    tx: Tx, cluster_id: uuid.UUID, tried: Mapping[str, str], *, serves: bool
) -> None:
    """End the wait of parameters that were tried: an instance ``serves`` with them, or not.

    Others that have been set meanwhile go on waiting.
    """
    await tx.execute(
        """
        UPDATE clusters SET next_parameters = NULL,
            parameters = CASE WHEN %(serves)s THEN next_parameters ELSE parameters END
        WHERE id = %(id)s AND next_parameters = %(tried)s
        """,
        {"id": cluster_id, "tried": Jsonb({**tried}), "serves": serves},
    )


async def set_size(tx: Tx, cluster_id: uuid.UUID, cpus: float | None, memory_mb: int) -> None:
    """Set what an instance may take of its machine."""
    await tx.execute(
        "UPDATE clusters SET cpus = %s, memory_mb = %s WHERE id = %s", (cpus, memory_mb, cluster_id)
    )


async def note_suspended(tx: Tx, cluster_id: uuid.UUID, *, suspended: bool) -> None:
    """Record that an instance was suspended or woken; one that was stopped stays so."""
    before, after = ("running", "suspended") if suspended else ("suspended", "running")
    await tx.execute(
        "UPDATE clusters SET wanted = %s WHERE id = %s AND wanted = %s",
        (after, cluster_id, before),
    )


async def remove_instance(tx: Tx, cluster_id: uuid.UUID) -> None:
    """Remove an instance without databases; what it has in repositories is removed later."""
    await tx.execute(
        """
        WITH gone AS (DELETE FROM clusters WHERE id = %s AND kind = 'dedicated' RETURNING name)
        INSERT INTO left_repositories (cluster_name) SELECT name FROM gone
        """,
        (cluster_id,),
    )


async def left_repositories(tx: Tx, *, days: int) -> list[str]:
    """Return the names of the instances that were deleted more than so many days ago."""
    cursor = await tx.execute(
        """
        SELECT cluster_name FROM left_repositories
        WHERE since < now() - make_interval(days => %s)
        """,
        (days,),
    )
    return [name for (name,) in await cursor.fetchall()]


async def forget_repositories(tx: Tx, names: Sequence[str]) -> None:
    """Record that nothing of these instances is left in the repositories."""
    await tx.execute("DELETE FROM left_repositories WHERE cluster_name = ANY (%s)", ([*names],))


async def remove_unready(tx: Tx, name: str) -> None:
    """Remove a cluster that was not added after all."""
    await tx.execute("DELETE FROM clusters WHERE name = %s AND NOT ready", (name,))


async def want_full_backup(tx: Tx, name: str) -> None:
    """Mark a full backup as due: existing ones belong to an abandoned timeline."""
    await tx.execute(
        "UPDATE clusters SET full_backup_since = clock_timestamp() WHERE name = %s", (name,)
    )
