"""A database that moves to an instance of its own and back, with all that it has."""

import datetime as dt
import itertools
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import psycopg
import pytest

from answers import data, problem
from clients import ENDPOINTS, ask, changed, do, eventually, finished, hurry, login, refusal
from harness import Installation

Row = dict[str, Any]


@pytest.fixture(scope="module")
def platform() -> Iterator[Installation]:
    """An installation of its own: it is backed up, and has instances."""
    found = Installation(
        {
            "TENANTRY_BACKUPS": "on",
            "TENANTRY_WARM_POOL": "1",
            "TENANTRY_INSTANCE_MEMORY_MB": "128",
        }
    )
    try:
        found.up()
        hurry(found)
        yield found
    finally:
        found.remove()


@pytest.fixture
def api(platform: Installation) -> Iterator[httpx.Client]:
    with platform.client() as client:
        yield client


def moved(api: httpx.Client, database: Row, **asked: object) -> Row:
    """The result of a move that succeeds; the database's strings are the new ones."""
    operation = data(api.post(f"/api/databases/{database['id']}/move", json=asked), 202)
    done = finished(api, operation["id"])
    assert done["status"] == "succeeded", done["error"]
    database["connection_string"] = changed(
        database["connection_string"], port=str(done["result"]["port"])
    )
    result: Row = done["result"]
    return result


def shown(api: httpx.Client, database: Row) -> Row:
    row: Row = data(api.get(f"/api/databases/{database['id']}"))
    return row


@pytest.fixture(scope="module")
def shop(platform: Installation) -> Row:
    made = platform.create(name="shop")
    do(
        made["connection_string"],
        "CREATE TABLE held AS SELECT n FROM generate_series(1, 1000) n;"
        "CREATE EXTENSION citext;"
        "ALTER ROLE current_user SET work_mem = '5MB'",
    )
    return made


def test_a_preview_changes_nothing(platform: Installation, api: httpx.Client, shop: Row) -> None:
    path = f"/api/databases/{shop['id']}/move"
    found = data(api.post(path, json={"kind": "dedicated", "dry_run": True}))
    assert (found["kind"], found["cluster"], found["left_out"]) == ("dedicated", None, [])
    assert (found["basis"], found["max_wait_seconds"]) == ("assumed", 60)
    assert found["expected_wait_seconds"] > 3
    assert found["port"] != platform.pg_port
    assert shown(api, shop)["kind"] == "shared"
    said = platform.tenantry("db", "move", "shop", "--to", "dedicated", "--dry-run").stdout
    assert "an instance of its own" in said
    refused = platform.tenantry("db", "move", "shop", "--to", "dedicated", check=False)
    assert "--yes" in refused.stderr


def test_what_cannot_be_is_refused_before_anything_is_made(
    platform: Installation, api: httpx.Client, shop: Row
) -> None:
    path = f"/api/databases/{shop['id']}/move"
    for body, field in (
        ({"kind": "dedicated", "max_wait_seconds": 1}, "max_wait_seconds"),
        ({"kind": "dedicated", "version": 99}, "version"),
        ({"kind": "shared", "cluster": "shared-9"}, "cluster"),
    ):
        assert problem(api.post(path, json=body), 422)["errors"][0]["field"] == field
    problem(api.post(path, json={"kind": "dedicated", "cluster": "shared-1"}), 422)
    problem(api.post(path, json={"kind": "shared", "memory_mb": 256}), 422)
    already = problem(api.post(path, json={"kind": "shared"}), 409)
    assert "is on the shared cluster shared-1 already" in already["detail"]
    most = {"kind": "dedicated", "memory_mb": 16_000_000}
    assert "are given away" in problem(api.post(path, json=most), 409)["detail"]
    nameless = platform.create(friendlyName="Without")
    refused = problem(
        api.post(f"/api/databases/{nameless['id']}/move", json={"kind": "dedicated"}), 409
    )
    assert "has no name" in refused["detail"]
    assert data(api.get("/api/operations", params={"kind": "database.move"})) == []


