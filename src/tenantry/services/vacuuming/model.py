"""What maintenance of a database's tables and indexes is asked for, and what has been done."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, Field

from tenantry.pg.index_creation import Method, NewIndex
from tenantry.pg.reindexing import Index
from tenantry.pg.vacuuming import Table
from tenantry.services.operations.model import Kind, Params, State

Verb = Literal["vacuum_full", "vacuum", "analyze", "reindex", "create_index"]
Target = Table | Index | NewIndex


class Maintained(BaseModel):
    """A table, or an index, that was maintained, and its size before and after."""

    table: str
    before_bytes: int
    after_bytes: int


class Skipped(BaseModel):
    """A table, or an index, that stayed as it was, and why."""

    table: str
    reason: str


class Definition(BaseModel):
    """What an index of a table is to be. Without a ``name`` it gets one, as from PostgreSQL."""

    columns: tuple[str, ...]
    name: str | None = None
    method: Method = "btree"
    unique: bool = False


class Maintenance(Params):
    """Which tables and indexes to maintain (none: those of the verb), and the timeouts in seconds.

    ``analyze`` is whether a vacuum collects statistics, too; ``index`` is created on the one table.
    """

    tables: tuple[str, ...]
    lock_seconds: float
    statement_seconds: float
    indexes: tuple[str, ...] = ()
    analyze: bool = False
    index: Definition | None = None


class Creating(BaseModel):
    """An index that is being created, with its table, as ``schema.name``."""

    index: str
    table: str


class Rebuilding(BaseModel):
    """An index that is being rebuilt: its table, whose invalid indexes before were these."""

    table_oid: int
    invalid: list[int]


class Progress(State):
    """What is done. ``before`` has the sizes in bytes, stored for a second try.

    ``rebuilding`` is stored before an index is rebuilt, and ``creating`` before one is created, so
    that what an interruption leaves is known.
    """

    done: list[Maintained] = Field(default_factory=list)
    skipped: list[Skipped] = Field(default_factory=list)
    before: dict[str, int] = Field(default_factory=dict)
    rebuilding: Rebuilding | None = None
    creating: Creating | None = None


KINDS: dict[Verb, Kind[Maintenance, Progress]] = {
    "vacuum_full": Kind("database.vacuum_full", Maintenance, Progress),
    "vacuum": Kind("database.vacuum", Maintenance, Progress),
    "analyze": Kind("database.analyze", Maintenance, Progress),
    "reindex": Kind("database.reindex", Maintenance, Progress),
    "create_index": Kind("database.create_index", Maintenance, Progress),
}


@dataclass(frozen=True, slots=True)
class Wanted:
    """The maintenance that is asked for: tables are ``schema.table``, indexes ``schema.index``.

    None named means: those that are worth a rewrite, or all to vacuum or analyze. ``lock_seconds``
    is how long each lock is waited for.
    """

    verb: Verb
    tables: Sequence[str]
    lock_seconds: float
    statement_seconds: float | None
    indexes: Sequence[str] = ()
    analyze: bool = False
    index: Definition | None = None
