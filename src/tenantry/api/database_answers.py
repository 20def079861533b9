"""The answers about databases: their limits, connection strings, roles and branches."""

import dataclasses
import datetime as dt
import uuid
from typing import Literal

from fastapi.responses import Response
from pydantic import BaseModel, Field

from tenantry.api.answers import Operation, answer, operation
from tenantry.api.data_api import OpenedDataApi
from tenantry.base.connection_strings import MASK, Style
from tenantry.base.settings import Settings
from tenantry.control.attributes import SuspendedDirect
from tenantry.control.databases import DatabaseRow
from tenantry.control.log_settings import LoggedStatements
from tenantry.control.pauses import PauseReason
from tenantry.services.branches import model as branches
from tenantry.services.databases.hosts import direct_host
from tenantry.services.databases.model import (
    Opened,
    connection_strings,
    main_strings,
)
from tenantry.services.overuse import plan as overuse
from tenantry.services.provisioning.model import Updated
from tenantry.services.quotas import plan as quotas
from tenantry.services.roles import model as roles


class Limits(BaseModel):
    """Limits of a database. A timeout of 0 means none; each session may change its timeouts."""

    max_connections: int = Field(examples=[50])
    pool_size: int = Field(examples=[25])
    reserve_pool_size: int = Field(examples=[0])
    disk_quota_bytes: int = Field(examples=[10 * 1024**3])
    temp_file_limit_bytes: int = Field(examples=[2 * 1024**3])
    statement_timeout_ms: int = Field(examples=[3_600_000])
    lock_timeout_ms: int = Field(examples=[300_000])
    idle_in_transaction_session_timeout_ms: int = Field(examples=[600_000])
    cpu_weight: int = Field(examples=[100])


class Disk(BaseModel):
    """Disk usage of a database and its shadow. ``used_bytes`` is null until it has been measured.

    ``detail`` says what the state means, how long it lasts, and what to do; null if it is ok.
    """

    used_bytes: int | None = Field(examples=[15_200_000])
    quota_bytes: int = Field(examples=[10 * 1024**3])
    state: Literal["ok", "warning", "read_only", "stopped"]
    detail: str | None = None


class Paused(BaseModel):
    """A pause: no client can connect until ``until``; ``detail`` says why and what to do."""

    until: dt.datetime
    reason: PauseReason = Field(examples=["wal"])
    detail: str


class HasBlueprint(BaseModel):
    """A database's blueprint.

    ``version`` is the one that the platform applied last; GET …/blueprint reads it from the
    database.
    """

    name: str = Field(examples=["hosting"])
    version: int | None = Field(examples=[2])


class Log(BaseModel):
    """Which statements of a database are logged for its owner."""

    statements: LoggedStatements = Field(
        description="The classes of statements, as log_statement has them.", examples=["ddl"]
    )
    min_duration_ms: int | None = Field(
        description="Statements that run so long are logged with their duration; null: none are.",
        examples=[1000],
    )
    errors: bool = Field(description="Whether statements that fail are logged.")
    keep_days: int | None = Field(
        description="For how many days entries are kept; null: as long as those of the audit.",
        examples=[30],
    )
    paused_until: dt.datetime | None = Field(
        description="Nothing is logged until then, since the database logged too much."
    )


