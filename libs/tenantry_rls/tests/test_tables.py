"""Policies on tables: put there, as they were, and taken off."""

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from psycopg import sql
from rls_servers import APP, OWNER, Servers, runner

from tenantry_rls import TenantContext, cli, tenant_transaction
from tenantry_rls.tables import POLICIES, UnknownTable, disable, enable

Conn = psycopg.Connection[tuple[Any, ...]]


@pytest.fixture(scope="module")
def database(servers: Servers) -> Iterator[str]:
    with servers.database() as name:
        yield name


@pytest.fixture
def owner(servers: Servers, database: str) -> Iterator[Conn]:
    """The owner's connection, in a transaction that is rolled back."""
    with (
        psycopg.connect(servers.dsn(database, user=OWNER)) as conn,
        conn.transaction(force_rollback=True),
    ):
        conn.execute("CREATE TABLE sites (id serial PRIMARY KEY, customer_id bigint NOT NULL)")
        conn.execute(f"GRANT ALL ON sites TO {APP}".encode())
        yield conn


def policies(conn: Conn) -> list[tuple[str, str]]:
    return [
        (row[0], row[1]) for row in conn.execute("SELECT tablename, policyname FROM pg_policies")
    ]


def seen(conn: Conn, context: TenantContext | None) -> list[Any]:
    if context is None:
        return conn.execute("SELECT customer_id FROM sites ORDER BY 1").fetchall()
    with tenant_transaction(conn, context):
        return [row[0] for row in conn.execute("SELECT customer_id FROM sites ORDER BY 1")]


def test_even_the_owner_sees_only_whose_turn_it_is(owner: Conn) -> None:
    owner.execute("INSERT INTO sites (customer_id) VALUES (1), (2)")
    enable(owner, "sites")
    assert seen(owner, None) == []
    assert seen(owner, TenantContext(1)) == [1]
    assert seen(owner, TenantContext(user_role="administrator")) == [1, 2]


def test_it_is_idempotent_and_puts_right_what_was_altered(owner: Conn) -> None:
    assert enable(owner, "sites").changed
    assert not enable(owner, "sites").changed
    owner.execute("ALTER POLICY tenant_select ON sites USING (true)")
    assert enable(owner, "sites").changed
    assert not enable(owner, "sites").changed
    indexes = owner.execute("SELECT count(*) FROM pg_indexes WHERE tablename = 'sites'").fetchone()
    assert indexes == (2,)


def test_disable_takes_back_what_enable_did_and_nothing_else(owner: Conn) -> None:
    enable(owner, "sites")
    assert disable(owner, "sites").changed
    assert policies(owner) == []
    secured = "SELECT relrowsecurity, relforcerowsecurity FROM pg_class WHERE relname = 'sites'"
    assert owner.execute(secured).fetchone() == (False, False)
    assert not disable(owner, "sites").changed
    enable(owner, "sites")
    owner.execute("CREATE POLICY theirs ON sites AS RESTRICTIVE USING (true)")
    disable(owner, "sites")
    assert policies(owner) == [("sites", "theirs")]
    assert owner.execute(secured).fetchone() == (True, True)


@pytest.mark.parametrize(
    "type_", ["bigint", "int", "smallint", "uuid", "text", "varchar(40)", "code"]
)
def test_whatever_the_column_is(owner: Conn, type_: str) -> None:
    value = "6b1f0d2c-0b1e-4f0e-9d0f-0c5f4f0d2a11" if type_ == "uuid" else "77"
    owner.execute("CREATE DOMAIN code AS text")
    owner.execute(f'CREATE TABLE "Odd "" name" ("the tenant" {type_} NOT NULL)'.encode())
    owner.execute('INSERT INTO "Odd "" name" VALUES (%s)', (value,))
    enable(owner, '"Odd "" name"', column="the tenant")
    with tenant_transaction(owner, TenantContext(value)):
        assert owner.execute('SELECT count(*) FROM "Odd "" name"').fetchone() == (1,)
    assert owner.execute('SELECT count(*) FROM "Odd "" name"').fetchone() == (0,)


def test_partitions_are_tables_too(owner: Conn) -> None:
    owner.execute("CREATE TABLE events (customer_id int NOT NULL) PARTITION BY LIST (customer_id)")
    owner.execute("CREATE TABLE events_1 PARTITION OF events FOR VALUES IN (1)")
    enable(owner, "events")
    assert {table for table, _ in policies(owner)} == {"events", "events_1"}
    disable(owner, "events")
    assert policies(owner) == []


