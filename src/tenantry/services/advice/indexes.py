"""Advice on indexes that are missing, unused, equal to others, or invalid. Pure."""

import datetime as dt
from collections.abc import Iterator, Sequence
from itertools import islice, takewhile

from tenantry.base.sizes import readable
from tenantry.pg.advice_catalog import CatalogIndex, Column, ForeignKey, Relation
from tenantry.pg.redaction import without_constants
from tenantry.pg.reindexing import LEFTOVER
from tenantry.pg.statement_statistics import StatementStatistics
from tenantry.services.advice.conditions import Scan, scans
from tenantry.services.advice.model import (
    MANY_ROWS,
    MOST_TEXT,
    Evidence,
    Finding,
    Schema,
    create_index,
    creating_risk,
    missing_index,
    quoted,
)

_MIB = 2**20
_BLOCK = 8192
_OLD_ENOUGH = dt.timedelta(days=7)
_WORTH_BYTES = _MIB  # an index that is smaller costs little
_LEAST_CALLS = 5
_WHOLE = 0.5  # of a table's blocks: a call that reads so many reads the table from end to end
_FEW = 0.05  # of a table's rows: an index is of use for fewer
_MOST_KEY = 3  # columns that are compared for equality
_MANY_LEFT = 100  # rows that are equal in the columns before: a further one helps
_UNKNOWN = 100.0  # values of a column that was never analyzed, where a call returns few rows
_QUERY_LENGTH = 200
# Compared with each index or foreign key: a tenant may have thousands that begin alike, and each
# comparison takes microseconds.
_MOST_ALIKE = 100
_MOST_KEYS = 5000  # foreign keys that are looked at
_NO_BTREE = {"json", "xml", "point", "box", "circle", "line", "lseg", "path", "polygon"}


def unindexed_foreign_keys(schema: Schema, evidence: Evidence) -> Iterator[Finding]:
    by_first: dict[tuple[int, int], list[CatalogIndex]] = {}
    for index in evidence.catalog.indexes:
        by_first.setdefault((index.table, index.columns[0]), []).append(index)
    for key in evidence.catalog.foreign_keys[:_MOST_KEYS]:
        relation = schema.relations[key.table]
        names = schema.names(key.table, key.columns)
        if any(
            _serves(schema, each, key)
            for number in key.columns
            for each in islice(by_first.get((key.table, number), ()), _MOST_ALIKE)
        ):
            continue
        rows = relation.rows or 0
        yield Finding(
            "unindexed_foreign_key",
            "warning" if rows >= MANY_ROWS else "info",
            f"{relation.title}.{key.name}",
            f"No index begins with {', '.join(names)}: each row that is deleted from"
            f" {key.references}, or whose key is changed, reads all {rows:,} rows of"
            f" {relation.title} ({readable(relation.heap_bytes)}).",
            create_index(relation, names),
            creating_risk(relation),
            missing_index(relation, names),
        )


def _serves(schema: Schema, index: CatalogIndex, key: ForeignKey) -> bool:
    """Whether the server can look a foreign key's columns up in an index.

    It begins with all of them, or with some that refer to a unique key by themselves.
    """
    if index.table != key.table or not index.is_valid:
        return False
    if not index.is_btree and len(key.columns) > 1:
        return False
    # The look-up is for values, so that it implies that they are not null.
    names = schema.names(key.table, key.columns)
    if index.predicate is not None and index.predicate not in {
        f"({form} IS NOT NULL)" for name in names for form in (name, quoted(name))
    }:
        return False
    referenced = dict(zip(key.columns, key.referenced_columns, strict=True))
    leading = {referenced[each] for each in takewhile(referenced.__contains__, index.columns)}
    return leading == set(key.referenced_columns) or any(
        each.is_unique and each.is_valid and each.predicate is None and set(each.columns) <= leading
        for each in schema.indexes.get(key.referenced_table, ())
    )


def _serves_any(schema: Schema, index: CatalogIndex) -> bool:
    keys = schema.foreign_keys.get((index.table, index.columns[0]), ())
    return any(_serves(schema, index, key) for key in islice(keys, _MOST_ALIKE))