class Database(BaseModel):
    id: uuid.UUID
    name: str | None = Field(examples=["my-app"])
    friendly_name: str | None = Field(examples=["My App Database"])
    database_name: str = Field(examples=["tenant_b7kx2mw9qz4p"])
    username: str = Field(examples=["user_b7kx2mw9qz4p"])
    owner_email: str | None = Field(examples=["owner@example.com"])
    environment: str = Field(examples=["production"])
    tags: list[str] = Field(
        description="Words by which lists are filtered, in order.",
        examples=[["team-a", "wordpress"]],
    )
    kind: str = Field(examples=["shared"])
    driver: str = Field(description="What runs its cluster.", examples=["process"])
    version: int = Field(description="Its cluster's major version.", examples=[15])
    container_name: str | None = Field(
        description="The name of its instance; null on a shared cluster.",
        examples=["my-app-production-postgres"],
    )
    cpus: float | None = Field(description="How many processors its instance may use; null: all.")
    memory_mb: int | None = Field(description="The memory of its instance, in MiB.")
    cluster: str = Field(
        description="The cluster that it is on; direct connections go to that cluster's own port.",
        examples=["shared-1"],
    )
    plan: str = Field(examples=["standard"])
    max_connections: int = Field(examples=[20])
    pool_mode: Literal["transaction", "session"] = Field(
        description="How long a pooled client keeps a server connection."
    )
    timezone: str = Field(
        description="The time zone that its sessions begin with.", examples=["Europe/Berlin"]
    )
    limits: Limits
    disk: Disk
    shadow: bool
    status: Literal["active", "branching", "deleting", "creating", "stopped", "suspended"] = Field(
        description="An instance's database is creating until it can be used, and stopped or"
        " suspended with it."
    )
    auto_suspend_seconds: int | None = Field(
        description="After how many seconds without a session its instance is suspended; null:"
        " never."
    )
    auto_suspend_direct: SuspendedDirect = Field(
        description="What a direct connection to its suspended instance does."
    )
    parent_id: uuid.UUID | None = Field(description="Of a branch: what it was made from.")
    branched_at: dt.datetime | None = Field(description="When a branch was as its parent.")
    expires_at: dt.datetime | None = Field(description="When a branch is deleted.")
    missing_since: dt.datetime | None = Field(
        description="Since when its server does not have it; it is never created again by itself."
    )
    status_detail: str | None = Field(
        description="Why it is not as it should be; null once that is put right. It is tried again "
        "every minute."
    )
    password_changed_at: dt.datetime = Field(
        description="When the platform last set the password of its owner role."
    )
    rotate_password_days: int | None = Field(
        description="After how many days its logins' passwords are replaced; null: never."
    )
    password_rotates_at: dt.datetime | None
    last_active_at: dt.datetime | None = Field(
        description="When a session of its tenant's was last seen, to five minutes; null if none "
        "was since watched_since."
    )
    watched_since: dt.datetime | None = Field(
        description="Since when that is looked for; null if it never was."
    )
    paused: Paused | None = Field(description="It wrote too much of what no quota counts.")
    log: Log
    blueprint: HasBlueprint | None
    created_at: dt.datetime
    updated_at: dt.datetime


class UpdatedDatabase(Database):
    """A changed database; of an instance with another size, with what waits for its restart."""

    pending_restart: list[str] | None = Field(
        default=None,
        description="The parameters that follow the new memory once its instance is restarted.",
        examples=[["shared_buffers"]],
    )
    operation_id: uuid.UUID | None = Field(
        default=None, description="The restart of its instance, if one has begun."
    )


class Connection(BaseModel):
    """How the cluster's own port is reached."""

    host: str = Field(examples=["my-app-production-postgres.db.example.com"])
    host_detail: str | None = Field(
        default=None,
        description="Why the host of an instance is not its own name; null if it is.",
    )
    port: int
    username: str
    password: str
    database: str
    sslmode: str


class Strings(BaseModel):
    database_id: uuid.UUID
    database_name: str
    username: str
    connection_string: str
    connection_string_pooled: str
    shadow_database_url: str | None
    shadow_database_url_pooled: str | None
    prisma: dict[str, str]
    connection: Connection


class OpenedDatabase(Database):
    """A database with its password, which is shown only once and not stored."""

    password: str = Field(examples=["aB3dEf7GhJk9mN2pQr5tUv8x"])
    connection_string: str = Field(
        examples=[
            "postgresql://user_b7kx2mw9qz4p:aB3dEf7GhJk9mN2pQr5tUv8x@db.example.com:5432/"
            "tenant_b7kx2mw9qz4p?sslmode=require"
        ]
    )
    connection_string_pooled: str
    shadow_database_url: str | None
    shadow_database_url_pooled: str | None
    prisma: dict[str, str]
    connection: Connection
    operation_id: uuid.UUID | None = Field(
        default=None,
        description="The import into it, or its blueprint, if it was made with import_from or "
        "blueprint; or the creation of its instance.",
    )


class Role(BaseModel):
    """An additional role of a database. Its connection strings have a mask for the password."""

    id: uuid.UUID
    database_id: uuid.UUID
    name: str = Field(examples=["reporting"])
    username: str = Field(examples=["user_b7kx2mw9qz4p_reporting"])
    access: Literal["read_only", "read_write"]
    max_connections: int = Field(examples=[10])
    status: Literal["active", "deleting"]
    connection_string: str
    connection_string_pooled: str
    prisma: dict[str, str]
    connection: Connection
    password_changed_at: dt.datetime
    created_at: dt.datetime
    updated_at: dt.datetime


class OpenedRole(Role):
    """An additional role with its password, which is shown only once and not stored."""

    password: str = Field(examples=["aB3dEf7GhJk9mN2pQr5tUv8x"])


class CreatedDatabase(OpenedDatabase):
    """A new database, with the additional roles and the data API of its blueprint.

    Passwords and keys are shown only once. ``blueprint`` has no version while it is still being
    applied; the operation reports it.
    """

    roles: list[OpenedRole] = []
    data_api: OpenedDataApi | None = None
    size_limits: Literal["enforced", "none"] | None = Field(
        default=None,
        description="Of an instance: whether the machine enforces its cpus and memory_mb.",
    )


class Branch(OpenedDatabase):
    """A new branch with its password, valid once the operation that makes it has succeeded."""

    operation: Operation


