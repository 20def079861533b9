"""What the catalog of one database, and the server's counters, have for advice about it.

For a session inside it that resolves names in pg_catalog: no table is read, and nothing of the
tenant's is called. Only what the session's role owns is returned, and nothing of extensions.
"""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import LiteralString

from psycopg import AsyncConnection, sql
from psycopg.rows import TupleRow

from tenantry.pg.api_roles import ANONYMOUS, AUTHENTICATED
from tenantry.pg.connections import fetch_bounded, fetch_value

Connection = AsyncConnection[TupleRow]

MOST_TABLES = 1000


@dataclass(frozen=True, slots=True)
class Relation:
    """A table, partitioned table (``kind`` p) or materialized view (m); sizes in bytes.

    ``rows`` is an estimate, None before the server has any. ``age`` is that of its oldest
    transaction ID, 0 for one without rows of its own. ``written_rows`` are counted. ``open_for``
    are the kinds of statements that requests of a data API may send for it without being anybody's
    (SELECT, INSERT, UPDATE, DELETE).
    """

    oid: int
    schema: str
    name: str
    kind: str
    is_partition: bool
    heap_bytes: int
    rows: int | None
    modified_since_analyze: int
    analyzed_at: dt.datetime | None
    written_rows: int
    age: int
    autovacuum_is_off: bool
    has_row_security: bool
    open_for: list[str]

    @property
    def title(self) -> str:
        return f"{self.schema}.{self.name}"


@dataclass(frozen=True, slots=True)
class Column:
    """A column. ``distinct`` is as in pg_stats; ``highest`` is known of integer columns."""

    table: int
    number: int
    name: str
    type_name: str
    is_not_null: bool
    distinct: float | None
    highest: int | None


@dataclass(frozen=True, slots=True)
class CatalogIndex:
    """An index. ``columns`` are the numbers of its key's, 0 for an expression.

    ``shape`` is equal for indexes that are the same but for their columns and uniqueness: access
    method and predicate; ``key`` has each key column's operator class, collation, order and, of an
    expression, its text. A foreign key depends on one that ``is_referenced``. One that
    ``is_in_default_order`` has what a primary key's must have: default operator classes,
    collations and order, and no check that is deferred.
    """

    oid: int
    table: int
    schema: str
    name: str
    columns: list[int]
    included: list[int]
    key: list[str]
    shape: str
    predicate: str | None
    is_btree: bool
    is_unique: bool
    is_primary_key: bool
    is_of_constraint: bool
    is_referenced: bool
    is_in_default_order: bool
    is_replica_identity: bool
    is_partitioned: bool
    is_part: bool
    is_valid: bool
    size_bytes: int
    scans: int

    @property
    def title(self) -> str:
        return f"{self.schema}.{self.name}"


@dataclass(frozen=True, slots=True)
class ForeignKey:
    """A foreign key of ``table``: the numbers of its columns, and of those that it references."""

    table: int
    name: str
    columns: list[int]
    references: str
    referenced_table: int
    referenced_columns: list[int]


@dataclass(frozen=True, slots=True)
class OwnedSequence:
    """A sequence, and the integer column that owns it, if any, with its type."""

    schema: str
    name: str
    type_name: str
    last_value: int
    most: int
    increment: int
    column: tuple[str, str, str, str] | None  # schema, table, column, type

    @property
    def title(self) -> str:
        return f"{self.schema}.{self.name}"


@dataclass(frozen=True, slots=True)
class Policy:
    """A row-level-security policy: its expressions, and the functions in them that are not
    PostgreSQL's and not immutable (``schema.name``)."""

    schema: str
    table: str
    name: str
    using: str | None
    check: str | None
    functions: list[str]


@dataclass(frozen=True, slots=True)
class Catalog:
    """All of it."""

    relations: Sequence[Relation]
    columns: Sequence[Column]
    indexes: Sequence[CatalogIndex]
    foreign_keys: Sequence[ForeignKey]
    sequences: Sequence[OwnedSequence]
    policies: Sequence[Policy]
    freeze_age: int


_OWN = sql.SQL("""
    n.nspname <> 'information_schema' AND NOT starts_with(n.nspname, 'pg_')
    AND c.relpersistence <> 't' AND pg_has_role(c.relowner, 'USAGE')
    AND NOT EXISTS (SELECT FROM pg_depend e
        WHERE e.classid = 'pg_class'::regclass AND e.objid = c.oid AND e.deptype = 'e')
""")