@contextmanager
def writing(url: str) -> Iterator[list[int]]:
    """A client that inserts rows without pause; it has to be able to after the block, too."""
    stop = threading.Event()
    written: list[int] = []

    def write() -> None:
        with login(url) as session:
            for n in itertools.count(2000):
                if stop.is_set():
                    return
                session.execute("INSERT INTO held VALUES (%s)", (n,))
                written.append(n)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        eventually(lambda: written)
        yield written
        count = len(written)
        eventually(lambda: len(written) > count)
    finally:
        stop.set()
        writer.join()


def test_it_moves_with_all_that_it_has(
    platform: Installation, api: httpx.Client, shop: Row
) -> None:
    path = f"/api/databases/{shop['id']}"
    role = data(api.post(f"{path}/roles", json={"name": "reporting"}), 201)
    lists = [{"ip_address": "127.0.0.0/8"}, {"ip_address": "::1"}]
    data(api.put(f"{path}/whitelist", json={"entries": lists}))
    shop["keys"] = data(api.put(f"{path}/data-api", json={}))
    before = shop["connection_string"]
    branch = data(api.post(f"{path}/branches", json={"name": "early"}), 202)
    finished(api, branch["operation"]["id"])
    platform.back_up("shared-1")
    shop["moment"] = dt.datetime.now(dt.UTC).isoformat()
    do(before, "INSERT INTO held VALUES (1001)")
    with writing(shop["connection_string_pooled"]) as written, login(before) as session:
        result = moved(api, shop, kind="dedicated", memory_mb=256)
        with pytest.raises(psycopg.OperationalError):
            session.execute("SELECT 1")
    row = shown(api, shop)
    assert (row["kind"], row["container_name"]) == ("dedicated", "shop-production-postgres")
    for name in ("id", "database_name", "username"):
        assert row[name] == shop[name]
    assert (result["cluster"], result["lost"]) == (row["cluster"], [])
    expected = 1001 + len(written)
    for endpoint in ENDPOINTS:
        assert ask(shop[endpoint], "SELECT count(*) FROM held") == expected
        assert ask(shop[endpoint], "SHOW work_mem") == "5MB"
        assert ask(shop[endpoint], "SELECT 'A'::citext = 'a'") is True
    assert ask(shop["shadow_database_url_pooled"]) == 1
    reporting = changed(role["connection_string"], port=str(result["port"]))
    for url in (reporting, role["connection_string_pooled"]):
        assert ask(url, "SELECT count(*) FROM held") == expected
    refusal(before)
    data(api.put(f"{path}/whitelist", json={"entries": [{"ip_address": "203.0.113.7"}]}))
    refusal(shop["connection_string"])
    data(api.put(f"{path}/whitelist", json={"entries": []}))
    # A branch of before the move stays where it was.
    for verb in (f"{path}/branches/{branch['id']}/reset", f"/api/databases/{branch['id']}/promote"):
        assert "not on the same cluster" in problem(api.post(verb, json={}), 409)["detail"]
    assert api.delete(f"/api/databases/{branch['id']}").is_success


def test_its_data_api_goes_on(shop: Row) -> None:
    do(shop["connection_string"], "GRANT SELECT ON held TO anon")
    url = f"{shop['keys']['rest_url']}/held?n=eq.1001"
    with httpx.Client(headers={"apikey": shop["keys"]["anon_key"]}, timeout=10) as client:
        eventually(lambda: client.get(url).is_success)
        assert client.get(url).json() == [{"n": 1001}]


def test_the_original_is_retained_and_its_past_can_be_restored(
    api: httpx.Client, shop: Row
) -> None:
    path = f"/api/databases/{shop['id']}"
    (old,) = data(api.get(f"{path}/replaced"))
    assert "_before_" in old["database_name"]
    assert old["can_be_put_back"] is False
    back = {"to": "previous", "as": "in_place"}
    assert "was moved from" in problem(api.post(f"{path}/restore", json=back), 409)["detail"]
    # The backups of the shared cluster have what was there before the move.
    wanted = {"to": shop["moment"], "name": "earlier"}
    restored = finished(api, data(api.post(f"{path}/restore", json=wanted), 202)["id"])
    assert restored["status"] == "succeeded", restored["error"]
    assert restored["result"]["rows"] == 1000
    assert api.delete(f"/api/databases/{restored['result']['database_id']}").is_success


