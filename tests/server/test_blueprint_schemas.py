"""The blueprints' own files, on a real server, as the login that a tenant first gets."""

from pathlib import Path
from typing import Any, LiteralString, cast

import psycopg
import pytest
from catalogued import (
    ADMINISTRATOR,
    CATALOGUE,
    NAMES,
    UPGRADED,
    Blueprints,
    go,
    manifest,
    newest,
    sow,
    texts,
    version,
)
from psycopg import sql
from tenants import Tenant

from tenantry.pg.connections import Address
from tenantry.pg.hardening import ensure_standing_roles
from tenantry.services.migrations import lint
from tenantry.services.migrations.folder import load
from tenantry_rls import tenant_transaction
from tenantry_rls.check import check
from tenantry_rls.report import as_text

# ── there and back ───────────────────────────────────────────────────────────────

# Everything that is not PostgreSQL's, nor the runner's, nor of an extension, in words.
_OBJECTS: LiteralString = """
    WITH found AS (
        SELECT classid, objid, objsubid FROM (
            SELECT 'pg_class'::regclass AS classid, oid AS objid, 0 AS objsubid FROM pg_class
            UNION ALL SELECT 'pg_proc'::regclass, oid, 0 FROM pg_proc
            UNION ALL SELECT 'pg_type'::regclass, oid, 0 FROM pg_type
            UNION ALL SELECT 'pg_namespace'::regclass, oid, 0 FROM pg_namespace
            UNION ALL SELECT 'pg_constraint'::regclass, oid, 0 FROM pg_constraint
            UNION ALL SELECT 'pg_trigger'::regclass, oid, 0 FROM pg_trigger WHERE NOT tgisinternal
            UNION ALL SELECT 'pg_policy'::regclass, oid, 0 FROM pg_policy
            UNION ALL SELECT 'pg_extension'::regclass, oid, 0 FROM pg_extension
        ) AS every WHERE objid >= 16384
            AND NOT EXISTS (
                SELECT FROM pg_depend d WHERE d.classid = every.classid AND d.objid = every.objid
                    AND d.deptype = 'e'
            )
    )
    SELECT described FROM found,
        LATERAL pg_describe_object(classid, objid, objsubid) AS described
    WHERE described !~ 'schema_migrations|tenantry_migrations|toast|^index pg_'
    ORDER BY described
"""
_DEFINITIONS: LiteralString = """
    SELECT pg_get_indexdef(indexrelid) FROM pg_index WHERE indexrelid >= 16384
        AND indrelid::regclass::text NOT LIKE 'pg_toast%'
    UNION ALL SELECT conrelid::regclass || ': ' || pg_get_constraintdef(oid) FROM pg_constraint
        WHERE oid >= 16384
    UNION ALL SELECT pg_get_triggerdef(oid) FROM pg_trigger
        WHERE oid >= 16384 AND NOT tgisinternal
    UNION ALL SELECT concat_ws(' ', polrelid::regclass, polname, polcmd,
        pg_get_expr(polqual, polrelid), pg_get_expr(polwithcheck, polrelid)) FROM pg_policy
    UNION ALL SELECT concat_ws(' ', oid::regclass, relrowsecurity, relforcerowsecurity)
        FROM pg_class WHERE relkind = 'r' AND oid >= 16384
    UNION ALL SELECT concat_ws(' ', attrelid::regclass, attname, atttypid::regtype, attnotnull)
        FROM pg_attribute JOIN pg_class c ON c.oid = attrelid
        WHERE c.oid >= 16384 AND relkind = 'r' AND attnum > 0 AND NOT attisdropped
    ORDER BY 1
"""


@pytest.fixture(autouse=True)
async def _shared_roles(address: Address) -> None:
    """The roles that grants of some name."""
    await ensure_standing_roles(address, shared=True)


@pytest.mark.parametrize("name", NAMES)
async def test_up_down_to_nothing_and_up_again(tenant: Tenant, name: str) -> None:
    dsn = tenant.dsn()
    before = texts(dsn, _OBJECTS)
    await go(dsn, name, newest(name))
    there, defined = texts(dsn, _OBJECTS), texts(dsn, _DEFINITIONS)
    assert len(there) > len(before) + 10
    await go(dsn, name, None)
    assert texts(dsn, _OBJECTS) == before
    await go(dsn, name, newest(name))
    assert (texts(dsn, _OBJECTS), texts(dsn, _DEFINITIONS)) == (there, defined)


def rows_of(dsn: str) -> dict[str, list[dict[str, Any]]]:
    """All rows of all tables, as JSON, as an administrator sees them."""
    found = {}
    with psycopg.connect(dsn) as conn, tenant_transaction(conn, ADMINISTRATOR):
        for schema, table in tables(conn):
            query = sql.SQL("SELECT to_jsonb(x) FROM {} AS x ORDER BY x").format(
                sql.Identifier(schema, table)
            )
            found[table] = [row for (row,) in conn.execute(query)]
    return found


def tables(conn: psycopg.Connection[Any]) -> list[tuple[str, str]]:
    return cast(
        "list[tuple[str, str]]",
        psycopg.Cursor(conn)
        .execute(
            "SELECT schemaname, tablename FROM pg_tables"
            " WHERE schemaname IN ('public', 'api') AND tablename NOT LIKE '%_migrations'"
        )
        .fetchall(),
    )


