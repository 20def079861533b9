"""Bodies of requests that copy databases: backups, restores, branches, imports."""

import datetime as dt
import uuid
from typing import Annotated, Literal, Self

from pydantic import (
    AfterValidator,
    Field,
    SecretStr,
    StringConstraints,
    model_validator,
)

from tenantry.base.errors import InvalidInput
from tenantry.control.attributes import Environment
from tenantry.control.backup_schedules import Schedule
from tenantry.pg import sources
from tenantry.pg.sources import Source
from tenantry.services.backups.model import NewBackup
from tenantry.services.bodies.fields import (
    Body,
    ConnectionString,
    Jobs,
    Label,
    Moment,
    PlanName,
    Slug,
    StatementSeconds,
    expiry,
    readable,
    secret,
)
from tenantry.services.bodies.lost_rows import TableName, table_of
from tenantry.services.branches.model import NewBranch
from tenantry.services.imports.plan import Selection, UnmappedRoles
from tenantry.services.lost_rows.model import NewTables
from tenantry.services.restores.model import NewRestore

_SCHEDULE = Schedule()


_LONGEST_NAME = 63  # bytes
MOST_MAPPED_ROLES = 100


def _name_of(text: str) -> str:
    if len(text.encode()) > _LONGEST_NAME:
        raise ValueError(f"must not have more than {_LONGEST_NAME} bytes")
    return text


_ObjectName = Annotated[
    str,
    StringConstraints(min_length=1, max_length=_LONGEST_NAME),
    AfterValidator(readable),
    AfterValidator(_name_of),
]


_TableName = Annotated[
    str, StringConstraints(min_length=1, max_length=130), AfterValidator(readable)
]


ImportLosses = Annotated[
    bool,
    Field(
        description="To go on without what PostgreSQL does not build again; left out, the"
        " operation fails with `import_would_lose`, and nothing is left of it.",
    ),
]


class _FromElsewhere(Body):
    """An external database, and the selection of its contents."""

    schemas: list[_ObjectName] = Field(default=[], max_length=100, examples=[["public"]])
    exclude_tables: list[_TableName] = Field(
        default=[],
        max_length=1000,
        description="As schema.table, or the name alone of one in public.",
        examples=[["public.sessions"]],
    )

    def excluded(self) -> tuple[tuple[str, str], ...]:
        """Return the tables to leave out as pairs of schema and name."""
        tables = [name.partition(".") for name in self.exclude_tables]
        return tuple((schema, name) if dot else ("public", schema) for schema, dot, name in tables)


class PreviewImport(_FromElsewhere):
    """An external database to preview."""

    from_: Annotated[ConnectionString, Field(alias="from")]

    def source(self) -> Source:
        """Return the parsed source. Raises InvalidInput, which does not repeat the string."""
        return sources.parse(secret(self.from_))

    def selection(self) -> Selection:
        return Selection(schemas=tuple(self.schemas), exclude_tables=self.excluded())


class ImportDatabase(_FromElsewhere):
    """An external database, or a previewed dump, to copy into an empty database."""

    from_: Annotated[ConnectionString | None, Field(alias="from")] = None
    upload_id: uuid.UUID | None = Field(
        default=None,
        description="In place of `from`: a dump that was sent to …/import/preview for this"
        " database, less than an hour ago.",
    )
    map_roles: dict[_ObjectName, _ObjectName] = Field(
        default={},
        max_length=MOST_MAPPED_ROLES,
        description="Which login of the database stands for a role of the source in policies and"
        " grants, by the role's name there.",
        examples=[{"authenticated": "app"}],
    )
    unmapped_roles: UnmappedRoles = Field(
        default="leave_out",
        description="What policies say of other roles is left out, and reported; or policies that"
        " name others are an error before anything is copied.",
    )
    jobs: Jobs = 2
    statement_timeout_seconds: StatementSeconds = None
    accept_losses: ImportLosses = False

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.from_ is None) is (self.upload_id is None):
            raise ValueError("from or upload_id: send one of them")
        if self.upload_id is not None and (self.schemas or self.exclude_tables):
            raise ValueError("schemas and exclude_tables are for a server: a dump is read whole")
        if self.upload_id is not None and self.unmapped_roles == "refuse":
            raise ValueError("unmapped_roles is for a server: the preview shows a dump's roles")
        return self

    def origin(self) -> Source | uuid.UUID:
        """Return the source, or the dump's id. Raises InvalidInput without the string."""
        if self.upload_id is not None:
            return self.upload_id
        return sources.parse(secret(self.from_ or SecretStr("")))

    def selection(self) -> Selection:
        return Selection(
            schemas=tuple(self.schemas),
            exclude_tables=self.excluded(),
            jobs=self.jobs,
            statement_seconds=self.statement_timeout_seconds,
            roles=self.map_roles,
            unmapped_roles=self.unmapped_roles,
            accept_losses=self.accept_losses,
        )


