"""Bodies of databases, their roles and extensions."""

import functools
import re
import zoneinfo
from typing import Annotated, Literal, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    StringConstraints,
    model_validator,
)

from tenantry.control import attributes, plans
from tenantry.control.attributes import Attributes, Environment, PoolMode, SuspendedDirect
from tenantry.control.log_settings import LoggedStatements, LogSettings
from tenantry.pg import sources
from tenantry.pg.api_roles import SHARED
from tenantry.pg.drivers import PROCESS
from tenantry.services.bodies.fields import (
    BlueprintReference,
    Body,
    Connections,
    ConnectionString,
    CpuWeight,
    DiskQuota,
    Email,
    Label,
    Moment,
    NewCustomer,
    PlanName,
    PoolSize,
    ReservePoolSize,
    Seeds,
    Slug,
    Tags,
    TempFileLimit,
    Timeout,
    expiry,
    readable,
    secret,
)
from tenantry.services.databases.model import Changes, NewDatabase, NewInstance
from tenantry.services.provisioning.model import Contents, FromBlueprint, FromSource
from tenantry.services.roles.model import LONGEST_NAME, ROLE_NAME, NewRole

Driver = Literal["process", "docker"]
Cpus = Annotated[float, Field(ge=0.1, le=1024)]
InstanceMemory = Annotated[int, Field(ge=128, le=16_777_216)]

_SHORTEST_SUSPENSION = 60  # for as long the pooler keeps a server connection that is not used
_LONGEST_SUSPENSION = 30 * 86_400
_OF_INSTANCES = {
    "version",
    "cpus",
    "memory_mb",
    "driver",
    "auto_suspend_seconds",
    "auto_suspend_direct",
}
_EXTENSION_NAME = re.compile(r"[A-Za-z0-9_]+(?:-[A-Za-z0-9_]+)*", re.ASCII)


class _Limits(Body):
    """Limits of the database's own; one that is omitted, or null, is the pricing plan's."""

    max_connections: Connections | None = None
    pool_size: PoolSize | None = None
    reserve_pool_size: ReservePoolSize | None = None
    disk_quota_bytes: DiskQuota | None = None
    temp_file_limit_bytes: TempFileLimit | None = None
    statement_timeout_ms: Timeout | None = None
    lock_timeout_ms: Timeout | None = None
    idle_in_transaction_session_timeout_ms: Timeout | None = None
    cpu_weight: CpuWeight | None = None

    def limits(self) -> dict[str, int | None]:
        """Return the limits that were sent, including null ones."""
        return {name: getattr(self, name) for name in plans.NAMES if name in self.model_fields_set}


@functools.cache
def _zones() -> set[str]:
    """Return the IANA time zones, without those that depend on the machine."""
    return zoneinfo.available_timezones() - {"localtime", "Factory"}


def _suspension(seconds: int) -> int | None:
    if 0 < seconds < _SHORTEST_SUSPENSION:
        raise ValueError(f"must be {_SHORTEST_SUSPENSION} at least, or 0 for never")
    return seconds or None


def _zone(text: str) -> str:
    if text not in _zones():
        raise ValueError("must be the IANA name of a time zone (Europe/Berlin, UTC)")
    return text


class _Attributes(_Limits):
    """Attributes, named as in ``control/attributes.py``."""

    friendly_name: Label | None = None
    name: Slug | None = None
    timezone: Annotated[str, AfterValidator(_zone)] | None = Field(
        default=None,
        description="The time zone that its sessions begin with; at first UTC. Each session may"
        " change it, and a login that has one of its own keeps that.",
        examples=["Europe/Berlin"],
    )
    tags: Tags | None = Field(
        default=None,
        description="Words by which lists of databases and runs over many are filtered; a change"
        " replaces them all.",
        examples=[["team-a", "wordpress"]],
    )
    auto_suspend_seconds: (
        Annotated[int, Field(ge=0, le=_LONGEST_SUSPENSION), AfterValidator(_suspension)] | None
    ) = Field(
        default=None,
        description="After how many seconds without a session an instance is suspended, until the"
        " next connection through the pooler: 60 at least; null or 0 is never.",
        examples=[300],
    )
    auto_suspend_direct: SuspendedDirect | None = Field(
        default=None,
        description="What a direct connection to a suspended instance does: wake it, for which all"
        " direct connections pass through the platform, or refuse. From the instance's next start.",
    )

    def attributes(self) -> dict[str, object]:
        """Return the attributes that were sent; null counts only for those that can be cleared."""
        sent = {
            name: getattr(self, name) for name in attributes.NAMES if name in self.model_fields_set
        }
        return {
            name: value
            for name, value in sent.items()
            if value is not None or name in attributes.CLEARABLE
        }


