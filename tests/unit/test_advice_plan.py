"""Each rule of advice: what has the problem is found, and what has not is not."""

import datetime as dt
from dataclasses import replace
from typing import Any

import pglast
import pytest

from tenantry.pg.advice_catalog import (
    Catalog,
    CatalogIndex,
    Column,
    ForeignKey,
    OwnedSequence,
    Policy,
    Relation,
)
from tenantry.pg.catalog import DatabaseUse
from tenantry.pg.role_settings import OwnSetting
from tenantry.pg.sessions import OpenSession
from tenantry.pg.statement_statistics import StatementStatistics
from tenantry.pg.vacuuming import Table
from tenantry.services.advice.conditions import scans
from tenantry.services.advice.model import Evidence, Finding, Pool
from tenantry.services.advice.plan import findings
from tenantry.services.advice.policies import wrap

NOW = dt.datetime(2026, 11, 30, tzinfo=dt.UTC)
MIB = 2**20
ORDERS = Relation(
    oid=1,
    schema="public",
    name="orders",
    kind="r",
    is_partition=False,
    heap_bytes=80 * MIB,
    rows=100_000,
    modified_since_analyze=0,
    analyzed_at=NOW,
    written_rows=5,
    age=100,
    autovacuum_is_off=False,
    has_row_security=False,
    open_for=[],
)
COLUMNS = [
    Column(1, 1, "id", "bigint", True, -1.0, None),
    Column(1, 2, "customer_id", "integer", False, 5000.0, 4000),
    Column(1, 3, 'the "note"', "text", False, 3.0, None),
    Column(1, 4, "at", "date", False, 300.0, None),
]
KEY = CatalogIndex(
    oid=11,
    table=1,
    schema="public",
    name="orders_pkey",
    columns=[1],
    included=[],
    key=["1978 0 0"],
    shape="403",
    predicate=None,
    is_btree=True,
    is_unique=True,
    is_primary_key=True,
    is_of_constraint=True,
    is_referenced=False,
    is_in_default_order=True,
    is_replica_identity=False,
    is_partitioned=False,
    is_part=False,
    is_valid=True,
    size_bytes=3 * MIB,
    scans=9,
)
INDEX = replace(
    KEY,
    oid=12,
    name="by customer",
    columns=[2],
    key=["1978 0 0"],
    is_unique=False,
    is_primary_key=False,
    is_of_constraint=False,
)
CUSTOMER = ForeignKey(1, "orders_fkey", [2], "public.customers", 2, [1])
SEQUENCE = OwnedSequence(
    "public", "orders_id_seq", "integer", 1000, 2**31 - 1, 1, ("public", "orders", "id", "bigint")
)
SESSION = OpenSession(
    pid=7,
    database_name="tenant_x",
    role="user_x",
    application="shop",
    client_address=None,
    state="active",
    query="SELECT 1",
    query_id=None,
    started_at=NOW,
    transaction_started_at=NOW,
    query_started_at=NOW,
    age_seconds=5000,
    transaction_seconds=1.0,
    state_seconds=1.0,
    wait_event_type=None,
    wait_event=None,
    blocked_by=[],
)
STATEMENT = StatementStatistics(
    query_id=1,
    database_name="tenant_x",
    query='SELECT * FROM "orders" WHERE customer_id = $1',
    calls=10,
    total_ms=500.0,
    mean_ms=50.0,
    min_ms=1.0,
    max_ms=90.0,
    rows=200,
    share=0.8,
    blocks_hit=100_000,
    blocks_read=2_400,
    temp_bytes=0,
    wal_bytes=0,
)
USE = DatabaseUse("tenant_x", 900 * MIB, 1, 1, 0, 0.99, 10**6)
CATALOG = Catalog([ORDERS], COLUMNS, [KEY], [], [SEQUENCE], [], 200_000_000)
GOOD = Evidence(
    name="tenant_x",
    pool_size=10,
    catalog=CATALOG,
    sizes=[Table("public", "orders", None, 90 * MIB, 85 * MIB)],
    sessions=[SESSION],
    statements=[],
    settings=[OwnSetting("user_x", None, "search_path", "app"),
              OwnSetting("user_x", None, "enable_seqscan", "on")],
    pool=Pool(0, 0.0, 5),
    use=USE,
    shared_buffers=128 * MIB,
    counted_since=NOW - dt.timedelta(days=30),
    now=NOW,
)  # fmt: skip