def mapped_roles(pairs: list[str]) -> dict[str, str]:
    """Parse a query's ``old=new`` parameters into a map by old name. Raises InvalidInput."""
    mapped: dict[str, str] = {}
    for pair in pairs:
        old, equals, new = pair.rpartition("=")
        if not equals or not old or not new or old in mapped:
            raise InvalidInput.of("map_role", "must be old=new, once for each old role")
        mapped[old] = new
    return mapped


class AddCluster(Body):
    """A new shared cluster, on a port of TENANTRY_INSTANCE_PORTS."""

    kind: Literal["shared"] = "shared"
    name: Annotated[
        str | None,
        Field(
            pattern=r"^[a-z](-?[a-z0-9]){0,8}$",
            max_length=9,
            description="By default shared-2, shared-3 and so on.",
            examples=["shared-2"],
        ),
    ] = None


class BackUpCluster(Body):
    """A new backup of a whole cluster."""

    type: Literal["full", "diff", "incr"] = Field(
        default="incr",
        description="All of it, or what has changed since the last full one, or since the last.",
    )


class RestoreCluster(Body):
    """The moment to which to restore a whole cluster."""

    to: Annotated[
        Moment,
        Field(description="A moment with its time zone.", examples=["2026-11-21T13:59:59+01:00"]),
    ]


class CreateBackup(Body):
    """A new logical backup of one database."""

    format: Literal["custom", "plain"] = Field(
        default="custom",
        description="For pg_restore, with owners and rights; or SQL for psql, without them.",
    )
    part: Literal["all", "schema", "data"] = "all"
    description: Label | None = None

    def wanted(self) -> NewBackup:
        return NewBackup(self.format, self.part, self.description)


class BackupSchedule(Body):
    """When a database is backed up automatically, and which backups are kept."""

    every: Literal["off", "day", "week"] = Field(description="Weekly is on Sundays.")
    hour: Annotated[int, Field(ge=0, le=23)] = Field(default=_SCHEDULE.hour, description="In UTC.")
    format: Literal["custom", "plain"] = _SCHEDULE.format
    keep_count: Annotated[int, Field(ge=1, le=1000)] = _SCHEDULE.keep_count
    keep_days: Annotated[int, Field(ge=0, le=3650)] = _SCHEDULE.keep_days
    keep_manual_days: Annotated[int, Field(ge=1, le=3650)] | None = Field(
        default=None, description="Manual backups older than this go, too; null: they stay."
    )

    def wanted(self) -> Schedule:
        return Schedule(**self.model_dump())


class CreateBranch(Body):
    """A new branch, with its parent's data."""

    name: Slug
    friendly_name: Label | None = None
    environment: Environment = "development"
    plan: PlanName | None = Field(
        default=None, description="One of GET /api/plans; left out, it has its parent's limits."
    )
    shadow: bool = Field(default=False, description="Whether to make a shadow database beside it.")
    masked: bool | None = Field(
        default=None,
        description="Whether to do the parent's masking in it; left out, if there is one.",
    )
    at: Moment | None = Field(
        default=None, description="The moment at which to have the parent's data; left out, now."
    )
    expires_at: Annotated[Moment, AfterValidator(expiry)] | None = None
    expires_in: (
        Annotated[
            int,
            Field(ge=60, le=100 * 366 * 86_400, description="Seconds.", examples=[86_400]),
        ]
        | None
    ) = None

    @model_validator(mode="after")
    def _one_end(self) -> Self:
        if self.expires_at is not None and self.expires_in is not None:
            raise ValueError("expires_at and expires_in say the same: send one of them")
        return self

    def wanted(self) -> NewBranch:
        expires_at = self.expires_at
        if self.expires_in is not None:
            expires_at = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=self.expires_in)
        return NewBranch(
            name=self.name,
            friendly_name=self.friendly_name or self.name,
            environment=self.environment,
            plan=self.plan,
            shadow=self.shadow,
            masked=self.masked,
            at=self.at,
            expires_at=expires_at,
        )