_RELATIONS = sql.SQL("""
    SELECT c.oid::int8 AS oid, n.nspname::text AS schema_name, c.relname::text AS name,
        c.relkind::text AS kind, c.relispartition AS part,
        coalesce(pg_relation_size(c.oid), 0) AS heap,
        CASE WHEN pg_stat_get_live_tuples(c.oid) + pg_stat_get_dead_tuples(c.oid) > 0
            THEN pg_stat_get_live_tuples(c.oid)
            WHEN c.reltuples >= 0 THEN c.reltuples::int8 END AS alive,
        pg_stat_get_mod_since_analyze(c.oid) AS modified,
        greatest(pg_stat_get_last_analyze_time(c.oid),
            pg_stat_get_last_autoanalyze_time(c.oid)) AS analyzed,
        pg_stat_get_tuples_inserted(c.oid) + pg_stat_get_tuples_updated(c.oid)
            + pg_stat_get_tuples_deleted(c.oid) AS written,
        CASE WHEN c.relfrozenxid = '0' THEN 0 ELSE age(c.relfrozenxid) END AS xids,
        EXISTS (SELECT FROM pg_options_to_table(c.reloptions)
            WHERE option_name = 'autovacuum_enabled'
              AND lower(option_value) IN ('off', 'false', 'no', '0', 'n', 'f')) AS vacuum_off,
        c.relrowsecurity AS row_security,
        ARRAY(SELECT DISTINCT a.privilege_type FROM aclexplode(c.relacl) a
            WHERE (a.grantee = 0 OR pg_get_userbyid(a.grantee) IN ({shared}))
              AND a.privilege_type IN ('SELECT', 'INSERT', 'UPDATE', 'DELETE')
            ORDER BY 1) AS open_for
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'm', 'p') AND {own}
    ORDER BY heap DESC, n.nspname, c.relname LIMIT {most}
""").format(
    own=_OWN,
    most=sql.Literal(MOST_TABLES),
    shared=sql.SQL(", ").join(map(sql.Literal, (ANONYMOUS, AUTHENTICATED))),
)

_COLUMNS = """
    SELECT a.attrelid::int8 AS of_table, a.attnum::int AS number, a.attname::text AS name,
        format_type(a.atttypid, NULL) AS type, a.attnotnull AS required,
        s.n_distinct::float8 AS distinct_values,
        CASE WHEN a.atttypid IN ('int2'::regtype, 'int4'::regtype) THEN
            (s.histogram_bounds::text::int8[])[array_upper(s.histogram_bounds, 1)] END AS highest
    FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
        JOIN pg_namespace n ON n.oid = c.relnamespace
        LEFT JOIN pg_stats s ON s.schemaname = n.nspname AND s.tablename = c.relname
            AND s.attname = a.attname AND s.inherited = (c.relkind = 'p')
    WHERE a.attrelid = ANY (%s::oid[]) AND a.attnum > 0 AND NOT a.attisdropped
    ORDER BY 1, 2
"""

_INDEXES = """
    SELECT i.indexrelid::int8 AS oid, i.indrelid::int8 AS of_table, n.nspname::text AS schema_name,
        c.relname::text AS name,
        (string_to_array(i.indkey::text, ' ')::int[])[:i.indnkeyatts] AS columns,
        (string_to_array(i.indkey::text, ' ')::int[])[i.indnkeyatts + 1:] AS included,
        ARRAY(SELECT concat_ws(' ', i.indclass[k - 1], i.indcollation[k - 1], i.indoption[k - 1],
                CASE WHEN i.indkey[k - 1] = 0 THEN pg_get_indexdef(i.indexrelid, k, false) END)
            FROM generate_series(1, i.indnkeyatts) k ORDER BY k) AS key,
        concat_ws(' ', c.relam, pg_get_expr(i.indpred, i.indrelid),
            i.indnullsnotdistinct, i.indimmediate) AS shape,
        pg_get_expr(i.indpred, i.indrelid) AS predicate,
        (SELECT amname = 'btree' FROM pg_am WHERE oid = c.relam) AS btree,
        i.indisunique, i.indisprimary,
        EXISTS (SELECT FROM pg_constraint k WHERE k.conindid = i.indexrelid
            AND k.contype IN ('p', 'u', 'x')) AS of_constraint,
        EXISTS (SELECT FROM pg_constraint k WHERE k.conindid = i.indexrelid
            AND k.contype = 'f') AS referenced,
        i.indimmediate AND NOT i.indnullsnotdistinct AND NOT EXISTS (
            SELECT FROM generate_series(1, i.indnkeyatts) k
                JOIN pg_opclass o ON o.oid = i.indclass[k - 1]
                LEFT JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[k - 1]
            WHERE i.indoption[k - 1] <> 0 OR NOT o.opcdefault
               OR i.indcollation[k - 1] <> a.attcollation) AS default_order,
        i.indisreplident, c.relkind = 'I' AS partitioned, c.relispartition AS part, i.indisvalid,
        coalesce(pg_relation_size(c.oid), 0) AS size, pg_stat_get_numscans(c.oid) AS scans
    FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
        JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE i.indrelid = ANY (%s::oid[])
    ORDER BY of_table, n.nspname, c.relname
"""

