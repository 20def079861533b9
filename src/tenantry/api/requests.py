"""What callers may send. Both ``snake_case`` and ``camelCase`` names are taken."""

import datetime as dt
import re
import unicodedata
import uuid
from typing import Annotated, Literal, Self

from email_validator import EmailNotValidError, validate_email
from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    StringConstraints,
    field_validator,
    model_validator,
)
from pydantic.alias_generators import to_camel

from tenantry.base import passwords
from tenantry.base.secrets import Secret
from tenantry.control import plans
from tenantry.control.backups import Schedule
from tenantry.control.keys import SCOPES
from tenantry.control.users import Role
from tenantry.control.whitelist import NewEntry
from tenantry.pg import sources
from tenantry.pg.sources import Source
from tenantry.services.backups.model import NewBackup
from tenantry.services.branches.model import NewBranch
from tenantry.services.databases.model import Changes, Environment, NewDatabase
from tenantry.services.imports.plan import Selection
from tenantry.services.migrations.model import HIGHEST_VERSION, BadMigrations, Limits
from tenantry.services.migrations.plan import collect, parse_name
from tenantry.services.migrations.service import DEFAULT_LIMITS
from tenantry.services.network.plan import parse_network
from tenantry.services.network.service import MOST_ENTRIES
from tenantry.services.pooling.plan import POOL_SIZE
from tenantry.services.restores.model import NewRestore
from tenantry.services.roles.model import NewRole
from tenantry.services.tenant_migrations.model import Files, Fleet, Wanted
from tenantry.services.users.service import NewUser