def test_what_takes_too_long_is_undone(
    platform: Installation, api: httpx.Client, shop: Row
) -> None:
    do(
        shop["connection_string"],
        "CREATE FUNCTION slow(bigint) RETURNS bigint IMMUTABLE LANGUAGE sql AS 'SELECT $1';"
        "CREATE TABLE slowly AS SELECT n::bigint FROM generate_series(1, 1000) n;"
        "CREATE INDEX ON slowly (slow(n));"
        "CREATE OR REPLACE FUNCTION slow(bigint) RETURNS bigint IMMUTABLE LANGUAGE plpgsql"
        " AS 'BEGIN PERFORM pg_sleep(0.1); RETURN $1; END'",
    )
    path = f"/api/databases/{shop['id']}"
    body = {"kind": "shared", "max_wait_seconds": 5}
    failed = finished(api, data(api.post(f"{path}/move", json=body), 202)["id"])
    assert (failed["status"], failed["error"]["code"]) == ("failed", "move_too_long")
    for endpoint in ENDPOINTS:
        assert ask(shop[endpoint], "SELECT count(*) > 1000 FROM held") is True
    assert shown(api, shop)["kind"] == "dedicated"
    _, databases = platform.inventory()
    assert shop["database_name"] not in databases
    do(shop["connection_string"], "DROP TABLE slowly")


def test_it_moves_back_and_says_what_it_leaves(
    platform: Installation, api: httpx.Client, shop: Row
) -> None:
    path = f"/api/databases/{shop['id']}"
    do(shop["connection_string"], "CREATE DATABASE reports")
    refused = problem(api.post(f"{path}/move", json={"kind": "shared"}), 409)
    assert refused["code"] == "move_would_lose"
    assert "the database reports" in refused["detail"]
    instance = shown(api, shop)["cluster"]
    branch = data(api.post(f"{path}/branches", json={"name": "b"}), 202)
    finished(api, branch["operation"]["id"])
    asked = {"kind": "shared", "accept_losses": True}
    assert "also has b" in problem(api.post(f"{path}/move", json=asked), 409)["detail"]
    assert api.delete(f"/api/databases/{branch['id']}").is_success
    eventually(lambda: api.get(f"/api/databases/{branch['id']}").status_code == 404)
    data(api.patch(path, json={"auto_suspend_seconds": 3600}))
    moved(api, shop, **asked)
    after = shown(api, shop)
    assert (after["kind"], after["auto_suspend_seconds"]) == ("shared", None)
    for endpoint in ENDPOINTS:
        assert ask(shop[endpoint], "SELECT count(*) > 1000 FROM held") is True
        assert ask(shop[endpoint], "SHOW work_mem") == "5MB"
    with pytest.raises(psycopg.Error):
        do(shop["connection_string"], "CREATE DATABASE more")
    assert instance not in platform.pids()
    assert len(data(api.get(f"{path}/replaced"))) == 2


def test_it_moves_again_and_nothing_is_left_of_it(
    platform: Installation, api: httpx.Client, shop: Row
) -> None:
    result = moved(api, shop, kind="dedicated")
    for endpoint in ENDPOINTS:
        assert ask(shop[endpoint], "SELECT count(*) > 1000 FROM held") is True
    suffix = shop["database_name"].removeprefix("tenant_")
    assert result["cluster"] == f"db-{suffix[-6:]}"
    assert api.delete(f"/api/databases/{shop['id']}").is_success
    eventually(lambda: api.get(f"/api/databases/{shop['id']}").status_code == 404)
    roles, databases = platform.inventory()
    assert not [each for each in (*roles, *databases) if suffix in each]
    assert not list((platform.home / "clusters").glob("db-*"))
    assert {row["name"] for row in data(api.get("/api/clusters"))} == {"control", "shared-1"}
