"""What advice is computed from, and a finding."""

import datetime as dt
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from psycopg import sql

from tenantry.pg.advice_catalog import Catalog, CatalogIndex, Column, ForeignKey, Relation
from tenantry.pg.catalog import DatabaseUse
from tenantry.pg.role_settings import OwnSetting
from tenantry.pg.sessions import OpenSession
from tenantry.pg.statement_statistics import StatementStatistics
from tenantry.pg.vacuuming import Table

Severity = Literal["info", "warning", "error"]
Code = Literal[
    "unindexed_foreign_key",
    "missing_index",
    "unused_index",
    "duplicate_index",
    "invalid_index",
    "no_primary_key",
    "sequence_exhaustion",
    "transaction_id_age",
    "long_transaction",
    "idle_in_transaction",
    "stale_statistics",
    "bloat",
    "settings",
    "policy_per_row",
    "row_security_disabled",
    "pool_too_small",
    "cache_too_small",
]
MANY_ROWS = 10_000  # a table with fewer is small: what it lacks costs little
MOST_TEXT = 100_000  # characters of statements, and of policies: to parse them takes seconds


@dataclass(frozen=True, slots=True)
class MissingIndex:
    """An index that would help: ``table`` is ``schema.table``."""

    table: str
    columns: Sequence[str]


@dataclass(frozen=True, slots=True)
class Finding:
    """Something to do about ``object``, for the reason in ``detail``.

    ``statement`` is SQL that the database's owner role can run as it is, or a command of the
    command line where no SQL helps; None if nobody can say which. ``risk`` is what it costs.
    ``index`` is what the statement creates, if that can be done while the table is used.
    """

    code: Code
    severity: Severity
    object: str
    detail: str
    statement: str | None
    risk: str
    index: MissingIndex | None = None


@dataclass(frozen=True, slots=True)
class Pool:
    """A database's pools in the pooler: clients that wait, the longest of them for how long."""

    waiting: int
    seconds: float
    connections: int


@dataclass(frozen=True, slots=True)
class Evidence:
    """All that is known of a database. Counters began at ``counted_since``.

    ``statements`` are those of the database itself; empty if they are not counted. ``pool`` is None
    if the pooler does not answer. ``exposed`` are the schemas that its data API serves.
    """

    name: str
    pool_size: int
    catalog: Catalog
    sizes: Sequence[Table]
    sessions: Sequence[OpenSession]
    statements: Sequence[StatementStatistics]
    settings: Sequence[OwnSetting]
    pool: Pool | None
    use: DatabaseUse | None
    shared_buffers: int
    counted_since: dt.datetime
    now: dt.datetime
    exposed: Collection[str] = ()


class Schema:
    """The catalog, by table. ``foreign_keys`` are by each of their columns."""

    def __init__(self, catalog: Catalog) -> None:
        self.relations: Mapping[int, Relation] = {each.oid: each for each in catalog.relations}
        self.columns: dict[int, dict[int, Column]] = {}
        for column in catalog.columns:
            self.columns.setdefault(column.table, {})[column.number] = column
        self.indexes: dict[int, list[CatalogIndex]] = {}
        for index in catalog.indexes:
            self.indexes.setdefault(index.table, []).append(index)
        self.by_name: dict[str, list[Relation]] = {}
        for relation in catalog.relations:
            self.by_name.setdefault(relation.name, []).append(relation)
        self.foreign_keys: dict[tuple[int, int], list[ForeignKey]] = {}
        for key in catalog.foreign_keys:
            for number in key.columns:
                self.foreign_keys.setdefault((key.table, number), []).append(key)

    def names(self, table: int, numbers: Sequence[int]) -> list[str]:
        """Return the names of a table's columns."""
        known = self.columns.get(table, {})
        return [known[each].name for each in numbers if each in known]


def quoted(*parts: str) -> str:
    """Return an identifier as SQL has it, with its schema."""
    return sql.Identifier(*parts).as_string()


def create_index(relation: Relation, columns: Sequence[str]) -> str:
    """Return the statement that creates an index. A partitioned table's cannot be concurrent."""
    how = "" if relation.kind == "p" else "CONCURRENTLY "
    table = quoted(relation.schema, relation.name)
    return f"CREATE INDEX {how}ON {table} ({', '.join(map(quoted, columns))});"


def missing_index(relation: Relation, columns: Sequence[str]) -> MissingIndex | None:
    """Return the index that ``create_index`` creates; None for a partitioned table's."""
    return None if relation.kind == "p" else MissingIndex(relation.title, columns)


def creating_risk(relation: Relation) -> str:
    """Return what creating an index of a table costs."""
    if relation.kind == "p":
        return "Writes to the table wait until the indexes of all its partitions are built."
    return (
        "Takes disk space, and time at each write. It waits for open transactions; if it is"
        " interrupted, it leaves an invalid index. It cannot run in a transaction block."
    )