def found(evidence: Evidence = GOOD, **catalog: Any) -> list[Finding]:
    return findings(replace(evidence, catalog=replace(evidence.catalog, **catalog)))


def only(evidence: Evidence = GOOD, **catalog: Any) -> Finding:
    (finding,) = found(evidence, **catalog)
    if finding.statement is not None and not finding.statement.startswith("tenantry "):
        assert pglast.parse_sql(finding.statement)  # it can be run as it is
    return finding


def test_nothing_is_found_where_nothing_is_wrong() -> None:
    assert found() == []


# ── indexes ──────────────────────────────────────────────────────────────────


def test_a_foreign_key_without_an_index() -> None:
    finding = only(foreign_keys=[CUSTOMER])
    assert (finding.code, finding.severity) == ("unindexed_foreign_key", "warning")
    assert finding.object == "public.orders.orders_fkey"
    assert "100,000 rows" in finding.detail
    assert finding.statement == ('CREATE INDEX CONCURRENTLY ON "public"."orders" ("customer_id");')
    assert only(
        foreign_keys=[CUSTOMER], relations=[replace(ORDERS, rows=10)]
    ).severity == "info"  # fmt: skip
    parted = only(foreign_keys=[CUSTOMER], relations=[replace(ORDERS, kind="p", heap_bytes=0)])
    assert parted.statement == 'CREATE INDEX ON "public"."orders" ("customer_id");'


@pytest.mark.parametrize(
    ("index", "serves"),
    [
        (INDEX, True),
        (replace(INDEX, columns=[2, 4], key=["1978 0 0", "3122 0 0"]), True),
        (replace(INDEX, columns=[4, 2], key=["3122 0 0", "1978 0 0"]), False),
        (replace(INDEX, predicate="(customer_id IS NOT NULL)", shape="p"), True),
        (replace(INDEX, predicate="(customer_id > 7)", shape="p"), False),
    ],
)
def test_what_serves_a_foreign_key(index: CatalogIndex, *, serves: bool) -> None:
    codes = {each.code for each in found(foreign_keys=[CUSTOMER], indexes=[KEY, index])}
    assert ("unindexed_foreign_key" not in codes) is serves


def test_the_columns_of_a_foreign_key_may_be_in_any_order() -> None:
    both = replace(INDEX, columns=[4, 2], key=["3122 0 0", "1978 0 0"])
    key = replace(CUSTOMER, columns=[2, 4], referenced_columns=[1, 2])
    assert found(foreign_keys=[key], indexes=[KEY, both]) == []


def test_a_column_that_refers_to_a_unique_key_is_enough() -> None:
    key = replace(CUSTOMER, columns=[2, 4], referenced_columns=[1, 2])
    assert only(foreign_keys=[key], indexes=[KEY, INDEX]).code == "unindexed_foreign_key"
    customers = replace(ORDERS, oid=2, name="customers")
    unique = replace(KEY, oid=21, table=2, name="customers_pkey", columns=[1])
    assert found(
        foreign_keys=[key], relations=[ORDERS, customers], indexes=[KEY, INDEX, unique]
    ) == []  # fmt: skip


def test_an_unused_index() -> None:
    unused = replace(INDEX, scans=0)
    finding = only(indexes=[KEY, unused])
    assert (finding.code, finding.object) == ("unused_index", "public.by customer")
    assert "30 days" in finding.detail
    assert finding.statement == 'DROP INDEX CONCURRENTLY "public"."by customer";'
    for spared in (
        replace(unused, scans=1),
        replace(unused, size_bytes=MIB - 1),
        replace(unused, is_unique=True),
        replace(unused, is_of_constraint=True),
        replace(unused, is_replica_identity=True),
        replace(unused, is_part=True),
    ):
        assert found(indexes=[KEY, spared]) == []
    assert found(indexes=[KEY, unused], foreign_keys=[CUSTOMER]) == []
    twice = found(indexes=[KEY, unused, replace(unused, oid=13, name="twin")])
    assert {each.object: each.code for each in twice} == {
        "public.by customer": "duplicate_index",
        "public.twin": "unused_index",
    }
    young = replace(GOOD, counted_since=NOW - dt.timedelta(days=6))
    assert found(young, indexes=[KEY, unused]) == []


