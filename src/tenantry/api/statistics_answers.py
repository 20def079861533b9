"""The answer about what a database uses, and its instance if it is on one."""

import datetime as dt
import uuid
from typing import Any

from pydantic import BaseModel, Field

from tenantry.services.databases.model import Statistics
from tenantry.services.instances.model import InstanceStatus, InstanceUse


class DatabaseStats(BaseModel):
    """What a database uses, with its shadow; on an instance, size and connections are all of its.

    ``cpu``, ``memory`` and ``uptime``, and their numbers, are of instances, and else null.
    """

    database_id: uuid.UUID
    database_name: str
    status: InstanceStatus
    detail: str | None = Field(
        description="Of an instance that does not start: the last lines of its log."
    )
    size: str = Field(examples=["42 MB"])
    size_bytes: int
    size_pretty: str
    connections: int
    active_connections: int
    max_connections: int
    cpu: str | None = Field(default=None, examples=["2.5%"])
    cpu_percent: float | None = Field(default=None, description="Of one processor.")
    memory: str | None = Field(default=None, examples=["156 MB / 512 MB"])
    memory_bytes: int | None = None
    memory_limit_bytes: int | None = None
    uptime: str | None = Field(default=None, examples=["2d 5h"])
    uptime_seconds: int | None = None
    unmanaged: list[str] = Field(
        description="Databases that its tenant has created on an instance: reachable under its "
        "allowlist, and in its physical backups. Restores of this database, branches and logical "
        "backups leave them out."
    )
    cache_hit_ratio: float | None
    transactions_committed: int
    transactions_rolled_back: int
    stats_since: dt.datetime


def pretty_size(size: int) -> str:
    """Return bytes as PostgreSQL's pg_size_pretty formats them."""
    value, unit = float(size), "bytes"
    for larger in ("kB", "MB", "GB", "TB"):
        if abs(value) < 10 * 1024:  # as pg_size_pretty does
            break
        value, unit = value / 1024, larger
    return f"{value:.0f} {unit}"


def _uptime(seconds: int) -> str:
    days, rest = divmod(seconds, 86_400)
    hours, rest = divmod(rest, 3600)
    if days:
        return f"{days}d {hours}h"
    return f"{hours}h {rest // 60}m" if hours else f"{rest // 60}m {rest % 60}s"


def stats(found: Statistics, use: InstanceUse | None) -> DatabaseStats:
    size = found.size_bytes if use is None else use.size_bytes
    connections = found.active_connections if use is None else use.connections
    return DatabaseStats(
        database_id=found.database_id,
        database_name=found.database_name,
        status="running" if use is None else use.status,
        detail=use and use.detail,
        size=pretty_size(size),
        size_bytes=size,
        size_pretty=pretty_size(size),
        connections=connections,
        active_connections=connections,
        max_connections=found.max_connections,
        **({} if use is None else _of_machine(use)),
        unmanaged=[] if use is None else use.unmanaged,
        cache_hit_ratio=found.cache_hit_ratio,
        transactions_committed=found.transactions_committed,
        transactions_rolled_back=found.transactions_rolled_back,
        stats_since=found.stats_since,
    )


def _of_machine(use: InstanceUse) -> dict[str, Any]:
    limit = "no limit" if use.memory_limit_bytes is None else pretty_size(use.memory_limit_bytes)
    up = None
    if use.started_at is not None:
        up = max(0, round((dt.datetime.now(dt.UTC) - use.started_at).total_seconds()))
    return {
        "cpu": f"{use.cpu_percent}%",
        "cpu_percent": use.cpu_percent,
        "memory": f"{pretty_size(use.memory_bytes)} / {limit}",
        "memory_bytes": use.memory_bytes,
        "memory_limit_bytes": use.memory_limit_bytes,
        "uptime": None if up is None else _uptime(up),
        "uptime_seconds": up,
    }