def database(row: DatabaseRow) -> Database:
    return Database.model_validate(_fields(row))


def updated_database(found: Updated) -> UpdatedDatabase:
    return UpdatedDatabase.model_validate(
        _fields(found.row)
        | {
            "pending_restart": found.pending_restart,
            "operation_id": None if found.operation is None else found.operation.id,
        }
    )


def _fields(row: DatabaseRow) -> dict[str, object]:
    """Return the fields of ``Database``: the row's own, and those composed of several columns."""
    own = {name: getattr(row, name) for name in Database.model_fields if hasattr(row, name)}
    return own | {
        "limits": dataclasses.asdict(row.limits),
        "disk": Disk(
            used_bytes=row.used_bytes,
            quota_bytes=row.disk_quota_bytes,
            state=row.quota_state,
            detail=quotas.explain(row.quota_state, held=row.held),
        ),
        "status": _status(row),
        "shadow": row.has_shadow,
        "paused": _paused(row),
        "log": log(row),
        "blueprint": None
        if row.blueprint is None
        else HasBlueprint(name=row.blueprint, version=row.blueprint_version),
    }


def _status(row: DatabaseRow) -> str:
    if row.is_instance and row.status == "branching":
        return "creating"
    return row.wanted if row.status == "active" and row.wanted != "running" else row.status


def log(row: DatabaseRow) -> Log:
    return Log(**dataclasses.asdict(row.log_settings), paused_until=row.log_paused_until)


def _paused(row: DatabaseRow) -> Paused | None:
    if row.paused_until is None or row.paused_for is None:
        return None
    return Paused(
        until=row.paused_until, reason=row.paused_for, detail=overuse.explain(row.paused_for)
    )


def _ways_in(
    settings: Settings, row: DatabaseRow, password: str, style: Style | None = None
) -> dict[str, object]:
    urls = connection_strings(settings, row, password, style)
    return {
        "connection_string": urls.connection_string,
        "connection_string_pooled": urls.connection_string_pooled,
        "shadow_database_url": urls.shadow_database_url,
        "shadow_database_url_pooled": urls.shadow_database_url_pooled,
        "prisma": urls.prisma,
        "connection": _connection(settings, row, row.username, password),
    }


def _connection(
    settings: Settings, database: DatabaseRow, username: str, password: str
) -> Connection:
    host = direct_host(settings, database.container_name, database.direct_port)
    return Connection(
        host=host.name,
        host_detail=host.detail,
        port=host.port,
        username=username,
        password=password,
        database=database.database_name,
        sslmode="require",
    )


def opened_database(settings: Settings, opened: Opened) -> OpenedDatabase:
    return OpenedDatabase.model_validate(_with_password(settings, opened))


def created_database(settings: Settings, opened: Opened) -> CreatedDatabase:
    return CreatedDatabase.model_validate(_with_password(settings, opened))


def _with_password(settings: Settings, opened: Opened) -> dict[str, object]:
    password = opened.password.reveal()
    return _fields(opened.row) | {"password": password} | _ways_in(settings, opened.row, password)


def strings(settings: Settings, row: DatabaseRow, style: Style) -> Strings:
    return Strings.model_validate(
        {
            "database_id": row.id,
            "database_name": row.database_name,
            "username": row.username,
        }
        | _ways_in(settings, row, MASK, style)
    )


def _of_role(settings: Settings, role: roles.Role, password: str) -> dict[str, object]:
    database, row = role.database, role.row
    urls = main_strings(settings, database, row.username, password)
    return {
        "id": row.id,
        "database_id": row.database_id,
        "name": row.name,
        "username": row.username,
        "access": row.access,
        "max_connections": row.max_connections,
        "status": row.status,
        "connection_string": urls.connection_string,
        "connection_string_pooled": urls.connection_string_pooled,
        "prisma": urls.prisma,
        "connection": _connection(settings, database, row.username, password),
        "password_changed_at": row.password_changed_at,
        "created_at": row.created_at,
        "updated_at": row.updated_at,
    }


def role(settings: Settings, found: roles.Role) -> Role:
    return Role.model_validate(_of_role(settings, found, MASK))


def opened_role(settings: Settings, opened: roles.OpenedRole) -> OpenedRole:
    password = opened.password.reveal()
    return OpenedRole.model_validate(
        _of_role(settings, opened.role, password) | {"password": password}
    )


def branch(settings: Settings, made: branches.OpenedBranch) -> Response:
    """Return 202 with a branch and the operation that makes it."""
    row = Branch.model_validate(
        _with_password(settings, made.opened) | {"operation": operation(made.operation)}
    )
    message = "It is being made. Keep the password: it is not shown again."
    response = answer(row, message=message, status=202)
    response.headers["Location"] = f"/api/operations/{made.operation.id}"
    return response