Restart = Annotated[
    bool,
    Field(
        description="Whether to restart the instance if parameters need it, which ends all its"
        " sessions. Otherwise these wait for the next restart."
    ),
]


class CreateDatabase(_Attributes):
    """A new database. One of ``friendly_name`` and ``name`` is required."""

    owner_email: Email | None = None
    new_customer: NewCustomer = True
    environment: Environment = "production"
    kind: Literal["shared", "dedicated"] = Field(
        default="shared",
        description="Where to create it: on a shared cluster, or on one of its own, an instance.",
    )
    version: Annotated[int, Field(ge=1, le=99)] | None = Field(
        default=None, description="An instance's major version: see GET /api/versions."
    )
    cpus: Cpus | None = Field(
        default=None,
        description="How many processors an instance may use; null: what its customer's plan"
        " grants, or else all.",
    )
    memory_mb: InstanceMemory | None = Field(
        default=None,
        description="The memory of an instance, in MiB; null: what its customer's plan grants.",
    )
    driver: Driver | None = Field(default=None, description="What runs an instance.")
    cluster: str | None = Field(
        default=None,
        max_length=9,
        description="The shared cluster to create it on; by administrators. By default one with"
        " few of the owner's databases, and most free connections.",
        examples=["shared-1"],
    )
    plan: PlanName | None = Field(
        default=None, description="One of GET /api/plans; null: its owner's, or else standard."
    )
    shadow: bool = Field(
        default=True, description="Whether to make a shadow database, for Prisma's migrations."
    )
    import_from: ConnectionString | None = None
    blueprint: BlueprintReference | None = None
    seeds: Seeds | None = None

    @model_validator(mode="after")
    def _named(self) -> Self:
        if self.friendly_name is None and self.name is None:
            raise ValueError("friendly_name or name is needed")
        if self.blueprint is not None and self.import_from is not None:
            raise ValueError("blueprint and import_from exclude each other")
        if self.seeds is not None and self.blueprint is None:
            raise ValueError("seeds are a blueprint's, and none is named")
        return self

    @model_validator(mode="after")
    def _of_its_kind(self) -> Self:
        if self.kind == "shared":
            if said := self.model_fields_set & _OF_INSTANCES:
                raise ValueError(f"{min(said)} is of instances: kind is dedicated")
        elif self.name is None:
            raise ValueError("name is needed for an instance, which is named by it")
        elif self.cluster is not None:
            raise ValueError("cluster is of shared databases: an instance is one of its own")
        elif self.blueprint is not None or self.import_from is not None:
            raise ValueError("blueprint and import_from are for a database that is there already")
        return self

    def contents(self) -> Contents | None:
        """Return the initial contents. Raises InvalidInput without the connection string."""
        if self.import_from is not None:
            return FromSource(sources.parse(secret(self.import_from), name="import_from"))
        if self.blueprint is not None:
            return FromBlueprint(self.blueprint, self.seeds)
        return None

    def wanted(self) -> NewDatabase:
        named = {"friendly_name": self.friendly_name or self.name, "has_shadow": self.shadow}
        return NewDatabase(
            attributes=Attributes().changed(self.attributes() | named),
            owner_email=self.owner_email,
            limits={name: value for name, value in self.limits().items() if value is not None},
            cluster=self.cluster,
            new_customer=self.new_customer,
            instance=self._instance(),
            names_plan=self.plan is not None,
        )

    def _instance(self) -> NewInstance | None:
        if self.kind == "shared":
            return None
        return NewInstance(self.driver or PROCESS, self.version, self.cpus, self.memory_mb)


class UpdateDatabase(_Attributes):
    """Changes to a database; omitted fields stay unchanged. A null limit is the plan's again."""

    name: Slug | None = Field(
        default=None, description="What it is called by; connection strings stay as they are."
    )
    environment: Environment | None = Field(
        default=None,
        description="Where it is listed. Connection strings, data, limits and logins stay.",
    )
    owner_email: Email | None = Field(
        default=None,
        description="Whose it shall be, if it is nobody's; by administrators. The owner's keys and "
        "users see it then, with its backups. An owner is not changed.",
    )
    new_customer: NewCustomer = True
    plan: PlanName | None = Field(
        default=None,
        description="One of GET /api/plans. Its limits hold at once, but for those that the "
        "database has of its own.",
    )
    pool_mode: PoolMode | None = Field(
        default=None,
        description="How long a pooled client keeps a server connection: for a transaction, after "
        "which the session is reset, or until it disconnects.",
    )
    expires_at: Annotated[Moment, AfterValidator(expiry)] | None = Field(
        default=None, description="When to delete a branch; null is never."
    )
    rotate_password_days: Annotated[int, Field(ge=14, le=3650)] | None = Field(
        default=None,
        description="After how many days to replace the passwords of its logins, the first time"
        " in 7 days at the earliest; null is never.",
    )
    cpus: Cpus | None = Field(
        default=None, description="How many processors its instance may use; null: all."
    )
    memory_mb: InstanceMemory | None = Field(
        default=None, description="The memory of its instance, in MiB."
    )
    restart: Restart = False

    @model_validator(mode="after")
    def _something(self) -> Self:
        if not self.model_fields_set - {"new_customer", "restart"}:
            raise ValueError("names nothing to change")
        return self

    def _size(self) -> dict[str, float | None]:
        """Return the size that was sent; an instance is never without a limit of memory."""
        size: dict[str, float | None] = {}
        if "cpus" in self.model_fields_set:
            size["cpus"] = self.cpus
        if self.memory_mb is not None:
            size["memory_mb"] = self.memory_mb
        return size

    def changes(self) -> Changes:
        return Changes(
            self.attributes(),
            self.limits(),
            self.owner_email,
            self.new_customer,
            self._size(),
            self.restart,
        )


