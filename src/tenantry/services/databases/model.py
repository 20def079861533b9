"""Requests for databases, and what their owners are shown. Values only."""

import datetime as dt
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from tenantry.base.connection_strings import Login, Style
from tenantry.base.secrets import Secret
from tenantry.base.settings import Settings
from tenantry.control.attributes import Attributes
from tenantry.control.databases import DatabaseRow
from tenantry.services.databases.hosts import direct_host


@dataclass(frozen=True, slots=True)
class NewInstance:
    """A request for an instance: its driver, major version and size; None is the default."""

    driver: str
    version: int | None = None
    cpus: float | None = None
    memory_mb: int | None = None


@dataclass(frozen=True, slots=True)
class NewDatabase:
    """A request for a database. ``limits`` override those of its pricing plan.

    ``cluster`` is the name of the shared cluster to create it on; by default the platform chooses.
    ``new_customer`` is whether ``owner_email`` may be a new customer's. ``instance`` is the cluster
    of its own that it is to have, if any. ``names_plan`` is whether its pricing plan was asked for;
    otherwise it is to have its owner's.
    """

    attributes: Attributes
    owner_email: str | None
    limits: Mapping[str, int]
    cluster: str | None = None
    new_customer: bool = True
    instance: NewInstance | None = None
    names_plan: bool = True


@dataclass(frozen=True, slots=True)
class Changes:
    """A requested change of a database.

    ``attributes`` has those to change, by name, and so has ``limits``; a limit of None reverts to
    the pricing plan's. ``owner_email`` is the new owner of a database that has none, and
    ``new_customer`` whether it may be a new customer's. ``size`` has the ``cpus`` and ``memory_mb``
    of its instance that are to change, cpus of None being all; ``restart`` is whether it may be
    restarted for that.
    """

    attributes: Mapping[str, object]
    limits: Mapping[str, int | None]
    owner_email: str | None
    new_customer: bool = True
    size: Mapping[str, float | None] = field(default_factory=dict)
    restart: bool = False

    @property
    def of_database(self) -> bool:
        """Whether more than the size of its instance is to change."""
        return bool(self.attributes or self.limits or self.owner_email)


@dataclass(frozen=True, slots=True)
class Opened:
    """A database and its password, which is shown once."""

    row: DatabaseRow
    password: Secret


@dataclass(frozen=True, slots=True)
class Deletion:
    """An accepted deletion: nobody can connect any more."""

    database_id: uuid.UUID
    operation_id: uuid.UUID


@dataclass(frozen=True, slots=True)
class Statistics:
    """A database's use, its shadow's included, as measured from outside it.

    Counters run since ``stats_since``; ``cache_hit_ratio`` goes from 0 to 1 and is None before the
    first block was read.
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

    @classmethod
    def of_stopped(cls, row: DatabaseRow) -> "Statistics":
        """Return those of a database whose server does not run."""
        return cls(
            database_id=row.id,
            database_name=row.database_name,
            size_bytes=row.used_bytes or 0,
            active_connections=0,
            max_connections=row.max_connections,
            cache_hit_ratio=None,
            transactions_committed=0,
            transactions_rolled_back=0,
            stats_since=row.created_at,
        )


@dataclass(frozen=True, slots=True)
class ConnectionStrings:
    """Connection strings of a database; its shadow is a second, empty one, which Prisma resets."""

    connection_string: str
    connection_string_pooled: str
    shadow_database_url: str | None
    shadow_database_url_pooled: str | None
    prisma: dict[str, str]


def connection_strings(
    settings: Settings, row: DatabaseRow, password: str, style: Style | None = None
) -> ConnectionStrings:
    """Return all connection strings, with ``password`` (or a mask); default style: psql's."""
    strings = main_strings(settings, row, row.username, password, style)
    if not row.has_shadow:
        return strings
    shadow = main_strings(settings, row, row.username, password, style, name=row.shadow_name)
    return replace(
        strings,
        shadow_database_url=shadow.connection_string,
        shadow_database_url_pooled=shadow.connection_string_pooled,
        prisma=strings.prisma
        | {
            "shadow_database_url": shadow.prisma["direct_url"],
            "shadow_database_url_pooled": shadow.prisma["database_url"],
        },
    )


def main_strings(
    settings: Settings,
    row: DatabaseRow,
    username: str,
    password: str,
    style: Style | None = None,
    *,
    name: str | None = None,
) -> ConnectionStrings:
    """Return the connection strings of a login of a database, without those of its shadow.

    ``name`` is that of another database on the same cluster.
    """
    style = style or Style()
    prisma = replace(style, format="prisma")
    host = direct_host(settings, row.container_name, row.direct_port)
    direct = Login(host.name, host.port, username, password, name or row.database_name)
    # All databases have the pooler's port in common, and its host: it stays when they move.
    pooled = replace(direct, host=settings.domain, port=settings.pool.port, pooled=True)
    return ConnectionStrings(
        style.render(direct),
        style.render(pooled),
        None,
        None,
        {"database_url": prisma.render(pooled), "direct_url": prisma.render(direct)},
    )
