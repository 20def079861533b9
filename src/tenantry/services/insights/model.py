"""What is reported of a database's sessions, locks, tables and statements."""

import datetime as dt
from dataclasses import dataclass
from typing import Literal

from tenantry.pg.sessions import LockWait, OpenSession
from tenantry.pg.statement_statistics import StatementStatistics
from tenantry.pg.table_statistics import IndexStatistics, TableStatistics

Port = Literal["direct", "pooled"]


@dataclass(frozen=True, slots=True)
class Session:
    """A session of a tenant.

    ``client_address`` of a pooled one is that of the client that has the server connection at
    present; None if no client has, or if the pooler does not answer. ``blocked_by`` are the
    tenant's own sessions; ``blocked_by_others`` is whether any other blocks it, too: autovacuum, an
    operation of the platform, or, on a catalog that all databases share, another tenant's.
    """

    activity: OpenSession
    port: Port
    client_address: str | None
    query: str
    blocked_by: tuple[int, ...]
    blocked_by_others: bool


@dataclass(frozen=True, slots=True)
class Waiting:
    """A session in the blocking tree.

    ``depth`` is 0 for one that waits for none of the tenant's; ``blocks`` is how many wait for it,
    directly or not. ``relation`` is the name of the relation that it waits for, if known.
    """

    session: Session
    depth: int
    blocks: int
    wait: LockWait | None
    relation: str | None = None


@dataclass(frozen=True, slots=True)
class TableUse:
    """A table with its indexes, the largest first.

    ``bloat_bytes`` estimates what rewriting it would return, None if unknown. Scans and hits are
    counted since ``counted_since``.
    """

    table: TableStatistics
    indexes: tuple[IndexStatistics, ...]
    bloat_bytes: int | None
    counted_since: dt.datetime


@dataclass(frozen=True, slots=True)
class Period:
    """What a statement did in an hour, as far as the hour was measured.

    ``incomplete`` is whether the server evicted entries in it, which may have been this one.
    """

    hour: dt.datetime
    calls: int
    calls_per_second: float
    mean_ms: float
    incomplete: bool


@dataclass(frozen=True, slots=True)
class Comparison:
    """A statement's present hour, and the same one an hour, a day and a week before.

    None: it was not executed in that hour, or not among the first, or nothing was measured.
    """

    now: Period | None = None
    hour_before: Period | None = None
    day_before: Period | None = None
    week_before: Period | None = None


@dataclass(frozen=True, slots=True)
class Statement:
    """A statement of a tenant, and how it compares with earlier."""

    statistics: StatementStatistics
    comparison: Comparison


@dataclass(frozen=True, slots=True)
class Statements:
    """A tenant's statements, counted since ``counted_since``.

    ``incomplete_since`` is from when on the server has evicted entries, which may have been of this
    tenant; None if it has not. ``recorded`` is False while those of new sessions are not recorded,
    as their texts took too much of the disk.
    """

    statements: list[Statement]
    counted_since: dt.datetime
    incomplete_since: dt.datetime | None
    recorded: bool


@dataclass(frozen=True, slots=True)
class PlanNode:
    """A node of a query plan, below the one before it that has a smaller ``depth``.

    ``self_cost`` and ``self_ms`` are without the nodes below it; ``share`` is its part of the whole
    plan's time, or of its cost if it was not executed. ``row_error`` is by which factor the planner
    was wrong about the rows.
    """

    depth: int
    node_type: str
    relation: str | None
    index: str | None
    self_cost: float
    self_ms: float | None
    planned_rows: float
    actual_rows: float | None
    loops: float | None
    row_error: float | None
    share: float
    expensive: bool


@dataclass(frozen=True, slots=True)
class Explained:
    """A plan as PostgreSQL writes it in JSON, and its nodes, each before those below it."""

    plan: object
    nodes: list[PlanNode]
    total_cost: float
    planning_ms: float | None
    execution_ms: float | None
