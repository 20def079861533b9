"""Advice on tables: keys, sequences, statistics, bloat, age, autovacuum. Pure."""

import datetime as dt
from collections.abc import Iterator

from tenantry.base.sizes import readable
from tenantry.pg.advice_catalog import OwnedSequence, Relation
from tenantry.services.advice.model import MANY_ROWS, Evidence, Finding, Schema, quoted

_MIB = 2**20
_STALE = 0.3  # of the rows: autovacuum analyzes a table at a tenth
_VACUUMED_BY_THEN = dt.timedelta(minutes=10)
_BLOATED = 0.4
_BLOATED_BYTES = _MIB
_MUCH_BLOATED_BYTES = 100 * _MIB
_USED, _NEARLY_USED = 0.7, 0.9
_OLD = 1.25  # of autovacuum_freeze_max_age: where autovacuum should have been by then
_VERY_OLD = 1_000_000_000
_INTEGERS = {"smallint": 2**15 - 1, "integer": 2**31 - 1}
_REWRITES = (
    "Locks the table for reads and writes while it is rewritten, and takes disk space for a copy."
)
_WIDENS = (
    _REWRITES + " Columns that reference it have to be changed, too; views that have it, dropped"
    " before and created again."
)


def no_primary_keys(schema: Schema, evidence: Evidence) -> Iterator[Finding]:
    for relation in evidence.catalog.relations:
        indexes = schema.indexes.get(relation.oid, [])
        if (
            relation.kind == "m"
            or relation.is_partition
            or any(each.is_primary_key for each in indexes)
        ):
            continue
        table = quoted(relation.schema, relation.name)
        columns = schema.columns.get(relation.oid, {})
        key = next(
            (
                each
                for each in indexes
                if each.is_unique
                and each.is_valid
                and each.is_in_default_order
                and not each.is_of_constraint
                and not each.is_partitioned
                and each.predicate is None
                and all(n in columns and columns[n].is_not_null for n in each.columns)
            ),
            None,
        )
        statement: str | None
        if key is not None:
            name = quoted(key.name)
            statement = f"ALTER TABLE {table} ADD PRIMARY KEY USING INDEX {name};"
            risk = "Locks the table for a moment; the index gets the constraint's name."
        elif relation.kind == "p":
            statement = None
            risk = "A partitioned table's key has to have the columns by which it is partitioned."
        else:
            names = {each.name for each in columns.values()}
            free = next(each for each in _free_names() if each not in names)
            statement = (
                f"ALTER TABLE {table} ADD COLUMN {quoted(free)}"
                " bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY;"
            )
            risk = _REWRITES + " If columns of it are unique already, make them the key instead."
        rows = relation.rows or 0
        yield Finding(
            "no_primary_key",
            "warning" if rows >= MANY_ROWS else "info",
            relation.title,
            f"Nothing distinguishes its {rows:,} rows: one of two equal ones cannot be changed"
            " alone, and logical replication cannot update or delete any.",
            statement,
            risk,
        )


def _free_names() -> Iterator[str]:
    yield "id"
    number = 0
    while True:
        number += 1
        yield f"row_id{'' if number == 1 else number}"


def sequence_exhaustion(schema: Schema, evidence: Evidence) -> Iterator[Finding]:
    for sequence in evidence.catalog.sequences:
        most = sequence.most
        if sequence.column is not None:
            most = min(most, _INTEGERS.get(sequence.column[3], most))
        if most > 0 and sequence.last_value / most >= _USED:
            yield _exhausted_sequence(sequence, most)
    owned = {each.column[:3] for each in evidence.catalog.sequences if each.column is not None}
    for index in evidence.catalog.indexes:
        if not index.is_primary_key or len(index.columns) != 1:
            continue
        relation = schema.relations[index.table]
        column = schema.columns.get(index.table, {}).get(index.columns[0])
        most = _INTEGERS.get(column.type_name, 0) if column is not None else 0
        if column is None or column.highest is None or not most or relation.is_partition:
            continue
        named = (relation.schema, relation.name, column.name)
        if named not in owned and column.highest / most >= _USED:
            yield Finding(
                "sequence_exhaustion",
                "error" if column.highest / most >= _NEARLY_USED else "warning",
                ".".join(named),
                f"The highest value that ANALYZE has seen is {column.highest:,}, and"
                f" {column.type_name} ends at {most:,}: {column.highest / most:.0%} are used.",
                _widen(*named),
                _WIDENS,
            )