def test_a_duplicate_index() -> None:
    twin = replace(INDEX, oid=13, name="twin")
    finding = only(indexes=[KEY, INDEX, twin])
    assert (finding.code, finding.severity) == ("duplicate_index", "warning")
    assert finding.object in {"public.twin", "public.by customer"}
    key_again = replace(KEY, oid=14, name="again", is_primary_key=False, is_of_constraint=False)
    assert only(indexes=[KEY, key_again]).object == "public.again"
    assert only(indexes=[KEY, replace(key_again, is_unique=False)]).object == "public.again"
    # It could not be dropped.
    assert found(indexes=[KEY, replace(key_again, is_referenced=True)]) == []


def test_thousands_of_objects_that_begin_alike_take_a_moment() -> None:
    """Each is compared with some others, not with all: that took minutes."""
    indexes = [
        replace(INDEX, oid=20 + n, name=f"i{n}", columns=[4, n], key=["1 0 0", f"{n} 0 0"], scans=0)
        for n in range(2000)
    ]
    both = replace(CUSTOMER, columns=[4, 2], referenced_columns=[1, 2])
    keys = [replace(both, name=f"f{n}") for n in range(2000)]
    assert len(found(indexes=indexes, foreign_keys=keys)) == 1000


def test_an_index_that_begins_as_another_does() -> None:
    longer = replace(INDEX, oid=13, name="longer", columns=[2, 4], key=["1978 0 0", "3122 0 0"])
    finding = only(indexes=[KEY, INDEX, longer])
    assert (finding.object, finding.severity) == ("public.by customer", "info")
    assert "begins with" in finding.detail
    assert found(indexes=[KEY, replace(INDEX, size_bytes=1), longer]) == []
    assert found(indexes=[KEY, replace(INDEX, is_unique=True), longer]) == []


@pytest.mark.parametrize(
    "other",
    [
        {"key": ["1978 0 1"]},
        {"shape": "405"},
        {"columns": [4]},
        {"shape": "403 (id > 3)"},
        {"included": [3]},
    ],
)
def test_indexes_that_are_not_the_same(other: dict[str, Any]) -> None:
    """But for one that includes more, which does the work of the other."""
    twin = replace(INDEX, oid=13, name="twin", **other)
    result = found(indexes=[KEY, INDEX, twin])
    assert [each.object for each in result] == (
        ["public.by customer"] if "included" in other else []
    )


def test_an_invalid_index() -> None:
    finding = only(indexes=[KEY, replace(INDEX, is_valid=False)])
    assert finding.code == "invalid_index"
    assert finding.statement == 'REINDEX INDEX CONCURRENTLY "public"."by customer";'
    left = only(indexes=[KEY, replace(INDEX, is_valid=False, name="x_ccnew")])
    assert left.statement == 'DROP INDEX CONCURRENTLY "public"."x_ccnew";'
    own = only(indexes=[KEY, replace(INDEX, is_valid=False, name="x_ccnew_too")])
    assert own.statement == 'REINDEX INDEX CONCURRENTLY "public"."x_ccnew_too";'


def with_statement(**changes: Any) -> Evidence:
    return replace(GOOD, statements=[replace(STATEMENT, **changes)])


def test_a_statement_that_reads_a_whole_table() -> None:
    finding = only(with_statement())
    assert finding.code == "missing_index"
    assert finding.object == "public.orders (customer_id)"
    assert "10 calls read 10,240 blocks, and the table has 10,240" in finding.detail
    assert finding.statement == 'CREATE INDEX CONCURRENTLY ON "public"."orders" ("customer_id");'


@pytest.mark.parametrize(
    "changes",
    [
        {"calls": 4},
        {"blocks_hit": 0},
        {"query": "SELECT * FROM orders WHERE customer_id = id"},
        {"query": "SELECT count(*) FROM orders"},
        {"query": "SELECT * FROM orders WHERE customer_id = $1 OR id = $2"},
        {"query": "SELECT * FROM orders WHERE id = $1 AND customer_id = $2"},
        {"query": 'SELECT * FROM orders WHERE "the ""note""" = $1'},
        {"query": "SELECT * FROM other WHERE customer_id = $1"},
        {"query": "SELECT * FROM orders WHERE (customer_id = $1"},
        {"query": "WITH orders AS (SELECT 1) SELECT FROM orders WHERE customer_id = $1"},
    ],
)
def test_statements_that_no_index_would_help(changes: dict[str, Any]) -> None:
    assert found(with_statement(**changes)) == []