MOST_CONNECTIONS = 500
_SCHEDULE = Schedule()
_MIB = 1024 * 1024
_TIB = 1024 * 1024 * _MIB
_LONGEST_NAME = 63  # bytes
_LONGEST_MS = 2**31 - 1  # PostgreSQL's
MOST_MIGRATION_FILES = 2000
MOST_MIGRATION_CHARACTERS = 1024 * 1024
_SLUG = re.compile(r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?")
_ROLE_NAME = re.compile(r"[a-z](?:[a-z0-9_]*[a-z0-9])?")
_EXTENSION_NAME = re.compile(r"[A-Za-z0-9_]+(?:-[A-Za-z0-9_]+)*", re.ASCII)
_DATE_FIRST = re.compile(r"\d{4}-\d{2}-\d{2}[Tt ]")
_LAST_EXPIRY = dt.timedelta(days=100 * 366)


def _readable(text: str) -> str:
    """Text that a database can hold and a terminal can show: no control characters."""
    for letter in text:
        if unicodedata.category(letter) in {"Cc", "Cs"}:
            raise ValueError("must not hold control characters")
    if not text.strip():
        raise ValueError("must not be empty")
    return text.strip()


def _email(text: str) -> str:
    try:
        address = validate_email(_readable(text), check_deliverability=False)
    except EmailNotValidError as error:
        raise ValueError(f"is not an e-mail address: {error}") from None
    return address.normalized.lower()


def _typed(text: SecretStr) -> SecretStr:
    for letter in text.get_secret_value():
        if unicodedata.category(letter) in {"Cc", "Cs"}:
            raise ValueError("must not hold control characters")
    return text


def secret(text: SecretStr) -> Secret:
    """What was sent as a secret, as ours."""
    return Secret(text.get_secret_value())


def _slug(text: str) -> str:
    if not _SLUG.fullmatch(text):
        raise ValueError(
            "may hold lower-case letters, digits and, between them, hyphens (my-app-2)"
        )
    return text


def _written_out(time: object) -> object:
    # pydantic takes numbers as well, as seconds or milliseconds by their size.
    if not isinstance(time, str) or not _DATE_FIRST.match(time):
        raise ValueError("must be a time with its offset, such as 2026-01-31T12:00:00Z")
    return time


Label = Annotated[
    str,
    StringConstraints(min_length=1, max_length=200),
    AfterValidator(_readable),
    Field(examples=["My App Database"]),
]
Password = Annotated[
    SecretStr,
    Field(
        min_length=1,
        max_length=passwords.LONGEST,
        examples=["the lighthouse keeper sold umbrellas"],
    ),
    AfterValidator(_typed),
]
Token = Annotated[SecretStr, Field(min_length=1, max_length=200), AfterValidator(_typed)]
Code = Annotated[
    str,
    StringConstraints(min_length=1, max_length=40),
    AfterValidator(_readable),
    Field(examples=["123456"]),
]
Slug = Annotated[
    str,
    StringConstraints(min_length=1, max_length=63),
    AfterValidator(_slug),
    Field(examples=["my-app"]),
]
PlanName = Annotated[
    str,
    StringConstraints(min_length=1, max_length=63),
    AfterValidator(_slug),
    Field(examples=["standard"], description="One of GET /api/plans."),
]
Email = Annotated[
    str,
    StringConstraints(min_length=3, max_length=254),
    AfterValidator(_email),
    Field(examples=["owner@example.com"]),
]
Connections = Annotated[
    int,
    Field(
        ge=1,
        le=MOST_CONNECTIONS,
        strict=True,
        description="The most connections at once, direct and pooled together.",
        examples=[20],
    ),
]
PoolSize = Annotated[
    int,
    Field(
        ge=1,
        le=POOL_SIZE,
        strict=True,
        description="The most of them that its pools may hold.",
        examples=[10],
    ),
]
DiskQuota = Annotated[
    int,
    Field(
        ge=32 * _MIB,
        le=1024 * _TIB,
        strict=True,
        description="The most that it and its shadow may take on disk; empty, they take 15 MiB.",
        examples=[5 * 1024 * _MIB],
    ),
]
TempFileLimit = Annotated[
    int,
    Field(
        ge=_MIB,
        le=_TIB,
        strict=True,
        description="The most that the temporary files of one session may take.",
        examples=[512 * _MIB],
    ),
]
Timeout = Annotated[
    int,
    Field(
        ge=0,
        le=_LONGEST_MS,
        strict=True,
        description="In milliseconds, 0 for none. A default: each session may change it.",
        examples=[60_000],
    ),
]
ConnectionString = Annotated[
    SecretStr,
    Field(
        min_length=1,
        max_length=2000,
        description="A database elsewhere to copy. The string is kept nowhere.",
        examples=["postgresql://app:a-password@203.0.113.7:5432/shop?sslmode=require"],
    ),
    AfterValidator(_typed),
]
Jobs = Annotated[int, Field(ge=1, le=4, description="How many tables at once.", examples=[2])]
Moment = Annotated[AwareDatetime, BeforeValidator(_written_out)]
Scope = Literal[SCOPES]  # type: ignore[valid-type]


class _Body(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _only_objects(cls, body: object) -> object:
        if not isinstance(body, dict):
            raise ValueError("must be a JSON object")  # noqa: TRY004 (pydantic wants ValueError)
        return body


class _Limits(_Body):
    """Limits of its own; one that is left out, or null, is the plan's."""

    max_connections: Connections | None = None
    pool_size: PoolSize | None = None
    disk_quota_bytes: DiskQuota | None = None
    temp_file_limit_bytes: TempFileLimit | None = None
    statement_timeout_ms: Timeout | None = None
    lock_timeout_ms: Timeout | None = None
    idle_in_transaction_session_timeout_ms: Timeout | None = None

    def limits(self) -> dict[str, int | None]:
        """Those that were said, null ones too."""
        return {name: getattr(self, name) for name in plans.NAMES if name in self.model_fields_set}


class CreateDatabase(_Limits):
    """A database to make. One of ``friendly_name`` and ``name`` is needed."""

    friendly_name: Label | None = None
    name: Slug | None = None
    owner_email: Email | None = None
    environment: Environment = "production"
    kind: Literal["shared"] = "shared"
    plan: PlanName = plans.DEFAULT
    shadow: bool = Field(
        default=True, description="Whether to make a shadow database, for Prisma's migrations."
    )
    import_from: ConnectionString | None = None

    @model_validator(mode="after")
    def _named(self) -> Self:
        if self.friendly_name is None and self.name is None:
            raise ValueError("friendly_name or name is needed")
        return self

    def wanted(self) -> NewDatabase:
        return NewDatabase(
            friendly_name=self.friendly_name or self.name or "",
            name=self.name,
            owner_email=self.owner_email,
            environment=self.environment,
            plan=self.plan,
            limits={name: value for name, value in self.limits().items() if value is not None},
            shadow=self.shadow,
        )


def _name_of(text: str) -> str:
    if len(text.encode()) > _LONGEST_NAME:
        raise ValueError(f"must not have more than {_LONGEST_NAME} bytes")
    return text


_ObjectName = Annotated[
    str,
    StringConstraints(min_length=1, max_length=_LONGEST_NAME),
    AfterValidator(_readable),
    AfterValidator(_name_of),
]
_TableName = Annotated[
    str, StringConstraints(min_length=1, max_length=130), AfterValidator(_readable)
]


class ImportDatabase(_Body):
    """A database elsewhere to copy into an empty one."""

    from_: Annotated[ConnectionString, Field(alias="from")]
    schemas: Annotated[list[_ObjectName], Field(max_length=100, examples=[["public"]])] = []
    exclude_tables: Annotated[
        list[_TableName],
        Field(
            max_length=1000,
            description="As schema.table, or the name alone of one in public.",
            examples=[["public.sessions"]],
        ),
    ] = []
    jobs: Jobs = 2

    def source(self) -> Source:
        """Raises InvalidInput, which does not repeat it."""
        return sources.parse(secret(self.from_))

    def selection(self) -> Selection:
        tables = [name.partition(".") for name in self.exclude_tables]
        return Selection(
            schemas=tuple(self.schemas),
            exclude_tables=tuple(
                (schema, name) if dot else ("public", schema) for schema, dot, name in tables
            ),
            jobs=self.jobs,
        )


def _expiry(at: dt.datetime) -> dt.datetime:
    if not dt.datetime.now(dt.UTC) < at < dt.datetime.now(dt.UTC) + _LAST_EXPIRY:
        raise ValueError("must be in the future, and within 100 years")
    return at


class UpdateDatabase(_Limits):
    """What to change; what is left out stays as it is. A limit of null is the plan's again."""

    friendly_name: Label | None = None
    name: Slug | None = None
    environment: Environment | None = None
    plan: PlanName | None = None
    expires_at: Annotated[Moment, AfterValidator(_expiry)] | None = Field(
        default=None, description="When to delete a branch; null is never."
    )

    @model_validator(mode="after")
    def _something(self) -> Self:
        if not self.model_fields_set:
            raise ValueError("names nothing to change")
        return self

    def changes(self) -> Changes:
        return Changes(
            friendly_name=self.friendly_name,
            name=self.name,
            environment=self.environment,
            plan=self.plan,
            limits=self.limits(),
            changes_expiry="expires_at" in self.model_fields_set,
            expires_at=self.expires_at,
        )


class WhitelistEntry(_Body):
    """An address or a CIDR range to admit."""

    ip_address: Annotated[
        str, StringConstraints(min_length=2, max_length=50), Field(examples=["203.0.113.0/24"])
    ]
    description: Label | None = None
    expires_at: Annotated[AwareDatetime, AfterValidator(_expiry)] | None = None

    def wanted(self) -> NewEntry:
        """Raises InvalidInput if it is no address or range."""
        return NewEntry(parse_network(self.ip_address), self.description, self.expires_at)


class Whitelist(_Body):
    """A whole allowlist; an empty one opens the database."""

    entries: Annotated[list[WhitelistEntry], Field(max_length=MOST_ENTRIES)]


def _role_name(text: str) -> str:
    if not _ROLE_NAME.fullmatch(text):
        raise ValueError(
            "may hold lower-case letters, digits and, between them, underscores, "
            "and begins with a letter (reporting, app_2)"
        )
    return text


class BackUpCluster(_Body):
    """A backup of a whole cluster to make."""

    type: Literal["full", "diff", "incr"] = Field(
        default="incr",
        description="All of it, or what has changed since the last full one, or since the last.",
    )


class CreateBackup(_Body):
    """A backup of one database to make."""

    format: Literal["custom", "plain"] = Field(
        default="custom",
        description="For pg_restore, with owners and rights; or SQL for psql, without them.",
    )
    part: Literal["all", "schema", "data"] = "all"
    description: Label | None = None

    def wanted(self) -> NewBackup:
        return NewBackup(self.format, self.part, self.description)


class BackupSchedule(_Body):
    """When a database is backed up by itself, and what is kept of it."""

    every: Literal["off", "day", "week"] = Field(description="Weekly is on Sundays.")
    hour: Annotated[int, Field(ge=0, le=23, strict=True)] = Field(
        default=_SCHEDULE.hour, description="In UTC."
    )
    format: Literal["custom", "plain"] = _SCHEDULE.format
    keep_count: Annotated[int, Field(ge=1, le=1000, strict=True)] = _SCHEDULE.keep_count
    keep_days: Annotated[int, Field(ge=0, le=3650, strict=True)] = _SCHEDULE.keep_days
    keep_manual_days: Annotated[int, Field(ge=1, le=3650, strict=True)] | None = Field(
        default=None, description="Manual backups older than this go, too; null: they stay."
    )

    def wanted(self) -> Schedule:
        return Schedule(**self.model_dump())


class CreateRole(_Body):
    """A login of a database to make, besides its first one."""

    name: Annotated[
        str,
        StringConstraints(min_length=1, max_length=30),
        AfterValidator(_role_name),
        Field(examples=["reporting"]),
    ]
    access: Literal["read_only", "read_write"] = "read_only"
    max_connections: Connections | None = Field(
        default=None,
        description="The most connections at once; within those of the database. 10 unless said.",
    )

    def wanted(self) -> NewRole:
        return NewRole(self.name, self.access, self.max_connections)


class UpdateRole(_Body):
    """What to change of a role."""

    max_connections: Connections


class CreateBranch(_Body):
    """A branch to make, with its parent's data."""

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
    expires_at: Annotated[Moment, AfterValidator(_expiry)] | None = None
    expires_in: (
        Annotated[
            int,
            Field(
                ge=60, le=100 * 366 * 86_400, strict=True, description="Seconds.", examples=[86_400]
            ),
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


class ResetBranch(_Body):
    """A branch that shall be as its parent is, or was."""

    at: Moment | None = None
    masked: bool | None = Field(
        default=None,
        description="Whether to do the parent's masking in it; left out, if there is one.",
    )


def _sql(text: str) -> str:
    if "\x00" in text or not text.strip():
        raise ValueError("must be SQL")
    return text


class SetMasking(_Body):
    """What is done in each branch of a database before anybody gets in; null is nothing."""

    sql: (
        Annotated[
            str,
            StringConstraints(min_length=1, max_length=100_000),
            AfterValidator(_sql),
            Field(examples=["UPDATE people SET email = id || '@example.com'"]),
        ]
        | None
    )


def is_extension_name(text: str) -> bool:
    """Whether PostgreSQL could have an extension of that name (check_valid_extension_name)."""
    return bool(_EXTENSION_NAME.fullmatch(text))


def _extension_name(text: str) -> str:
    if not is_extension_name(text):
        raise ValueError("may hold letters, digits, underscores and, between them, hyphens")
    return text


def _own_schema(text: str) -> str:
    if text.startswith("pg_") or text == "information_schema":
        raise ValueError("is one of PostgreSQL's own")
    return text


class AddExtension(_Body):
    """An extension to have, in a schema that is there."""

    name: Annotated[
        str,
        StringConstraints(min_length=1, max_length=63),
        AfterValidator(_extension_name),
        Field(examples=["pg_trgm"]),
    ]
    schema_: Annotated[
        str,
        StringConstraints(min_length=1, max_length=63),
        AfterValidator(_readable),
        AfterValidator(_own_schema),
        Field(alias="schema", examples=["public"]),
    ] = "public"


class Restore(_Body):
    """A database to have back as it was."""

    to: Annotated[
        Literal["latest", "previous"] | uuid.UUID | Moment,
        Field(
            description="A moment with its time zone; `latest`; `previous`, which is what the last "
            "restore in place has replaced; or the id of a backup, or of what was replaced.",
            examples=["2026-11-21T13:59:59+01:00"],
        ),
    ]
    as_: Annotated[
        Literal["new", "in_place"] | None,
        Field(
            alias="as", description="A new database if left out; what was replaced goes in place."
        ),
    ] = None
    friendly_name: Label | None = Field(default=None, description="For a new database.")

    def wanted(self) -> NewRestore:
        return NewRestore(to=self.to, into=self.as_, friendly_name=self.friendly_name)


class CreateKey(_Body):
    """An API key to make. It can do no more than the key that makes it."""

    name: Label
    scopes: Annotated[list[Scope], Field(min_length=1, max_length=len(SCOPES))]
    customer_email: Email | None = Field(
        default=None, description="Bind the key to this customer: it sees nothing else."
    )
    expires_at: Annotated[Moment, AfterValidator(_expiry)] | None = None


class Login(_Body):
    """Who wants to come in."""

    email: Email
    password: Password


class LoginCode(_Body):
    """The second half of a login: a code of the authenticator, or a recovery code."""

    challenge: Token
    code: Code


class ChangePassword(_Body):
    """At least 16 characters or four words, and not easy to guess."""

    current_password: Password
    new_password: Password


class Proof(_Body):
    """The password again, so that who finds an open session changes nothing."""

    password: Password


class TotpCode(_Body):
    """What the authenticator shows now."""

    code: Code


class RemoveTotp(_Body):
    """The password again, and a code."""

    password: Password
    code: Code


class CreateUser(_Body):
    """A user to make. A customer's user belongs to the customer of that address, or their own."""

    email: Email
    name: Label | None = None
    role: Role = "customer"
    customer_email: Email | None = None
    password: Password | None = Field(
        default=None, description="Left out, a random one is made, and shown this once."
    )

    @model_validator(mode="after")
    def _fitting(self) -> Self:
        if self.role == "administrator" and self.customer_email is not None:
            raise ValueError("an administrator belongs to no customer")
        return self

    def wanted(self) -> NewUser:
        return NewUser(
            email=self.email,
            name=self.name,
            role=self.role,
            customer_email=self.customer_email,
            password=None if self.password is None else secret(self.password),
        )


class UpdateUser(_Body):
    """What to change; what is left out stays as it is."""

    name: Label | None = None
    disabled: Annotated[bool, Field(strict=True)] | None = None

    @model_validator(mode="after")
    def _something(self) -> Self:
        if not self.model_fields_set:
            raise ValueError("names nothing to change")
        return self


class MigrationFile(_Body):
    """A file of golang-migrate's."""

    name: Annotated[
        str,
        StringConstraints(min_length=1, max_length=255),
        AfterValidator(_readable),
        Field(examples=["000001_create_users.up.sql"]),
    ]
    sql: Annotated[str, Field(max_length=MOST_MIGRATION_CHARACTERS)]


class _Migrations(_Body):
    files: Annotated[list[MigrationFile], Field(max_length=MOST_MIGRATION_FILES)] = []
    accept_edited: bool = Field(
        default=False, description="Take files for applied that were edited since then."
    )
    lock_timeout_seconds: Annotated[float, Field(ge=0.001, le=600)] = DEFAULT_LIMITS.lock_timeout
    statement_timeout_seconds: Annotated[float, Field(ge=0.001, le=86_400)] | None = None
    retries: Annotated[int, Field(ge=0, le=100)] = DEFAULT_LIMITS.retries

    @field_validator("files")
    @classmethod
    def _check_files(cls, files: list[MigrationFile]) -> list[MigrationFile]:
        for each in files:
            try:
                known = parse_name(each.name)
            except BadMigrations as error:
                raise ValueError(error.detail) from None
            if known is None:
                raise ValueError(f"{each.name!r} is no name like 000001_create_users.up.sql")
        if len({each.name for each in files}) < len(files):
            raise ValueError("must have different names")
        try:
            collect({each.name: each.sql.encode() for each in files})
        except (BadMigrations, UnicodeEncodeError) as error:
            raise ValueError(str(error)) from None
        return files

    def _files(self) -> Files:
        return Files(
            {each.name: each.sql for each in self.files},
            Limits(self.lock_timeout_seconds, self.statement_timeout_seconds, self.retries),
            self.accept_edited,
        )


class MigrateDatabase(_Migrations):
    """What to do with a database's migrations. golang-migrate's verbs."""

    action: Literal["up", "down", "goto", "force"] = "up"
    n: Annotated[int, Field(ge=0, le=2**31 - 1)] | None = Field(
        default=None, description="How many files up or down; all of them unless said."
    )
    version: Annotated[int, Field(ge=-1, le=HIGHEST_VERSION)] | None = Field(
        default=None, description="For goto and force; -1 forces “before the first”."
    )

    @model_validator(mode="after")
    def _check_action(self) -> Self:
        if (self.version is None) is (self.action in {"goto", "force"}):
            raise ValueError("version is for goto and force, and they need it")
        if self.version == -1 and self.action == "goto":
            raise ValueError("version -1 is for force; down goes there")
        if self.n is not None and self.action not in {"up", "down"}:
            raise ValueError("n is for up and down")
        return self

    def wanted(self) -> Wanted:
        return Wanted(self.action, self._files(), self.n, self.version)


class MigrateMany(_Migrations):
    """Many databases to bring up to the last file."""

    environment: Environment | None = None
    owner_email: Email | None = None
    parallel: Annotated[int, Field(ge=1, le=32)] = 4
    canary: Annotated[int, Field(ge=0, le=1000)] = Field(
        default=1, description="So many go first, and all of them must succeed."
    )
    max_failures: Annotated[int, Field(ge=0, le=100_000)] = Field(
        default=0, description="After more than so many no further one is begun."
    )

    def wanted(self) -> Fleet:
        return Fleet(
            self._files(),
            self.environment,
            self.owner_email,
            self.parallel,
            self.canary,
            self.max_failures,
        )