def unused_indexes(schema: Schema, evidence: Evidence) -> Iterator[Finding]:
    """An index without a scan, where the counters are old enough to know.

    Not one that enforces something, or that a foreign key is looked up in: without that, it would
    be an unindexed foreign key.
    """
    age = evidence.now - evidence.counted_since
    if age < _OLD_ENOUGH:
        return
    for index in evidence.catalog.indexes:
        if (
            index.scans
            or index.size_bytes < _WORTH_BYTES
            or index.is_unique
            or index.is_of_constraint
            or index.is_replica_identity
            or index.is_partitioned
            or index.is_part
            or not index.is_valid
            or _serves_any(schema, index)
        ):
            continue
        relation = schema.relations[index.table]
        yield Finding(
            "unused_index",
            "warning",
            index.title,
            f"It takes {readable(index.size_bytes)}, and was not used once in the {age.days} days"
            f" since the counters began, while {relation.written_rows:,} rows of"
            f" {relation.title} were written.",
            f"DROP INDEX CONCURRENTLY {quoted(index.schema, index.name)};",
            "What runs less often than the counters are old, such as a yearly report, may need"
            " it, and so may what a newer index was created for. It cannot run in a transaction"
            " block.",
        )


def invalid_indexes(schema: Schema, evidence: Evidence) -> Iterator[Finding]:
    for index in evidence.catalog.indexes:
        if index.is_valid or index.is_partitioned:
            continue
        leftover = LEFTOVER.search(index.name) is not None
        name = quoted(index.schema, index.name)
        yield Finding(
            "invalid_index",
            "warning",
            index.title,
            f"It is updated at each write of {schema.relations[index.table].title}, and no query"
            f" can use it: building it was interrupted, or still goes on. It takes"
            f" {readable(index.size_bytes)}.",
            f"{'DROP INDEX' if leftover else 'REINDEX INDEX'} CONCURRENTLY {name};",
            "Waits for open transactions. It cannot run in a transaction block. See first that"
            " nobody is building it (pg_stat_progress_create_index).",
        )


def duplicate_indexes(schema: Schema, _: Evidence) -> Iterator[Finding]:
    """An index that another one of the table can do all the work of."""
    for table, indexes in schema.indexes.items():
        dropped: set[int] = set()
        beginning: dict[tuple[object, ...], list[CatalogIndex]] = {}
        for each in indexes:
            for count in range(1, len(each.key) + 1):
                beginning.setdefault(_beginning(each, count), []).append(each)
        shortest_first = sorted(indexes, key=lambda each: (len(each.key), each.scans, each.name))
        for index in shortest_first:
            alike = beginning[_beginning(index, len(index.key))]
            other = next(
                (
                    each
                    for each in islice(alike, _MOST_ALIKE)
                    if each.oid not in dropped and _covers(each, index)
                ),
                None,
            )
            if other is None:
                continue
            dropped.add(index.oid)
            same = len(other.key) == len(index.key)
            if not same and index.size_bytes < _WORTH_BYTES:
                continue
            yield Finding(
                "duplicate_index",
                "warning" if same else "info",
                index.title,
                f"{other.title} of {schema.relations[table].title} "
                + ("has the same columns" if same else "begins with its columns")
                + f", and serves the same queries. It takes {readable(index.size_bytes)}, and time"
                " at each write.",
                f"DROP INDEX CONCURRENTLY {quoted(index.schema, index.name)};",
                ("None, if no program names it." if same else "Scans of the longer one read more.")
                + " It cannot run in a transaction block.",
            )


def _beginning(index: CatalogIndex, count: int) -> tuple[object, ...]:
    return index.shape, *index.columns[:count], *index.key[:count]


def _covers(other: CatalogIndex, index: CatalogIndex) -> bool:
    """Whether ``other`` does all that an index does, on which nothing depends."""
    if (
        other.oid == index.oid
        or not (other.is_valid and index.is_valid)
        or index.is_of_constraint
        or index.is_referenced
        or index.is_replica_identity
        or index.is_partitioned
        or index.is_part
        or index.shape != other.shape
    ):
        return False
    count = len(index.key)
    if other.columns[:count] != index.columns or other.key[:count] != index.key:
        return False
    if not set(index.included) <= {*other.columns, *other.included}:
        return False
    if len(other.key) > count:
        return index.is_btree and not index.is_unique
    if index.is_unique:
        return other.is_unique
    return True


