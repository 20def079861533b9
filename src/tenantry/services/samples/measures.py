"""The metrics of each database, from its newest sample: no statistics are read for them.

Where a figure is the same as postgres_exporter's or pgbouncer_exporter's, it has their name and
label, so that dashboards for these work. The number of series of a database is fixed.
"""

import asyncio
import datetime as dt
import uuid
from collections.abc import Iterator

from tenantry.base.errors import NotFound
from tenantry.control import monitored
from tenantry.control.audit import PLATFORM, Actor
from tenantry.control.monitored import MonitoredRow
from tenantry.control.samples import Sample
from tenantry.control.store import ControlStore
from tenantry.services.observations.model import Measure, Metric, counter, gauge, untyped
from tenantry.services.samples.service import Samples

# A sampler that works has newer ones of every database, idle or not.
_STALE_SECONDS = 600.0

_UP = gauge("pg_up", "Whether the database was sampled in the last 10 minutes", "datname")
_SIZE = gauge("pg_database_size_bytes", "Size of the database on disk, without shadow", "datname")
_BACKENDS = gauge("pg_stat_database_numbackends", "Sessions of the tenant's roles", "datname")
_SESSIONS = gauge(
    "pg_stat_activity_count", "Sessions of the tenant's roles by state", "datname", "state"
)
_STATISTICS = tuple(
    (untyped(f"pg_stat_database_{name}", meaning, "datname"), figure)
    for name, meaning, figure in (
        ("xact_commit", "Committed transactions", "commits"),
        ("xact_rollback", "Transactions rolled back", "rollbacks"),
        ("tup_returned", "Rows and index entries read", "rows_read"),
        ("tup_fetched", "Rows fetched by index scans", "rows_fetched"),
        ("tup_inserted", "Rows inserted", "rows_inserted"),
        ("tup_updated", "Rows updated", "rows_updated"),
        ("tup_deleted", "Rows deleted", "rows_deleted"),
        ("blks_hit", "Blocks found in shared buffers", "blocks_hit"),
        ("blks_read", "Blocks read from the disk or its cache", "blocks_read"),
        ("temp_bytes", "Bytes written to temporary files", "temporary_bytes"),
        ("deadlocks", "Deadlocks", "deadlocks"),
    )
)
_OF_POOLER = tuple(
    (declare(f"pgbouncer_{name}", meaning, "database"), figure)
    for declare, name, meaning, figure in (
        (
            gauge,
            "pools_client_active_connections",
            "Pooled clients with a server connection",
            "clients_active",
        ),
        (
            gauge,
            "pools_client_waiting_connections",
            "Pooled clients that wait for a server connection",
            "clients_waiting",
        ),
        (
            gauge,
            "pools_client_maxwait_seconds",
            "How long the first of them has waited",
            "longest_wait_seconds",
        ),
        (counter, "stats_queries_pooled_total", "Queries through the pooler", "pooled_queries"),
        (
            counter,
            "stats_queries_duration_seconds_total",
            "Time that these queries took",
            "pooled_query_seconds",
        ),
        (
            counter,
            "stats_client_wait_seconds_total",
            "Time that clients waited for a server connection",
            "pooled_wait_seconds",
        ),
    )
)
_OWN = tuple(
    (declare(f"tenantry_database_{name}", meaning, "datname"), figure)
    for declare, name, meaning, figure in (
        (gauge, "shadow_bytes", "Size of its shadow on disk", "shadow_bytes"),
        (gauge, "memory_bytes", "Own memory of its sessions", "memory_bytes"),
        (
            gauge,
            "longest_transaction_seconds",
            "Age of its oldest open transaction",
            "longest_transaction_seconds",
        ),
        (counter, "cpu_seconds_total", "CPU time of its sessions, an estimate", "cpu_seconds"),
        (counter, "wal_bytes_total", "Write-ahead log that it caused, an estimate", "wal_bytes"),
    )
)
_INFO = gauge(
    "tenantry_database_info",
    "1 for each active database, with its attributes",
    "datname",
    "id",
    "name",
    "environment",
    "kind",
    "plan",
    "cluster",
)
_AGE = gauge("tenantry_database_sample_age_seconds", "Age of its newest sample", "datname")
_CONNECTIONS = gauge(
    "tenantry_database_connections", "Its sessions, direct and of the pooler", "datname", "port"
)
_MOST_CONNECTIONS = gauge(
    "tenantry_database_connection_limit", "The most direct and pooled sessions", "datname"
)
_USED = gauge("tenantry_database_disk_used_bytes", "What counts towards its disk quota", "datname")
_QUOTA = gauge("tenantry_database_disk_quota_bytes", "Its disk quota", "datname")


async def measures(store: ControlStore, samples: Samples) -> list[Measure]:
    """Return the metrics of all databases, in two queries. Raises Unavailable."""
    return await _measured(store, samples, PLATFORM, None)


async def of_database(
    store: ControlStore, samples: Samples, actor: Actor, database_id: uuid.UUID
) -> list[Measure]:
    """Return the metrics of one active database. Raises NotFound, Unavailable."""
    found = await _measured(store, samples, actor, database_id)
    if not found:
        raise NotFound("There is no such database.")
    return found


async def _measured(
    store: ControlStore, samples: Samples, actor: Actor, database_id: uuid.UUID | None
) -> list[Measure]:
    newest = await samples.latest(actor, database_id)
    async with store.transaction(actor) as tx:
        rows = await monitored.databases(tx, database_id, customer_id=actor.customer_id)
    now = dt.datetime.now(dt.UTC)
    # For thousands of databases it takes longer than other requests should wait.
    return await asyncio.to_thread(
        lambda: [each for row in rows for each in measures_of(row, newest.get(row.id), now)]
    )


def measures_of(row: MonitoredRow, sample: Sample | None, now: dt.datetime) -> Iterator[Measure]:
    """Yield the metrics of one database; those of its sample only if there is one. Pure."""
    name = row.database_name
    yield _INFO(
        1,
        name,
        str(row.id),
        row.friendly_name or "",
        row.environment,
        row.kind,
        row.plan,
        row.cluster,
    )
    yield _MOST_CONNECTIONS(row.max_connections, name)
    yield _QUOTA(row.disk_quota_bytes, name)
    yield from _known(_USED, row.used_bytes, name)
    age = None if sample is None else max(0.0, (now - sample.at).total_seconds())
    yield _UP(age is not None and age <= _STALE_SECONDS, name)
    if sample is None or age is None:
        return
    yield _AGE(age, name)
    yield from _known(_SIZE, sample.size_bytes, name)
    for metric, figure in (*_STATISTICS, *_OF_POOLER, *_OWN):
        yield from _known(metric, getattr(sample, figure), name)
    states = {
        "active": (sample.direct_active, sample.pooled_active),
        "idle": (sample.direct_idle, sample.pooled_idle),
        "idle in transaction": (sample.direct_in_transaction, sample.pooled_in_transaction),
    }
    for state, of_ports in states.items():
        yield _SESSIONS(sum(of_ports), name, state)
    direct, pooled = (sum(of_port) for of_port in zip(*states.values(), strict=True))
    yield _CONNECTIONS(direct, name, "direct")
    yield _CONNECTIONS(pooled, name, "pooled")
    yield _BACKENDS(direct + pooled, name)


def _known(metric: Metric, value: float | None, name: str) -> Iterator[Measure]:
    if value is not None:
        yield metric(value, name)