def test_no_index_is_missing_where_there_is_one_or_the_table_is_small() -> None:
    assert found(with_statement(), indexes=[KEY, INDEX]) == []
    small = replace(ORDERS, rows=500)
    assert found(with_statement(), relations=[small]) == []


def test_the_columns_of_a_missing_index() -> None:
    """The most distinct first, and a range last."""
    query = 'SELECT * FROM orders o WHERE o."the ""note""" = $1 AND o.at > $2 AND customer_id = $3'
    finding = only(with_statement(query=query))
    assert finding.object == 'public.orders (customer_id, the "note")'
    ranged = "SELECT * FROM public.orders WHERE at BETWEEN $1 AND $2"
    assert only(with_statement(query=ranged)).object == "public.orders (at)"
    assert found(with_statement(query=ranged, rows=900_000)) == []


def test_what_a_statement_compares() -> None:
    (scan,) = scans("UPDATE s.t x SET a = $1 WHERE x.b = ANY ($2) AND $3 < x.c AND x.d IN ($4, $5)")
    assert (scan.schema, scan.table, scan.equal, scan.ranges) == ("s", "t", ["b", "d"], ["c"])
    (joined,) = scans("SELECT FROM a JOIN b ON a.x = b.y AND b.k = $1 WHERE z = $2")
    assert (joined.table, joined.equal) == ("b", ["k"])
    (inner,) = scans("DELETE FROM t WHERE id IN (SELECT o FROM u WHERE u.p = $1)")
    assert (inner.table, inner.equal) == ("u", ["p"])
    assert scans("SELECT " + "(" * 4000 + "1" + ")" * 4000) == []
    assert scans("x" * 10_000) == []
    assert scans("SELECT FROM t WHERE " + "(a = 1 AND " * 850 + "true" + ")" * 850) == []
    assert wrap("current_setting('a') = " + "1+" * 4900 + "1", []) is None


# ── tables ───────────────────────────────────────────────────────────────────


def test_a_table_without_a_primary_key() -> None:
    finding = only(indexes=[])
    assert (finding.code, finding.object) == ("no_primary_key", "public.orders")
    assert finding.statement == (
        'ALTER TABLE "public"."orders" ADD COLUMN "row_id"'
        " bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY;"
    )
    unique = replace(KEY, is_primary_key=False, is_of_constraint=False, name="by id")
    assert only(indexes=[unique]).statement == (
        'ALTER TABLE "public"."orders" ADD PRIMARY KEY USING INDEX "by id";'
    )
    assert found(indexes=[], relations=[replace(ORDERS, is_partition=True)]) == []
    assert found(indexes=[], relations=[replace(ORDERS, kind="m")]) == []
    # ADD PRIMARY KEY would refuse an index that is in descending order.
    falling = replace(unique, key=["1978 0 3"], is_in_default_order=False)
    assert "ADD COLUMN" in str(only(indexes=[falling]).statement)
    # A partitioned table's key has its partitioning columns, which nobody can guess.
    parted = only(indexes=[], relations=[replace(ORDERS, kind="p", heap_bytes=0)])
    assert (parted.code, parted.statement) == ("no_primary_key", None)


def test_a_sequence_near_its_end() -> None:
    near = replace(SEQUENCE, last_value=2**31 - 1)
    finding = only(sequences=[near])
    assert (finding.code, finding.severity) == ("sequence_exhaustion", "error")
    assert finding.statement == 'ALTER SEQUENCE "public"."orders_id_seq" AS bigint NO MAXVALUE;'
    assert found(sequences=[replace(near, last_value=2**30)]) == []
    # The sequence would go on, but not its column.
    column = ("public", "orders", "customer_id", "integer")
    wide = replace(
        near, type_name="bigint", most=2**63 - 1, last_value=1_600_000_000, column=column
    )
    finding = only(sequences=[wide])
    assert finding.severity == "warning"
    assert "75%" in finding.detail
    assert finding.statement == (
        'ALTER TABLE "public"."orders" ALTER COLUMN "customer_id" TYPE bigint;'
    )
    serial = only(sequences=[replace(near, column=column)])
    assert serial.statement == (
        'ALTER SEQUENCE "public"."orders_id_seq" AS bigint NO MAXVALUE;'
        ' ALTER TABLE "public"."orders" ALTER COLUMN "customer_id" TYPE bigint;'
    )
    capped = only(sequences=[replace(near, type_name="bigint", most=2**31)])
    assert capped.statement == 'ALTER SEQUENCE "public"."orders_id_seq" NO MAXVALUE;'
    for most in (0, -1):
        assert found(sequences=[replace(near, last_value=-10, most=most, column=None)]) == []