# ── missing ones ─────────────────────────────────────────────────────────────


def missing_indexes(schema: Schema, evidence: Evidence) -> Iterator[Finding]:
    """For statements that read a whole table, for a few of its rows, by columns without an index.

    That is measured, not estimated: by the blocks of each call.
    """
    found: set[tuple[int, tuple[str, ...]]] = set()
    left = MOST_TEXT
    for statement in evidence.statements:
        if statement.calls < _LEAST_CALLS or not any(
            _reads_all(statement, each) for each in evidence.catalog.relations
        ):
            continue
        left -= len(statement.query)
        if left < 0:
            break
        for scan in scans(statement.query):
            relation = _resolved(schema, scan)
            if relation is None or not _reads_all(statement, relation):
                continue
            columns = _key(schema, relation, scan, statement)
            if not columns or (relation.oid, columns) in found:
                continue
            found.add((relation.oid, columns))
            yield _missing(statement, relation, columns)


def _missing(
    statement: StatementStatistics, relation: Relation, columns: tuple[str, ...]
) -> Finding:
    text = " ".join(without_constants(statement.query).split())
    blocks = (statement.blocks_hit + statement.blocks_read) // statement.calls
    return Finding(
        "missing_index",
        "warning",
        f"{relation.title} ({', '.join(columns)})",
        f"No index begins with what this statement looks for: each of its {statement.calls:,} calls"
        f" read {blocks:,} blocks, and the table has {relation.heap_bytes // _BLOCK:,}"
        f" ({relation.rows or 0:,} rows); {statement.mean_ms:,.1f} ms each,"
        f" {statement.share:.0%} of the database's time: {text[:_QUERY_LENGTH]}",
        create_index(relation, columns),
        creating_risk(relation) + " Explain the statement before and after.",
        missing_index(relation, columns),
    )


def _resolved(schema: Schema, scan: Scan) -> Relation | None:
    """Return the table that a statement names; None if that is not certain."""
    named = schema.by_name.get(scan.table, [])
    if scan.schema is not None:
        named = [each for each in named if each.schema == scan.schema]
    return named[0] if len(named) == 1 else None


def _reads_all(statement: StatementStatistics, relation: Relation) -> bool:
    if relation.kind == "p" or (relation.rows or 0) < MANY_ROWS:
        return False
    blocks = (statement.blocks_hit + statement.blocks_read) / statement.calls
    return blocks >= _WHOLE * relation.heap_bytes / _BLOCK > 0


def _key(
    schema: Schema, relation: Relation, scan: Scan, statement: StatementStatistics
) -> tuple[str, ...]:
    """Return the columns of an index that would help; none if it would not."""
    by_name = {each.name: each for each in schema.columns.get(relation.oid, {}).values()}
    leading = {
        each.columns[0]
        for each in schema.indexes.get(relation.oid, [])
        if each.is_valid and each.is_btree and each.predicate is None
    }
    equal = [by_name[each] for each in scan.equal if each in by_name]
    ranges = [by_name[each] for each in scan.ranges if each in by_name]
    if any(each.number in leading for each in (*equal, *ranges)):
        return ()  # the planner has one, and did not use it
    equal, ranges = _usable(equal), _usable(ranges)
    rows = float(relation.rows or 0)
    returned = statement.rows / statement.calls
    equal.sort(key=lambda each: _distinct(each, rows) or 0, reverse=True)
    part, key = 1.0, list[str]()
    for column in equal[:_MOST_KEY]:
        if part * rows <= 1:
            break
        key.append(column.name)
        part /= max(1.0, _distinct(column, rows) or (1.0 if returned > _FEW * rows else _UNKNOWN))
    if part <= _FEW:
        return (*key, *(each.name for each in ranges[:1] if part * rows > _MANY_LEFT))
    if ranges and 0 < returned <= _FEW * rows:
        return (*key, ranges[0].name)
    return ()


def _usable(columns: Sequence[Column]) -> list[Column]:
    return [each for each in columns if each.type_name not in _NO_BTREE]


def _distinct(column: Column, rows: float) -> float | None:
    """Return the number of a column's values; None if unknown."""
    if column.distinct is None:
        return None
    return column.distinct if column.distinct >= 0 else -column.distinct * rows
