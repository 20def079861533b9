"""What an import leaves out, brings nothing of, or finds in its way: from each kind of source."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from answers import data, problem
from clients import ask, do, run
from harness import Installation
from imported import ended, is_empty

Row = dict[str, Any]
Begin = Callable[..., httpx.Response]

KINDS = ["live", "custom", "tar", "plain"]
DUMP = {"Content-Type": "application/octet-stream"}
# As a superuser of the other server made it, for its login.
MONITORED = """
    CREATE EXTENSION pg_stat_statements SCHEMA public;
    COMMENT ON EXTENSION pg_stat_statements IS 'of their own';
    GRANT SELECT ON pg_stat_statements TO PUBLIC;
"""
SHOP = """
    CREATE TABLE customers (id int PRIMARY KEY, name text);
    INSERT INTO customers SELECT i, 'customer ' || i FROM generate_series(1, 20) i;
    CREATE VIEW slowest AS SELECT query FROM pg_stat_statements;
    COMMENT ON VIEW slowest IS 'to be looked at';
    CREATE VIEW slowest_of_all AS SELECT * FROM slowest;
    CREATE MATERIALIZED VIEW slow_yesterday AS SELECT query FROM pg_stat_statements WITH NO DATA;
    CREATE INDEX ON slow_yesterday (query);
    CREATE FUNCTION see() RETURNS SETOF pg_stat_statements LANGUAGE sql
        AS 'SELECT * FROM pg_stat_statements';
"""


def elsewhere(platform: Installation, name: str, privileged: str = "", own: str = "") -> Row:
    """A database that stands for one on another server."""
    made = platform.create(friendlyName=name, shadow=False)
    if privileged:
        with platform.superuser(dbname=made["database_name"]) as server:
            server.execute(privileged)
    if own:
        do(made["connection_string"], own)
    return made


def offered(api: httpx.Client, kind: str, source: str, folder: Path) -> Begin:
    """What sends a database's contents in this way, to an import or a preview."""
    if kind == "live":

        def begin(path: str, **asked: object) -> httpx.Response:
            return api.post(path, json={"from": source, **asked})

    else:
        file = folder / f"dump.{kind}"
        run("pg_dump", f"--format={kind}", f"--file={file}", source)

        def begin(path: str, **asked: object) -> httpx.Response:
            words = {name: str(value) for name, value in asked.items()}
            return api.post(path, content=file.read_bytes(), headers=DUMP, params=words)

    return begin


@pytest.fixture(scope="module")
def monitored(platform: Installation) -> Row:
    return elsewhere(platform, "Monitored", MONITORED, SHOP)


@pytest.mark.parametrize("kind", KINDS)
def test_an_extension_that_tenants_cannot_have_is_left_out_with_its_views(
    platform: Installation, api: httpx.Client, monitored: Row, tmp_path: Path, kind: str
) -> None:
    here = platform.create(friendlyName="Here", shadow=False)
    path = f"/api/databases/{here['id']}/import"
    begin = offered(api, kind, monitored["connection_string"], tmp_path)
    seen = data(begin(f"{path}/preview"))
    assert [(each["name"], each["available"]) for each in seen["extensions"]] == [
        ("pg_stat_statements", False)
    ]
    used = seen["extensions"][0]["used_by"]
    assert any("slowest" in each for each in used) if kind == "live" else used == []
    assert seen["warnings"] == []

    operation = ended(api, data(begin(path), 202))
    assert operation["status"] == "succeeded", operation
    result = operation["result"]
    assert result["warnings"] == []
    reported = result["left_out"]
    assert "EXTENSION pg_stat_statements: tenants cannot have it" in reported
    for name in ("slowest", "slowest_of_all", "slow_yesterday", "see"):
        assert any(name in each for each in reported), (name, reported)
    assert not any("COMMENT" in each and "pg_stat" in each for each in reported)
    url = here["connection_string"]
    assert ask(url, "SELECT count(*) FROM customers") == 20
    assert ask(url, "SELECT count(*) FROM pg_views WHERE schemaname = 'public'") == 0