def test_an_integer_key_near_its_end() -> None:
    columns = [replace(COLUMNS[0], type_name="integer", highest=2_100_000_000), *COLUMNS[1:]]
    finding = only(sequences=[], columns=columns)
    assert (finding.code, finding.object) == ("sequence_exhaustion", "public.orders.id")
    assert finding.severity == "error"
    columns[0] = replace(columns[0], highest=1000)
    assert found(sequences=[], columns=columns) == []


def test_an_old_transaction_id() -> None:
    finding = only(relations=[replace(ORDERS, age=250_000_000)])
    assert (finding.code, finding.severity) == ("transaction_id_age", "warning")
    assert finding.statement == 'VACUUM (FREEZE) "public"."orders";'
    assert only(relations=[replace(ORDERS, age=1_000_000_000)]).severity == "error"
    assert found(relations=[replace(ORDERS, age=240_000_000)]) == []


def test_stale_statistics() -> None:
    assert only(relations=[replace(ORDERS, analyzed_at=None)]).code == "stale_statistics"
    long_ago = replace(ORDERS, analyzed_at=NOW - dt.timedelta(minutes=10))
    changed = only(relations=[replace(long_ago, modified_since_analyze=30_000)])
    assert "30,000 rows were changed" in changed.detail
    assert changed.statement == 'ANALYZE "public"."orders";'
    assert found(relations=[replace(long_ago, modified_since_analyze=29_999)]) == []
    assert found(relations=[replace(ORDERS, modified_since_analyze=30_000)]) == []
    off = replace(ORDERS, modified_since_analyze=30_000, autovacuum_is_off=True)
    assert "stale_statistics" in {each.code for each in found(relations=[off])}
    assert found(relations=[replace(ORDERS, analyzed_at=None, rows=9_999)]) == []


def test_bloat() -> None:
    bloated = Table("public", "orders", None, 10 * MIB, 6 * MIB)
    finding = only(replace(GOOD, sizes=[bloated]))
    assert (finding.code, finding.severity) == ("bloat", "info")
    assert finding.detail.startswith("An estimate: a rewrite would give back 4 MiB")
    much = only(replace(GOOD, sizes=[replace(bloated, size_bytes=200 * MIB)]))
    assert much.severity == "warning"
    for spared in (
        replace(bloated, live_bytes=7 * MIB),
        replace(bloated, size_bytes=MIB, live_bytes=1024),
        replace(bloated, live_bytes=None),
    ):
        assert found(replace(GOOD, sizes=[spared])) == []


def test_autovacuum_that_is_off() -> None:
    finding = only(relations=[replace(ORDERS, autovacuum_is_off=True)])
    assert (finding.code, finding.object) == ("settings", "public.orders.autovacuum_enabled")
    assert finding.statement == 'ALTER TABLE "public"."orders" RESET (autovacuum_enabled);'
    assert found(relations=[replace(ORDERS, autovacuum_is_off=True, rows=10)]) == []


# ── sessions, settings, pool, cache ──────────────────────────────────────────


def test_long_and_idle_transactions() -> None:
    long = replace(SESSION, transaction_seconds=61.0)
    finding = only(replace(GOOD, sessions=[long]))
    assert (finding.code, finding.severity) == ("long_transaction", "info")
    assert finding.statement == "SELECT pg_catalog.pg_terminate_backend(7);"
    older = replace(long, transaction_seconds=601.0)
    assert only(replace(GOOD, sessions=[older])).severity == "warning"
    idle = replace(
        SESSION, state="idle in transaction", transaction_seconds=31.0, state_seconds=31.0
    )
    assert only(replace(GOOD, sessions=[idle])).code == "idle_in_transaction"
    for spared in (
        replace(SESSION, transaction_seconds=None, state="idle", state_seconds=900.0),
        replace(idle, state_seconds=29.0),
    ):
        assert found(replace(GOOD, sessions=[spared])) == []