def _exhausted_sequence(sequence: OwnedSequence, most: int) -> Finding:
    used = sequence.last_value / most
    name = quoted(sequence.schema, sequence.name)
    statement = (
        f"ALTER SEQUENCE {name} NO MAXVALUE;"
        if sequence.type_name == "bigint"
        # A maximum of its own would stay.
        else f"ALTER SEQUENCE {name} AS bigint NO MAXVALUE;"
    )
    risk = "None: later values are larger."
    if sequence.column is not None and sequence.column[3] in _INTEGERS:
        # A sequence of the bigger type first: an identity column's follows its column.
        statement = f"{statement} {_widen(*sequence.column[:3])}"
        if sequence.type_name == "bigint" and sequence.most == 2**63 - 1:
            statement = _widen(*sequence.column[:3])
        risk = _WIDENS
    return Finding(
        "sequence_exhaustion",
        "error" if used >= _NEARLY_USED else "warning",
        sequence.title,
        f"Its last value is {sequence.last_value:,} of at most {most:,}: {used:.0%} are used."
        " After the last one, nothing can be inserted any more.",
        statement,
        risk,
    )


def _widen(schema: str, table: str, column: str) -> str:
    return f"ALTER TABLE {quoted(schema, table)} ALTER COLUMN {quoted(column)} TYPE bigint;"


def transaction_id_age(_: Schema, evidence: Evidence) -> Iterator[Finding]:
    for relation in evidence.catalog.relations:
        if relation.age < _OLD * evidence.catalog.freeze_age:
            continue
        yield Finding(
            "transaction_id_age",
            "error" if relation.age >= _VERY_OLD else "warning",
            relation.title,
            f"Its oldest transaction ID is {relation.age:,} transactions old. Autovacuum freezes a"
            f" table at {evidence.catalog.freeze_age:,}, and did not get there: a lock or an old"
            " transaction may be in its way. At 2,147,483,648 nobody could write any more.",
            f"VACUUM (FREEZE) {quoted(relation.schema, relation.name)};",
            "Reads the table, and writes what it freezes. The table can be used meanwhile.",
        )


def stale_statistics(_: Schema, evidence: Evidence) -> Iterator[Finding]:
    for relation in evidence.catalog.relations:
        rows, modified = relation.rows or 0, relation.modified_since_analyze
        if relation.kind == "p" or max(rows, modified) < MANY_ROWS:
            continue
        if relation.analyzed_at is None:
            detail = f"Its {rows:,} rows were never analyzed: the planner guesses what they are."
        elif modified >= max(_STALE * rows, 1.0) and (
            # Autovacuum comes by itself. And changes right before ANALYZE are counted after it.
            relation.autovacuum_is_off or evidence.now - relation.analyzed_at >= _VACUUMED_BY_THEN
        ):
            detail = (
                f"{modified:,} rows were changed since its {rows:,} rows were last analyzed:"
                " the planner's estimates are of what was there before."
            )
        else:
            continue
        yield Finding(
            "stale_statistics",
            "warning",
            relation.title,
            detail,
            f"ANALYZE {quoted(relation.schema, relation.name)};",
            "Reads a sample of the table. The table can be used meanwhile.",
        )


def bloat(_: Schema, evidence: Evidence) -> Iterator[Finding]:
    for table in evidence.sizes:
        returned = table.returned_bytes
        if returned is None or returned < max(_BLOATED_BYTES, _BLOATED * table.size_bytes):
            continue
        yield Finding(
            "bloat",
            "warning" if returned >= _MUCH_BLOATED_BYTES else "info",
            table.title,
            f"An estimate: a rewrite would give back {readable(returned)} of its"
            f" {readable(table.size_bytes)}, which deleted rows have taken. New rows can use it.",
            f"VACUUM (FULL, ANALYZE) {quoted(table.schema, table.name)};",
            _REWRITES + " As an operation with room for the copy: tenantry db vacuum --full."
            " It cannot run in a transaction block.",
        )


def autovacuum_settings(_: Schema, evidence: Evidence) -> Iterator[Finding]:
    """Tables that autovacuum leaves alone, unless they are small."""
    for relation in evidence.catalog.relations:
        if relation.autovacuum_is_off and (relation.rows or 0) >= MANY_ROWS:
            yield _autovacuum_off(relation)


def _autovacuum_off(relation: Relation) -> Finding:
    return Finding(
        "settings",
        "warning",
        f"{relation.title}.autovacuum_enabled",
        f"Autovacuum is off for its {relation.rows or 0:,} rows: the space of deleted rows is not"
        " used again, and the planner's statistics become stale.",
        f"ALTER TABLE {quoted(relation.schema, relation.name)} RESET (autovacuum_enabled);",
        "Autovacuum starts to work on the table. The table can be used meanwhile.",
    )