@pytest.mark.parametrize("kind", KINDS)
def test_a_table_that_needs_one_is_lost_only_where_that_is_accepted(
    platform: Installation, api: httpx.Client, tmp_path: Path, kind: str
) -> None:
    source = elsewhere(
        platform,
        "Linked",
        "CREATE EXTENSION dblink SCHEMA public",
        "CREATE TABLE keys (at dblink_pkey_results); CREATE TABLE others (x int)",
    )
    here = platform.create(friendlyName="Not linked", shadow=False)
    path = f"/api/databases/{here['id']}/import"
    begin = offered(api, kind, source["connection_string"], tmp_path)
    if kind == "live":
        reported = problem(begin(path), 422)
        assert reported["errors"][0]["code"] == "unavailable_extension"
        assert "dblink (tenants cannot have it), which column at of table" in str(
            reported["errors"]
        )
        assert "exclude_tables" in str(reported["errors"])
        assert "accept_losses" in str(reported["errors"])
        without = begin(path, exclude_tables=["keys"])
        assert ended(api, data(without, 202))["status"] == "succeeded"
        do(here["connection_string"], "DROP TABLE others")
    else:
        operation = ended(api, data(begin(path), 202))
        assert operation["status"] == "failed", operation
        assert "dblink_pkey_results" in operation["error"]["detail"]
    assert is_empty(here)
    operation = ended(api, data(begin(path, accept_losses=True), 202))
    assert operation["status"] == "succeeded", operation
    left_out = operation["result"]["left_out"]
    assert "EXTENSION dblink: tenants cannot have it" in left_out
    assert any("keys" in each and "does not exist" in each for each in left_out), left_out
    assert ask(here["connection_string"], "SELECT count(*) FROM others") == 0


@pytest.mark.parametrize("kind", KINDS)
def test_an_import_of_nothing_warns(
    platform: Installation, api: httpx.Client, tmp_path: Path, kind: str
) -> None:
    empty = elsewhere(platform, "Empty")
    begin = offered(api, kind, empty["connection_string"], tmp_path)
    here = platform.create(friendlyName="Still empty", shadow=False)
    path = f"/api/databases/{here['id']}/import"
    where = f"{empty['database_name']} at localhost" if kind == "live" else "the dump"
    seen = data(begin(f"{path}/preview"))
    assert seen["warnings"] == [f"There are no tables to import: {where} has none."]
    operation = ended(api, data(begin(path), 202))
    assert operation["status"] == "succeeded", operation
    assert operation["result"]["warnings"] == [
        f"Nothing was imported: {where} has no tables, functions or other objects."
    ]
    do(empty["connection_string"], "CREATE FUNCTION one() RETURNS int LANGUAGE sql AS 'SELECT 1'")
    begin = offered(api, kind, empty["connection_string"], tmp_path)
    operation = ended(api, data(begin(path), 202))
    assert operation["result"]["warnings"] == [
        f"No tables were imported: {where} has none, only other objects (1)."
    ]


def test_the_command_line_warns_of_nothing(platform: Installation, tmp_path: Path) -> None:
    platform.create(name="hollow", shadow=False)
    file = tmp_path / "settings.sql"
    file.write_text("SET client_encoding = 'UTF8';\nSET statement_timeout = 0;\n")
    words = ("import", "hollow", "--file", str(file))
    seen = platform.tenantry(*words, "--preview")
    assert "! There are no tables to import: the dump has none." in seen.stderr
    assert json.loads(platform.tenantry(*words, "--preview", "--json").stdout)["warnings"]
    reported = platform.tenantry(*words)
    assert "! Nothing was imported: the dump has no tables" in reported.stderr
    assert "✓" not in reported.stderr
    operation = json.loads(platform.tenantry(*words, "--json").stdout)
    assert operation["result"]["warnings"]