def _parameter_text(value: object) -> object:
    """Return a value of JSON as PostgreSQL writes it."""
    if isinstance(value, bool):
        return "on" if value else "off"
    return str(value) if isinstance(value, (int, float)) else value


ParameterName = Annotated[
    str, StringConstraints(min_length=1, max_length=63), AfterValidator(readable)
]
ParameterValue = Annotated[
    str,
    BeforeValidator(_parameter_text),
    StringConstraints(max_length=1000),
    AfterValidator(readable),
]


class SetParameters(Body):
    """Parameters of an instance's server to set; one that is null is the default again."""

    parameters: dict[ParameterName, ParameterValue | None] = Field(
        default_factory=dict,
        max_length=100,
        examples=[{"work_mem": "16MB", "max_parallel_workers": 4, "jit": None}],
    )
    restart: Restart = False

    @model_validator(mode="after")
    def _something(self) -> Self:
        if not self.parameters and not self.restart:
            raise ValueError("names nothing to change")
        return self


class SetLog(Body):
    """Which statements of a database to log; an omitted setting is turned off."""

    statements: LoggedStatements = "none"
    min_duration_ms: Annotated[int, Field(ge=0, le=3_600_000)] | None = None
    errors: bool = False
    keep_days: Annotated[int, Field(ge=1, le=3650)] | None = None

    def wanted(self) -> LogSettings:
        return LogSettings(self.statements, self.min_duration_ms, self.errors, self.keep_days)


def _role_name(text: str) -> str:
    if not ROLE_NAME.fullmatch(text):
        raise ValueError(
            "may hold lower-case letters, digits and, between them, underscores, "
            "and begins with a letter (reporting, app_2)"
        )
    if text in SHARED:  # a token names these and additional roles alike
        raise ValueError(f"must not be that of a role of data APIs ({', '.join(SHARED)})")
    return text


class CreateRole(Body):
    """A new additional role of a database."""

    name: Annotated[
        str,
        StringConstraints(min_length=1, max_length=LONGEST_NAME),
        AfterValidator(_role_name),
        Field(examples=["reporting"]),
    ]
    access: Literal["read_only", "read_write"] = "read_only"
    max_connections: Connections | None = Field(
        default=None,
        description="The most connections at once; within those of the database. Default: 10.",
    )

    def wanted(self) -> NewRole:
        return NewRole(self.name, self.access, self.max_connections)


class UpdateRole(Body):
    """Changes to an additional role."""

    max_connections: Connections


def is_extension_name(text: str) -> bool:
    """Whether PostgreSQL accepts this name for an extension (check_valid_extension_name)."""
    return bool(_EXTENSION_NAME.fullmatch(text))


def _extension_name(text: str) -> str:
    if not is_extension_name(text):
        raise ValueError("may hold letters, digits, underscores and, between them, hyphens")
    return text


def _own_schema(text: str) -> str:
    if text.startswith("pg_") or text == "information_schema":
        raise ValueError("is one of PostgreSQL's own")
    return text


class AddExtension(Body):
    """An extension to install, in an existing schema: ``public``, if none is named."""

    name: Annotated[
        str,
        StringConstraints(min_length=1, max_length=63),
        AfterValidator(_extension_name),
        Field(examples=["pg_trgm"]),
    ]
    schema_: Annotated[
        Annotated[
            str,
            StringConstraints(min_length=1, max_length=63),
            AfterValidator(readable),
            AfterValidator(_own_schema),
        ]
        | None,
        Field(alias="schema", examples=["public"]),
    ] = None
    restart: Annotated[
        bool,
        Field(
            description="Whether to restart the instance now if its server has to load the library,"
            " which ends all its sessions."
        ),
    ] = False
