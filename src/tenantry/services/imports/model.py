"""What an import consists of. Values only; none of them is stored with its password."""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pydantic import Field

from tenantry.base.errors import Conflict
from tenantry.pg import reloading
from tenantry.pg.leftovers import Leftovers
from tenantry.pg.sources import Contents, IPAddress, Source
from tenantry.services.imports.plan import Selection
from tenantry.services.operations.model import Kind, Params, Run, State

STATEMENT_SECONDS = 3600.0  # the default time that each statement may run


class ImportParams(Params):
    """How to load what was copied from a source, or sent as the file ``upload``.

    ``roles`` maps the source's roles to roles of the database; ``source`` names the source's
    database.
    """

    jobs: int
    roles: dict[str, str] = Field(default_factory=dict)
    accept_losses: bool = False
    statement_seconds: float = STATEMENT_SECONDS
    upload: uuid.UUID | None = None
    source: str | None = None


class ImportState(State):
    """Rows by table, at a source (``there``) and here; the source's settings; what was left out."""

    there: dict[str, int] | None = None
    here: dict[str, int] = Field(default_factory=dict)
    settings: dict[str, str] | None = None
    left_out: list[str] = Field(default_factory=list)
    objects: int = 0


IMPORT = Kind("database.import", ImportParams, ImportState)
ImportRun = Run[ImportParams, ImportState]


class WouldLose(Conflict):
    """The loaded database lacks objects of the dump."""

    code = "import_would_lose"
    title = "The import would lose something"

    @classmethod
    def of(cls, lost: Sequence[Mapping[str, str]]) -> "WouldLose":
        """Return the error for the objects that are ``lost``, each with its reason."""
        return cls(
            f"PostgreSQL does not build all of it again: {reloading.named(lost)}.",
            hint="Nothing is left of it here. Change that at the source; or go on without it, by"
            " accept_losses (--accept-losses): the result lists what is left out.",
        )


class NotEmpty(Conflict):
    """The database already contains something."""

    code = "database_not_empty"
    title = "The database is not empty"

    @classmethod
    def of(cls, name: str, there: Sequence[Leftovers]) -> "NotEmpty":
        """Return the error for the contents of the database ``name``."""
        schemas = [schema for each in there if each.kind == "schema" for schema in each.names]
        drop = f" (DROP SCHEMA {', '.join(schemas)} CASCADE)" if schemas else ""
        return cls(
            f"{name} is not empty. An import needs an empty database, and here is already, perhaps"
            f" from an earlier try: {'; '.join(map(str, there))}.",
            hint="Create another database and import into that; or, if nobody needs what is there,"
            f" drop it as the database's owner{drop} and import again.",
        )


@dataclass(frozen=True, slots=True)
class Examined:
    """A source that can be imported from: the address to connect to, and its contents.

    ``size_bytes`` is the size of the tables to copy at the source, with their indexes.
    """

    source: Source
    address: IPAddress
    contents: Contents
    selection: Selection

    @property
    def size_bytes(self) -> int:
        return sum(table.size_bytes for table in self.selection.tables(self.contents.tables))

    def environment(self, database: str) -> dict[str, str]:
        """Return the environment in which PostgreSQL's programs log in there (``dumps.Login``)."""
        return self.source.environment(self.address) | {"PGDATABASE": database}


@dataclass(frozen=True, slots=True)
class Upload:
    """A dump that was received, in a file of its own."""

    id: uuid.UUID
    size_bytes: int
    sha256: bytes


# ── the preview of an import ─────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class PreviewTable:
    """A table to copy; ``size_bytes`` with its indexes, None in a dump."""

    schema: str
    name: str
    size_bytes: int | None


@dataclass(frozen=True, slots=True)
class PreviewExtension:
    """An extension, and whether the database can have it.

    ``used_by`` are the first objects that depend on it; unknown for a dump.
    """

    name: str
    available: bool
    used_by: Sequence[str]


@dataclass(frozen=True, slots=True)
class PreviewRole:
    """A role of the source: how many policies and grants name it, how many objects it owns.

    ``login`` is the database's role that stands for it; None if what names it is left out.
    """

    name: str
    policies: int
    grants: int
    owns: int
    login: str | None

    @property
    def is_needed(self) -> bool:
        """Whether something is left out unless a role is chosen for it.

        What a role of the source owns passes to the owner role, which needs no grants.
        """
        return self.login is None and bool(self.policies or (self.grants and not self.owns))


@dataclass(frozen=True, slots=True)
class Preview:
    """What an import would create.

    ``logins`` are the database's roles that can stand for a role of the source; ``version`` is that
    of the source's server, if known; ``warnings`` are about what is unlikely to be intended.

    ``size_bytes`` is the size at the source, or of a dump as it was sent; ``upload_id`` is that
    dump's.
    """

    version: str | None
    size_bytes: int
    schemas: Sequence[str]
    tables: Sequence[PreviewTable]
    extensions: Sequence[PreviewExtension]
    roles: Sequence[PreviewRole]
    logins: Sequence[str]
    warnings: Sequence[str]
    upload_id: uuid.UUID | None
