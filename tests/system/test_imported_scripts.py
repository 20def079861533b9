"""Plain dumps, gzipped or not, through the product's endpoints: ours, others', and hostile ones."""

import gzip
from pathlib import Path
from typing import Any

import httpx
import pytest

from answers import data
from clients import ask, do, eventually, run
from harness import Installation
from imported import ROWS, SHOP, checksum, ended, is_clean, is_empty, owners

Row = dict[str, Any]


@pytest.fixture(scope="module")
def shop(platform: Installation) -> Row:
    made = platform.create(friendlyName="Shop to take along", shadow=False)
    do(made["connection_string"], SHOP)
    return made


@pytest.fixture(scope="module")
def target(platform: Installation) -> Row:
    """An empty database, which it is again after each import that fails."""
    return platform.create(name="target-of-scripts", shadow=False)


def started(api: httpx.Client, database: Row, script: bytes) -> Row:
    answer = api.post(
        f"/api/databases/{database['id']}/import",
        content=script,
        headers={"Content-Type": "application/octet-stream"},
    )
    operation: Row = data(answer, 202)
    return operation


def uploaded(api: httpx.Client, database: Row, script: bytes) -> Row:
    return ended(api, started(api, database, script))


def test_what_was_downloaded_is_uploaded(
    platform: Installation, api: httpx.Client, shop: Row
) -> None:
    path = f"/api/databases/{shop['id']}/backups"
    backup = ended(api, data(api.post(path, json={"format": "plain"}), 202))["result"]
    assert backup["file_name"].endswith(".sql.gz")
    file = api.get(f"{path}/{backup['backup_id']}/download").content
    here = platform.create(friendlyName="As downloaded", shadow=False)
    operation = uploaded(api, here, file)
    assert operation["status"] == "succeeded", operation
    result = operation["result"]
    assert {t["name"]: t["rows"] for t in result["tables"]} == ROWS | {"sales.totals": 1}
    assert result["left_out"] == []
    url = here["connection_string"]
    assert checksum(url) == checksum(shop["connection_string"])
    assert owners(url) == [here["username"]]
    do(url, "INSERT INTO customers (name) VALUES (' new '); DROP SCHEMA sales CASCADE")
    assert ask(url, "SELECT max(id) FROM customers") == 501
    is_clean(platform)


def test_a_dump_with_owners_and_grants_goes_through_the_command_line(
    platform: Installation, shop: Row, tmp_path: Path
) -> None:
    file = tmp_path / "shop.sql"
    file.write_text(run("pg_dump", "--clean", "--if-exists", shop["connection_string"]))
    assert f"OWNER TO {shop['username']}" in file.read_text()
    here = platform.create(name="by-the-command-line", shadow=False)
    reported = platform.tenantry("import", "by-the-command-line", "--file", str(file))
    assert "4 tables with 801 rows" in reported.stderr
    assert f"Left out: owners and grants for {shop['username']}" in reported.stderr
    assert checksum(here["connection_string"]) == checksum(shop["connection_string"])
    assert owners(here["connection_string"]) == [here["username"]]


HOSTILE = [
    ("\\! touch {marker}\n", "psql's"),
    ("\\restrict x\n\\unrestrict `touch {marker}`\n", "psql's"),
    ("COPY bait FROM PROGRAM 'touch {marker}';", "line 4: must be superuser"),
    ("SET ROLE {bystander};", "permission denied"),
    ("SET ROLE {tenant};", "permission denied"),
    ("DO $$BEGIN EXECUTE 'ALTER ROLE {tenant} NOLOGIN'; END$$;", "permission denied"),
    ("\\connect postgres\n", "connects to another database"),
    (
        "CREATE SCHEMA evil; CREATE FUNCTION evil.f() RETURNS int SECURITY DEFINER LANGUAGE sql"
        " AS 'SELECT 1'; SELECT lo_create(0) FROM generate_series(1, 1500); SELECT 1/0;",
        "division by zero",
    ),
]


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_script_gets_nowhere(
    platform: Installation, api: httpx.Client, shop: Row, target: Row, case: tuple[str, str]
) -> None:
    statements, said = case
    marker = platform.home / "marker"
    evil = statements.format(marker=marker, bystander=shop["username"], tenant=target["username"])
    operation = uploaded(api, target, b"\nCREATE TABLE bait (x int);\n\n" + evil.encode())
    assert operation["status"] == "failed", operation
    assert said in str(operation["error"])
    assert not marker.exists()
    assert is_empty(target)
    is_clean(platform)


def test_one_that_is_larger_than_it_looks_is_taken_back(
    platform: Installation, api: httpx.Client, target: Row
) -> None:
    small = platform.create(friendlyName="Small", diskQuotaBytes=32 * 1024 * 1024, shadow=False)
    row = b"x" * 1000 + b"\n"
    bomb = gzip.compress(
        b"CREATE TABLE t (x text);\nCOPY t FROM stdin;\n%s\\.\n" % (row * 60_000), 1
    )
    assert len(bomb) < 1024 * 1024
    operation = uploaded(api, small, bomb)
    assert operation["status"] == "failed", operation
    assert "quota" in operation["error"]["detail"]
    assert is_empty(small)
    cut = uploaded(api, target, bomb[:-100])
    assert "something of it is missing" in cut["error"]["detail"]
    assert is_empty(target)


def test_one_that_never_ends_is_cancelled(
    platform: Installation, api: httpx.Client, target: Row
) -> None:
    script = b"CREATE TABLE t (x int);\nSELECT pg_sleep(1e6);\n"
    operation = started(api, target, gzip.compress(script))

    def sleeps() -> bool:
        with platform.superuser() as server:
            return bool(
                server.execute(
                    "SELECT 1 FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep(1e6)%'"
                    " AND usename LIKE 'tenantry_visitor%'"
                ).fetchone()
            )

    eventually(sleeps)
    data(api.post(f"/api/operations/{operation['id']}/cancel"), 202)
    assert ended(api, operation)["status"] == "cancelled"
    assert not sleeps()
    assert is_empty(target)
    is_clean(platform)


def test_an_administrator_can_end_an_import_that_does_not_end(
    platform: Installation, api: httpx.Client
) -> None:
    owner = "stuck@example.org"
    here = platform.create(name="never-imported", ownerEmail=owner, shadow=False)
    operation = started(api, here, b"CREATE TABLE t (i int);\nSELECT pg_sleep(600);\n")
    eventually(lambda: data(api.get(f"/api/operations/{operation['id']}"))["step"] == "load")
    asked = {"name": "x", "scopes": ["databases:write"], "customer_email": owner}
    key = data(api.post("/api/api-keys", json=asked), 201)["key"]
    path = f"/api/operations/{operation['id']}/abandon"
    with platform.client(key) as customer:
        assert customer.post(path).status_code == 403
    abandoned = data(api.post(path))
    assert (abandoned["status"], abandoned["error"]["code"]) == ("failed", "operation_abandoned")
    assert api.post(path).status_code == 409
    reported = data(api.get("/api/audit-logs", params={"action": "operation.abandon"}))[0]
    assert reported["resource_id"] == operation["id"]
    assert reported["resource_name"] == f"database.import of {here['database_name']}"
    assert api.delete(f"/api/databases/{here['id']}").status_code in {200, 202}
    platform.reconcile()
    is_clean(platform)
