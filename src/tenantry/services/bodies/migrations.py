"""Bodies of migrations, for one database and for many."""

import uuid
from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import (
    AfterValidator,
    Field,
    StringConstraints,
    field_validator,
    model_validator,
)

from tenantry.control.attributes import Environment
from tenantry.services.bodies.fields import Body, Email, Slug, StatementSeconds, Tags, readable
from tenantry.services.migrations.model import (
    DEFAULT_LIMITS,
    HIGHEST_VERSION,
    Acceptance,
    BadMigrations,
    Limits,
)
from tenantry.services.migrations.plan import collect, parse_name
from tenantry.services.tenant_migrations.folders import MOST_FILES
from tenantry.services.tenant_migrations.model import Files, Fleet, Selection, Wanted

MOST_MIGRATION_CHARACTERS = 1024 * 1024
MOST_NAMED = 5000  # databases, of which a platform of one server has fewer


class MigrationFile(Body):
    """A migration file, named as golang-migrate expects."""

    name: Annotated[
        str,
        StringConstraints(min_length=1, max_length=255),
        AfterValidator(readable),
        Field(examples=["000001_create_users.up.sql"]),
    ]
    sql: Annotated[str, Field(max_length=MOST_MIGRATION_CHARACTERS)]


class _Migrations(Body):
    files: list[MigrationFile] = Field(default=[], max_length=MOST_FILES)
    accept_edited: bool = Field(
        default=False, description="Take files for applied that were edited since then."
    )
    accept_skipped: bool = Field(
        default=False,
        description="Take files for applied that came after later ones had been, and never ran.",
    )
    beside: bool = Field(
        default=False,
        description="Where schema_migrations is another tool's table, begin a record beside it, in"
        " tenantry_schema_migrations.",
    )
    lock_timeout_seconds: Annotated[float, Field(ge=0.001, le=600)] = DEFAULT_LIMITS.lock_timeout
    statement_timeout_seconds: StatementSeconds = None
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

    @property
    def texts(self) -> dict[str, str]:
        """The files in the body itself, as text by name."""
        return {each.name: each.sql for each in self.files}

    def _files(self, texts: Mapping[str, str]) -> Files:
        return Files(
            texts,
            Limits(self.lock_timeout_seconds, self.statement_timeout_seconds, self.retries),
            Acceptance(edited=self.accept_edited, skipped=self.accept_skipped),
            self.beside,
        )


class MigrateDatabase(_Migrations):
    """The action on a database's migrations, one of golang-migrate's commands."""

    action: Literal["up", "down", "goto", "force"] = "up"
    n: Annotated[int, Field(ge=0, le=2**31 - 1)] | None = Field(
        default=None, description="How many files up or down; default: all of them."
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

    def wanted(self, texts: Mapping[str, str]) -> Wanted:
        """Return the requested action with these files."""
        return Wanted(self.action, self._files(texts), self.n, self.version)


class MigrateMany(_Migrations):
    """A selection of databases to migrate to the last file."""

    environment: Environment | None = None
    owner_email: Email | None = None
    blueprint: Slug | None = Field(default=None, description="Only those that have this one.")
    without_blueprint: bool = Field(default=False, description="Only those that have no blueprint.")
    tags: Tags = Field(
        default=[], description="Only those that have all of these.", examples=[["wordpress"]]
    )
    database_ids: list[uuid.UUID] | None = Field(
        default=None,
        min_length=1,
        max_length=MOST_NAMED,
        description="Only these, of those that the other fields fit; each has to be one of them.",
    )
    exclude_ids: list[uuid.UUID] = Field(
        default=[], max_length=MOST_NAMED, description="All but these."
    )
    dry_run: bool = Field(
        default=False, description="Return the databases that would be migrated; migrate none."
    )
    parallel: Annotated[int, Field(ge=1, le=32)] = 4
    canary: Annotated[int, Field(ge=0, le=1000)] = Field(
        default=1, description="So many go first, and all of them must succeed."
    )
    max_failures: Annotated[int, Field(ge=0, le=100_000)] = Field(
        default=0, description="After more than so many no other one is started."
    )

    @model_validator(mode="after")
    def _check_blueprint(self) -> Self:
        if self.without_blueprint and self.blueprint is not None:
            raise ValueError("without_blueprint does not go with blueprint")
        return self

    @property
    def selection(self) -> Selection:
        """The selected databases."""
        return Selection(
            self.environment,
            self.owner_email,
            self.blueprint,
            self.without_blueprint,
            None if self.database_ids is None else frozenset(self.database_ids),
            frozenset(self.exclude_ids),
            tuple(self.tags),
        )

    def wanted(self, texts: Mapping[str, str]) -> Fleet:
        """Return the requested run with these files."""
        return Fleet(
            self._files(texts), self.selection, self.parallel, self.canary, self.max_failures
        )
