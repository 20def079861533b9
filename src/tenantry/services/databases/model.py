"""What is wanted of a database, and what its owner is told about it. Values only."""

import datetime as dt
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal
from urllib.parse import quote

from tenantry.base.secrets import Secret
from tenantry.base.settings import Settings
from tenantry.control.databases import DatabaseRow, PoolMode

Environment = Literal["production", "staging", "development"]

MASK = "***"


@dataclass(frozen=True, slots=True)
class NewDatabase:
    """What a caller asks for. ``limits`` are those that shall not be the plan's."""

    friendly_name: str
    name: str | None
    owner_email: str | None
    environment: Environment
    plan: str
    limits: Mapping[str, int]
    shadow: bool


@dataclass(frozen=True, slots=True)
class Changes:
    """What a caller wants different; None leaves as it is.

    ``limits`` has those to change; one of None becomes the plan's again. ``expires_at`` is a
    branch's, and changed with ``changes_expiry`` only: None is never.
    """

    friendly_name: str | None = None
    name: str | None = None
    environment: Environment | None = None
    plan: str | None = None
    pool_mode: PoolMode | None = None
    limits: Mapping[str, int | None] = field(default_factory=dict)
    changes_expiry: bool = False
    expires_at: dt.datetime | None = None


@dataclass(frozen=True, slots=True)
class Opened:
    """A database and the password that opens it, which is shown once."""

    row: DatabaseRow
    password: Secret


@dataclass(frozen=True, slots=True)
class Statistics:
    """A database's use, its shadow's included, seen from outside it.

    Counters run since ``since``; ``cache_hit_ratio`` goes from 0 to 1 and is None
    before the first block was read.
    """

    database_id: uuid.UUID
    database_name: str
    size_bytes: int
    active_connections: int
    max_connections: int
    cache_hit_ratio: float | None
    transactions_committed: int
    transactions_rolled_back: int
    stats_since: dt.datetime


@dataclass(frozen=True, slots=True)
class ConnectionStrings:
    """Plain URLs that libpq takes; Prisma's own parameters are in its block.

    Prisma resets what its shadow URL points at: ours is a second, empty database.
    """

    connection_string: str
    connection_string_pooled: str
    shadow_database_url: str | None
    shadow_database_url_pooled: str | None
    prisma: dict[str, str]


def connection_strings(settings: Settings, row: DatabaseRow, password: str) -> ConnectionStrings:
    """All ways to connect, with ``password`` (or a mask) in its place."""
    url = _urls(settings, row.username, password)
    strings = main_strings(settings, row.username, password, row.database_name)
    if not row.has_shadow:
        return strings
    shadow = url(settings.pg_port, row.shadow_name)
    shadow_pooled = url(settings.pool_port, row.shadow_name)
    prisma = strings.prisma | {
        "shadow_database_url": f"{shadow}&schema=public",
        "shadow_database_url_pooled": f"{shadow_pooled}&pgbouncer=true&schema=public",
    }
    return replace(
        strings,
        shadow_database_url=shadow,
        shadow_database_url_pooled=shadow_pooled,
        prisma=prisma,
    )


def main_strings(
    settings: Settings, username: str, password: str, database: str
) -> ConnectionStrings:
    """The ways to connect to one database, without a shadow."""
    url = _urls(settings, username, password)
    direct, pooled = url(settings.pg_port, database), url(settings.pool_port, database)
    prisma = {
        "database_url": f"{pooled}&pgbouncer=true&schema=public",
        "direct_url": f"{direct}&schema=public",
    }
    return ConnectionStrings(direct, pooled, None, None, prisma)


def _urls(settings: Settings, username: str, password: str) -> Callable[[int, str], str]:
    host = f"[{settings.domain}]" if ":" in settings.domain else settings.domain
    secret = password if password == MASK else quote(password, safe="")

    def url(port: int, database: str) -> str:
        return f"postgresql://{username}:{secret}@{host}:{port}/{database}?sslmode=require"

    return url