_FOREIGN_KEYS = """
    SELECT k.conrelid::int8 AS of_table, k.conname::text AS name, k.conkey::int[] AS columns,
        n.nspname || '.' || c.relname AS target, k.confrelid::int8 AS target_oid,
        k.confkey::int[] AS target_columns
    FROM pg_constraint k JOIN pg_class c ON c.oid = k.confrelid
        JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE k.contype = 'f' AND k.conparentid = 0 AND k.conrelid = ANY (%s::oid[])
    ORDER BY 1, 2
"""

# The planner may compute the last value for what is no sequence, unless CASE prevents it.
_SEQUENCES = sql.SQL("""
    SELECT * FROM (
        SELECT n.nspname::text AS schema_name, c.relname::text AS name,
            format_type(s.seqtypid, NULL) AS type,
            CASE WHEN c.relkind = 'S' THEN pg_sequence_last_value(c.oid) END AS last_value,
            s.seqmax AS most, s.seqincrement AS increment, tn.nspname::text AS table_schema,
            t.relname::text AS of_table, a.attname::text AS of_column,
            format_type(a.atttypid, NULL) AS column_type
        FROM pg_sequence s JOIN pg_class c ON c.oid = s.seqrelid
            JOIN pg_namespace n ON n.oid = c.relnamespace
            LEFT JOIN pg_depend d ON d.classid = 'pg_class'::regclass AND d.objid = c.oid
                AND d.refclassid = 'pg_class'::regclass AND d.refobjsubid > 0
                AND d.deptype IN ('a', 'i')
            LEFT JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
            LEFT JOIN pg_class t ON t.oid = d.refobjid
            LEFT JOIN pg_namespace tn ON tn.oid = t.relnamespace
        WHERE NOT s.seqcycle AND s.seqincrement > 0 AND {own}
    ) found
    WHERE last_value IS NOT NULL ORDER BY schema_name, name
""").format(own=_OWN)

_POLICIES = sql.SQL("""
    SELECT n.nspname::text AS schema_name, c.relname::text AS of_table, p.polname::text AS name,
        pg_get_expr(p.polqual, p.polrelid) AS visible,
        pg_get_expr(p.polwithcheck, p.polrelid) AS writable,
        ARRAY(SELECT DISTINCT fn.nspname || '.' || f.proname FROM pg_depend d
            JOIN pg_proc f ON f.oid = d.refobjid JOIN pg_namespace fn ON fn.oid = f.pronamespace
            WHERE d.classid = 'pg_policy'::regclass AND d.objid = p.oid
              AND d.refclassid = 'pg_proc'::regclass AND f.provolatile <> 'i') AS functions
    FROM pg_policy p JOIN pg_class c ON c.oid = p.polrelid
        JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relrowsecurity AND {own}
    ORDER BY 1, 2, 3
""").format(own=_OWN)


async def read(inside: Connection) -> Catalog:
    """Return what the session's database has, of its largest 1,000 tables.

    Raises Conflict if it is too much to be read at once.
    """
    relations = [Relation(*row) for row in await fetch_bounded(inside, _RELATIONS)]
    tables = [each.oid for each in relations]

    async def of_tables(query: LiteralString) -> list[TupleRow]:
        return await fetch_bounded(inside, query, (tables,))

    freeze_age = await fetch_value(inside, "SELECT current_setting('autovacuum_freeze_max_age')")
    return Catalog(
        relations=relations,
        columns=[Column(*row) for row in await of_tables(_COLUMNS)],
        indexes=[CatalogIndex(*row) for row in await of_tables(_INDEXES)],
        foreign_keys=[ForeignKey(*row) for row in await of_tables(_FOREIGN_KEYS)],
        sequences=[_sequence(row) for row in await fetch_bounded(inside, _SEQUENCES)],
        policies=[Policy(*row) for row in await fetch_bounded(inside, _POLICIES)],
        freeze_age=int(str(freeze_age)),
    )


def _sequence(row: TupleRow) -> OwnedSequence:
    schema, name, type_name, last_value, most, increment, *column = row
    owner = None if column[2] is None else (column[0], column[1], column[2], column[3])
    return OwnedSequence(schema, name, type_name, last_value, most, increment, owner)