@pytest.mark.parametrize(
    ("name", "value", "is_found"),
    [
        ("enable_seqscan", "off", True),
        ("enable_hashjoin", "false", True),
        ("synchronous_commit", "off", True),
        ("idle_in_transaction_session_timeout", "0", True),
        ("idle_in_transaction_session_timeout", "10000", False),
        ("work_mem", "0", False),
    ],
)
def test_settings(name: str, value: str, *, is_found: bool) -> None:
    evidence = replace(GOOD, settings=[OwnSetting("user_x", "tenant_x", name, value)])
    if not is_found:
        assert found(evidence) == []
        return
    finding = only(evidence)
    assert (finding.code, finding.object) == ("settings", f"user_x.{name}")
    assert finding.statement == (f'ALTER ROLE "user_x" IN DATABASE "tenant_x" RESET "{name}";')


def test_a_pool_that_is_too_small() -> None:
    finding = only(replace(GOOD, pool=Pool(40, 2.5, 10)))
    assert (finding.code, finding.object) == ("pool_too_small", "tenant_x")
    assert finding.statement == "tenantry db update tenant_x --pool-size 20"
    assert only(replace(GOOD, pool=Pool(4, 2.5, 25), pool_size=25)).statement is None
    assert found(replace(GOOD, pool=Pool(4, 0.5, 10))) == []
    assert found(replace(GOOD, pool=None)) == []


def test_a_cache_that_is_too_small() -> None:
    finding = only(replace(GOOD, use=replace(USE, cache_hit_ratio=0.6)))
    assert (finding.code, finding.severity) == ("cache_too_small", "info")
    assert "60%" in finding.detail
    assert "128 MiB" in finding.detail
    for spared in (replace(USE, cache_hit_ratio=0.6, blocks_read=99_999), None):
        assert found(replace(GOOD, use=spared)) == []


# ── policies ─────────────────────────────────────────────────────────────────


def policy(using: str, functions: tuple[str, ...] = ()) -> Policy:
    return Policy("public", "orders", "own", using, None, list(functions))


def test_tables_that_the_data_api_shows_without_row_security() -> None:
    def of(**differing: Any) -> list[Finding]:
        return found(replace(GOOD, exposed=["public"]), relations=[replace(ORDERS, **differing)])

    (finding,) = of(open_for=["INSERT", "SELECT"])
    assert (finding.code, finding.severity) == ("row_security_disabled", "warning")
    assert finding.statement == 'ALTER TABLE "public"."orders" ENABLE ROW LEVEL SECURITY;'
    assert "INSERT, SELECT every row" in finding.detail
    assert [each.severity for each in of(open_for=["SELECT"])] == ["info"]
    for spared in (
        {},
        {"open_for": ["SELECT"], "has_row_security": True},
        {"open_for": ["SELECT"], "schema": "private"},
    ):
        assert of(**spared) == []
    assert found(relations=[replace(ORDERS, open_for=["SELECT"])]) == []


def test_a_policy_that_calls_a_function_for_each_row() -> None:
    finding = only(policies=[policy("(id = (current_setting('app.id'::text))::bigint)")])
    assert (finding.code, finding.object) == ("policy_per_row", "public.orders.own")
    assert finding.statement is not None
    assert "(SELECT current_setting(" in finding.statement
    # What it advises is not found again.
    clause = finding.statement.partition(" USING ")[2].removesuffix(";")
    assert found(policies=[policy(clause)]) == []


def test_policies_that_call_nothing_for_each_row() -> None:
    for using, functions in (
        ("(customer_id = ( SELECT auth.uid() AS uid))", ("auth.uid",)),
        ("public.may(customer_id)", ("public.may",)),
        ("(CURRENT_USER = 'x'::name)", ()),
        ("(id = public.seven())", ()),  # immutable: it is computed once
        ("((id = ", ()),
    ):
        assert found(policies=[policy(using, functions)]) == []
    wrapped = wrap("((public.me() = id) AND public.may(id))", ["public.me", "public.may"])
    assert wrapped == ("(SELECT public.me()) = id AND public.may(id)", {"public.me"})


# ── all of it ────────────────────────────────────────────────────────────────


def test_the_most_severe_comes_first() -> None:
    result = found(
        replace(GOOD, sessions=[replace(SESSION, transaction_seconds=61.0)]),
        foreign_keys=[CUSTOMER],
        sequences=[replace(SEQUENCE, last_value=2**31 - 1)],
    )
    assert [each.severity for each in result] == ["error", "warning", "info"]