def test_through_a_reference(owner: Conn) -> None:
    owner.execute("CREATE TABLE deployments (site_id int NOT NULL REFERENCES sites)")
    owner.execute("INSERT INTO sites (customer_id) VALUES (1), (2)")
    owner.execute("INSERT INTO deployments SELECT id FROM sites")
    enable(owner, "sites")
    enable(owner, "deployments", through="site_id")
    counted = "SELECT count(*) FROM deployments"
    for context, count in ((TenantContext(1), 1), (TenantContext(user_role="administrator"), 2)):
        with tenant_transaction(owner, context):
            assert owner.execute(counted.encode()).fetchone() == (count,)
    assert owner.execute(counted.encode()).fetchone() == (0,)


def test_only_a_named_role_may_act_as_administrator(owner: Conn) -> None:
    owner.execute("INSERT INTO sites (customer_id) VALUES (1), (2)")
    enable(owner, "sites", admin_role=APP)
    administrator = TenantContext(user_role="administrator")
    assert seen(owner, administrator) == []
    enable(owner, "sites", admin_role=OWNER)
    assert seen(owner, administrator) == [1, 2]
    enable(owner, "sites", admin_role=None)
    assert seen(owner, administrator) == []
    assert {name for _, name in policies(owner)} == set(POLICIES)


def test_a_customer_is_found_by_the_index(owner: Conn) -> None:
    """With an administrator's policy for another role, nothing is OR-ed to the condition."""
    owner.execute("INSERT INTO sites (customer_id) SELECT n % 1000 FROM generate_series(1, 9999) n")
    enable(owner, "sites", admin_role=APP)
    owner.execute("ANALYZE sites")
    with tenant_transaction(owner, TenantContext(7)):
        plan = "\n".join(row[0] for row in owner.execute("EXPLAIN SELECT * FROM sites"))
    assert "sites_customer_id_idx" in plan


@pytest.mark.parametrize(
    ("table", "options"),
    [
        ("nowhere", {}),
        ("sites", {"column": "tenant"}),
        ("sites", {"column": "xmin"}),
        ("sites", {"through": "customer_id"}),
        ("pg_class; DROP TABLE sites", {}),
    ],
)
def test_what_is_not_there_is_reported(owner: Conn, table: str, options: dict[str, str]) -> None:
    with pytest.raises((UnknownTable, psycopg.errors.SyntaxError, psycopg.errors.InvalidName)):
        enable(owner, table, **options)  # type: ignore[arg-type]
    assert policies(owner) == []


def test_it_fails_whole(owner: Conn) -> None:
    with pytest.raises(psycopg.errors.UndefinedObject):
        enable(owner, "sites", admin_role="nobody_at_all")
    assert policies(owner) == []


# ── the command ──────────────────────────────────────────────────────────────────


def test_the_command(servers: Servers, database: str, capsys: pytest.CaptureFixture[str]) -> None:
    url = servers.dsn(database, user=OWNER)
    run = runner(url)
    run("CREATE TABLE sites (id serial PRIMARY KEY, customer_id bigint NOT NULL)")
    try:
        enabling = ["enable", "public.sites", "--column", "customer_id", "--url", url]
        assert cli.run([*enabling, "--dry-run"]) == 0
        printed = capsys.readouterr().out
        assert run("SELECT count(*) FROM pg_policy") == [(0,)]
        assert cli.run(enabling) == 0
        assert "as asked now" in capsys.readouterr().err
        made = run("SELECT policyname, qual, with_check FROM pg_policies ORDER BY 1")
        assert len(made) == 5
        assert cli.run(enabling) == 0
        assert "already" in capsys.readouterr().err
        assert cli.run(["disable", "sites", "--url", url]) == 0
        run(*printed.split(";\n")[:-1])
        assert run("SELECT policyname, qual, with_check FROM pg_policies ORDER BY 1") == made
        assert cli.run(["enable", "nowhere", "--url", url]) == 1
        assert "no table nowhere" in capsys.readouterr().err
        assert cli.run(["enable", "sites", "--url", "port=1 host=/nowhere"]) == 3
        run(sql.SQL("DROP POLICY tenant_select ON sites").as_string())
        assert cli.run([*enabling, "--no-admin"]) == 0
        assert len(run("SELECT policyname FROM pg_policies")) == 4
    finally:
        run("DROP TABLE sites")


def test_the_database_may_be_named_by_the_environment(
    servers: Servers, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", servers.dsn(database, user=OWNER))
    assert cli.run(["enable", "nowhere"]) == 1