@pytest.mark.parametrize("name", UPGRADED)
async def test_an_upgrade_keeps_all_rows(tenant: Tenant, name: str) -> None:
    dsn = tenant.dsn()
    await go(dsn, name, version(name, 1))
    sow(dsn, name)
    before = rows_of(dsn)
    assert all(before.values())
    await go(dsn, name, newest(name))
    after = rows_of(dsn)
    grown = {table for table in before if after[table] != before[table]}
    assert len(grown) == 1
    for table, rows in before.items():
        for old, new in zip(rows, after[table], strict=True):
            assert old.items() <= new.items()
    await go(dsn, name, version(name, 1))
    assert rows_of(dsn) == before


@pytest.mark.parametrize("name", NAMES)
def test_seeds_may_be_put_in_twice(blueprints: Blueprints, name: str) -> None:
    before = rows_of(blueprints[name].dsn())
    assert all(before.values())
    sow(blueprints[name].dsn(), name)
    assert rows_of(blueprints[name].dsn()) == before


@pytest.mark.parametrize("name", NAMES)
def test_nothing_in_them_hurts_in_production(name: str) -> None:
    assert lint.check(load(CATALOGUE / name / "migrations")) == []


@pytest.mark.parametrize("name", NAMES)
def test_every_table_and_function_is_described(blueprints: Blueprints, name: str) -> None:
    with psycopg.connect(blueprints[name].dsn()) as conn:
        silent = conn.execute(
            "SELECT c.oid::regclass::text FROM pg_class c WHERE relkind = 'r'"
            " AND oid >= 16384 AND obj_description(oid, 'pg_class') IS NULL"
            " AND relnamespace::regnamespace::text IN ('public', 'api')"
            " AND relname NOT LIKE '%_migrations'"
            " UNION ALL SELECT p.oid::regprocedure::text FROM pg_proc p"
            " WHERE p.pronamespace::regnamespace::text IN ('public', 'api')"
            " AND obj_description(oid, 'pg_proc') IS NULL AND NOT EXISTS (SELECT FROM pg_depend"
            "   WHERE objid = p.oid AND deptype = 'e')"
        ).fetchall()
    assert silent == []


def test_the_reference_names_every_column(blueprints: Blueprints) -> None:
    page = (Path(__file__).parents[2] / "docs" / "reference" / "blueprints.md").read_text()
    sections = {part.partition("`")[0]: part for part in page.split("\n## `")}
    for name, kept in blueprints.items():
        columns = texts(
            kept.dsn(),
            "SELECT attname FROM pg_attribute WHERE attnum > 0 AND NOT attisdropped AND attrelid"
            " IN (SELECT format('%I.%I', schemaname, tablename)::regclass FROM pg_tables"
            "   WHERE schemaname IN ('public', 'api') AND tablename NOT LIKE '%_migrations')",
        )
        assert not {each for each in columns if f"`{each}`" not in sections[name]}


@pytest.mark.parametrize("name", NAMES)
def test_no_index_begins_another(blueprints: Blueprints, name: str) -> None:
    """It would cost every write, and help no read."""
    idle = texts(
        blueprints[name].dsn(),
        "SELECT a.indexrelid::regclass::text FROM pg_index a JOIN pg_index b USING (indrelid)"
        " WHERE a.indexrelid <> b.indexrelid AND a.indrelid >= 16384 AND NOT a.indisunique"
        " AND a.indpred IS NULL AND b.indpred IS NULL"
        " AND b.indkey::text || ' ' LIKE a.indkey::text || ' %'",
    )
    assert idle == []


# ── isolation ────────────────────────────────────────────────────────────────────


CUSTOMERS_TABLES = {
    "hosting": {"sites", "deployments", "ecommerce_integrations", "cost_records", "customers"},
    "billing": {"users", "subscriptions", "payment_methods", "payment_transactions", "refunds"}
    | {"admin_roles", "admin_audit_logs"},
    "todos": {"todos"},
    "auth": {"profiles"},
}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("login", ["owner", "app"])
def test_customers_are_kept_apart(blueprints: Blueprints, name: str, login: str) -> None:
    kept = blueprints[name]
    with psycopg.connect(kept.dsn(kept.app if login == "app" else None)) as conn:
        report = check(conn, **manifest(name)["isolation"])
    assert report.passes(strict=login == "app"), as_text(report)
    assert {finding.kind for finding in report.findings} <= {"role-owns"}
    assert report.count("not tried") == 0
    assert {each.rpartition(".")[2] for each in report.subjects} == CUSTOMERS_TABLES[name]
    for subject in report.subjects:
        tried = {each.action for each in report.attempts if each.subject == subject}
        assert len(tried) >= 8, (subject, tried)


@pytest.mark.parametrize("name", NAMES)
def test_every_table_is_secured(blueprints: Blueprints, name: str) -> None:
    with psycopg.connect(blueprints[name].dsn()) as conn:
        secured = conn.execute(
            "SELECT bool_and(relrowsecurity AND relforcerowsecurity) FROM pg_class c"
            " WHERE relkind = 'r' AND relname NOT LIKE '%_migrations'"
            " AND relnamespace::regnamespace::text IN ('public', 'api')"
        ).fetchone()
    assert secured == (True,)
