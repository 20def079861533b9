"""What an import is made of. Values only; none of them is written down with its password."""

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

STATEMENT_SECONDS = 3600.0  # how long each statement may run if nothing is asked for


class ImportParams(Params):
    """How to load what was copied from a source, or sent as the file ``upload``.

    ``roles`` maps the source's roles to logins here; ``source`` names the source's database.
    """

    jobs: int
    roles: dict[str, str] = Field(default_factory=dict)
    accept_losses: bool = False
    statement_seconds: float = STATEMENT_SECONDS
    upload: uuid.UUID | None = None
    source: str | None = None


class ImportState(State):
    """Rows by table, at a source (``there``) and here; its settings; what was left out."""

    there: dict[str, int] | None = None
    here: dict[str, int] = Field(default_factory=dict)
    settings: dict[str, str] | None = None
    left_out: list[str] = Field(default_factory=list)
    objects: int = 0


IMPORT = Kind("database.import", ImportParams, ImportState)
ImportRun = Run[ImportParams, ImportState]


class WouldLose(Conflict):
    """What was read in lacks something of the dump."""

    code = "import_would_lose"
    title = "The import would lose something"

    @classmethod
    def of(cls, lost: Sequence[Mapping[str, str]]) -> "WouldLose":
        """The error for the objects that are ``lost``, each with its reason."""
        return cls(
            f"PostgreSQL does not build all of it again: {reloading.named(lost)}.",
            hint="Nothing is left of it here. Change that at the source; or go on without it, by"
            " accept_losses (--accept-losses): the result lists what is left out.",
        )


class NotEmpty(Conflict):
    """There is something in the database already."""

    code = "database_not_empty"
    title = "The database is not empty"

    @classmethod
    def of(cls, name: str, there: Sequence[Leftovers]) -> "NotEmpty":
        """The error for what is in the database ``name``."""
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
    """A source that can be imported from: the address that is connected to, and what it has.

    ``size_bytes`` is what the tables that are copied take there, with their indexes.
    """

    source: Source
    address: IPAddress
    contents: Contents
    selection: Selection

    @property
    def size_bytes(self) -> int:
        return sum(table.size_bytes for table in self.selection.tables(self.contents.tables))

    def environment(self, database: str) -> dict[str, str]:
        """How PostgreSQL's programs log in there (``dumps.Login``)."""
        return self.source.environment(self.address) | {"PGDATABASE": database}


@dataclass(frozen=True, slots=True)
class Upload:
    """A dump that was sent, in a file of its own."""

    id: uuid.UUID
    size_bytes: int
    sha256: bytes


# ── what an import would bring ───────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class PreviewTable:
    """A table to copy; ``size_bytes`` with its indexes, None in a dump."""

    schema: str
    name: str
    size_bytes: int | None


@dataclass(frozen=True, slots=True)
class PreviewExtension:
    """An extension, whether the database can have it, and of what depends on it the first things,
    which a dump does not tell."""

    name: str
    available: bool
    used_by: Sequence[str]


@dataclass(frozen=True, slots=True)
class PreviewRole:
    """A role of the source's: how many policies and grants name it, how many objects are its own.

    ``login`` is the database's login that stands for it; None if what names it is left out.
    """

    name: str
    policies: int
    grants: int
    owns: int
    login: str | None


@dataclass(frozen=True, slots=True)
class Preview:
    """What an import would bring. ``logins`` are those that can stand for a role; ``version`` is
    that of the server which it is from, if that is known; ``warnings`` is what is unlikely to be
    meant.

    ``size_bytes`` is what it takes there, or a dump as it was sent; ``upload_id`` is that dump's.
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
