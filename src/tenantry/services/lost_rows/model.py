"""What is asked of a database's past, and the operations that it takes. Values only."""

import datetime as dt
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import Field

from tenantry.services.operations.model import Kind, Params, Run, State

MINUTES = 15  # for which a past session can be read
MOST = 4  # past sessions at once: each is a cluster with 64 MiB of shared buffers
MOST_OF_CUSTOMER = 2

Into = Literal["new", "rows"]


class PastParams(Params):
    """The moment to look at."""

    to: dt.datetime


class PastState(State):
    moment: dt.datetime | None = None
    size: int = 0


class TablesParams(Params):
    """Tables, by schema and name, to bring back as they were at a moment."""

    to: dt.datetime
    tables: list[tuple[str, str]]
    into: Into


class TablesState(PastState):
    """``schema_name`` is that of the copies; ``result`` is what became of it."""

    schema_name: str = ""
    result: dict[str, Any] = Field(default_factory=dict)


PAST = Kind("database.past", PastParams, PastState)
RESTORE_TABLES = Kind("database.restore_tables", TablesParams, TablesState)
PastRun = Run[PastParams | TablesParams, PastState]
TablesRun = Run[TablesParams, TablesState]


@dataclass(frozen=True, slots=True)
class NewTables:
    """A request to bring tables back: copies in a new schema, or their lost rows."""

    to: dt.datetime
    tables: Sequence[tuple[str, str]]
    into: Into


@dataclass(frozen=True, slots=True)
class Comparison:
    """A table then and now, which was compared in a past session. See ``ThenAndNow.compare``.

    ``blocked`` is why rows of it cannot be brought back, None if they can. ``moved`` are deleted
    rows of which an added one has the values, with another key.
    """

    id: uuid.UUID
    schema: str
    table: str
    key: Sequence[str]
    columns: Sequence[Mapping[str, str]]
    only_then: Sequence[str]
    only_now: Sequence[str]
    counts: Mapping[str, int]
    truncated: bool
    moved: int
    blocked: str | None