LEFT = """
    CREATE SCHEMA sales; CREATE TABLE sales.orders (x int);
    CREATE SCHEMA "Audit";
    CREATE TABLE a (id serial); CREATE VIEW b AS SELECT 1 AS x; CREATE SEQUENCE numbers;
    CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1';
    CREATE TYPE mood AS ENUM ('good'); CREATE DOMAIN positive AS int;
    CREATE EXTENSION pg_trgm;
    CREATE SCHEMA extensions; CREATE EXTENSION citext SCHEMA extensions;
    SELECT lo_create(4711);
"""


@pytest.mark.parametrize("kind", ["live", "plain"])
def test_what_is_left_in_the_database_is_named(
    platform: Installation, api: httpx.Client, tmp_path: Path, kind: str
) -> None:
    source = elsewhere(platform, "Source", own="CREATE TABLE t (x int)")
    here = elsewhere(platform, "Tried before", own=LEFT)
    path = f"/api/databases/{here['id']}/import"
    begin = offered(api, kind, source["connection_string"], tmp_path)
    for answer in (begin(path), begin(f"{path}/preview")):
        reported = problem(answer, 409)
        assert reported["code"] == "database_not_empty"
        assert reported["detail"] == (
            "Tried before is not empty. An import needs an empty database, and here is already,"
            ' perhaps from an earlier try: schemas "Audit", sales; table public.a; view public.b;'
            " sequence public.numbers; function public.f; types public.mood, public.positive;"
            " large object 4711."
        )
        assert 'DROP SCHEMA "Audit", sales CASCADE' in reported["hint"]
    do(
        here["connection_string"],
        'DROP SCHEMA "Audit", sales CASCADE; DROP TABLE a; DROP VIEW b; DROP SEQUENCE numbers;'
        " DROP FUNCTION f; DROP TYPE mood; DROP DOMAIN positive; SELECT lo_unlink(4711)",
    )
    assert ended(api, data(begin(path), 202))["status"] == "succeeded"


POLICIES = """
    CREATE TABLE notes (id int PRIMARY KEY, owner uuid DEFAULT auth.uid(), text text);
    INSERT INTO notes VALUES (1, '0b7c1a52-f3aa-4c8d-a021-3b0daf01c7d5', 'a note');
    ALTER TABLE notes ADD FOREIGN KEY (owner) REFERENCES auth.users NOT VALID;
    ALTER TABLE notes ENABLE ROW LEVEL SECURITY;
    CREATE POLICY own ON notes TO authenticated USING (owner = auth.uid());
    GRANT SELECT, INSERT ON notes TO authenticated;
"""


@pytest.mark.parametrize("kind", ["live", "plain"])
def test_a_database_with_a_data_api_takes_what_was_made_for_one(
    platform: Installation, api: httpx.Client, tmp_path: Path, kind: str
) -> None:
    source, here = (elsewhere(platform, name) for name in ("Supabase", "Moved"))
    for each in (source, here):
        data(api.put(f"/api/databases/{each['id']}/data-api", json={"auth": {}}))
    do(source["connection_string"], POLICIES)
    path = f"/api/databases/{here['id']}/import"
    if kind == "live":
        started = api.post(path, json={"from": source["connection_string"], "schemas": ["public"]})
    else:
        run("pg_dump", "--schema=public", f"--file={tmp_path / 'd'}", source["connection_string"])
        started = api.post(path, content=(tmp_path / "d").read_bytes(), headers=DUMP)
    operation = ended(api, data(started, 202))
    assert operation["status"] == "succeeded", operation["error"]
    assert [each["name"] for each in operation["result"]["tables"]] == ["public.notes"]
    assert ask(here["connection_string"], "SELECT polroles::regrole[]::text FROM pg_policy") == (
        "{authenticated}"
    )
    assert ask(
        here["connection_string"],
        "SELECT has_table_privilege('authenticated', 'notes', 'INSERT')"
        " AND has_table_privilege('service_role', 'notes', 'DELETE')"
        " AND NOT has_table_privilege('anon', 'notes', 'SELECT')",
    )
    key = "SELECT confrelid::regclass::text FROM pg_constraint WHERE contype = 'f'"
    assert ask(here["connection_string"], f"{key} AND conrelid = 'notes'::regclass") == "auth.users"