_AcceptLosses = Annotated[
    bool,
    Field(
        description="To go on without what PostgreSQL does not build again, where a database is"
        " replaced; left out, the operation fails with `restore_would_lose` before that.",
    ),
]


class ResetBranch(Body):
    """The parent's state to which to reset a branch."""

    at: Moment | None = None
    masked: bool | None = Field(
        default=None,
        description="Whether to do the parent's masking in it; left out, if there is one.",
    )
    accept_losses: _AcceptLosses = False


class PromoteBranch(Body):
    """Options for promoting a branch into its parent."""

    accept_losses: _AcceptLosses = False


def _sql(text: str) -> str:
    if "\x00" in text or not text.strip():
        raise ValueError("must be SQL")
    return text


class SetMasking(Body):
    """SQL that masks each branch of a database before clients can connect; null means none."""

    sql: (
        Annotated[
            str,
            StringConstraints(min_length=1, max_length=100_000),
            AfterValidator(_sql),
            Field(examples=["UPDATE people SET email = id || '@example.com'"]),
        ]
        | None
    )


class Restore(Body):
    """The moment or backup from which to restore a database, and where to."""

    to: Annotated[
        Literal["latest", "previous"] | uuid.UUID | Moment,
        Field(
            description="A moment with its time zone; `latest`; `previous`, which is what the last "
            "restore in place has replaced; or the id of a backup, or of what was replaced.",
            examples=["2026-11-21T13:59:59+01:00"],
        ),
    ]
    as_: Annotated[
        Literal["new", "in_place", "rows"] | None,
        Field(
            alias="as",
            description="A new database if left out. What was replaced only goes `in_place`. Of"
            " `tables`, copies in a new schema of the same database (`new`), or the rows that were"
            " deleted since, in their places (`rows`).",
        ),
    ] = None
    tables: list[TableName] | None = Field(
        default=None,
        min_length=1,
        max_length=20,
        description="To bring only these back, from a moment, and nothing else.",
        examples=[["public.orders"]],
    )
    name: Slug | None = Field(
        default=None,
        description="For a new database, in the environment of the other one; none if left out, or "
        "if another database has taken it meanwhile.",
    )
    friendly_name: Label | None = Field(default=None, description="For a new database.")
    accept_losses: _AcceptLosses = False

    @model_validator(mode="after")
    def _of_one_sort(self) -> Self:
        if self.tables is None:
            if self.as_ == "rows":
                raise ValueError("tables: name those whose rows to bring back")
            return self
        of_database = (self.name, self.friendly_name, self.accept_losses or None)
        for wrong, why in (
            (not isinstance(self.to, dt.datetime), "to: tables are brought back from a moment"),
            (self.as_ == "in_place", "as: tables are brought back as new, or their rows"),
            (any(of_database), "tables: no database is made that has a name or loses anything"),
        ):
            if wrong:
                raise ValueError(why)
        return self

    def wanted_tables(self) -> NewTables | None:
        """Return the tables to bring back, None if it is the database."""
        if self.tables is None or not isinstance(self.to, dt.datetime):
            return None
        into: Literal["new", "rows"] = "rows" if self.as_ == "rows" else "new"
        return NewTables(self.to, list(dict.fromkeys(map(table_of, self.tables))), into)

    def wanted(self) -> NewRestore:
        """Return the restore of the whole database."""
        return NewRestore(
            to=self.to,
            into="in_place" if self.as_ == "in_place" else self.as_ and "new",
            name=self.name,
            friendly_name=self.friendly_name,
            accept_losses=self.accept_losses,
        )
