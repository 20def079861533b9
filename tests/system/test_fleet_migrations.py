"""One folder over many databases: a canary first, a stop at failures, a report of each."""

import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import psycopg
import pytest

from answers import data, problem
from browsing import Visitor, visiting
from clients import ask, do, eventually
from harness import Installation

Row = dict[str, Any]
COUNT = 20
ONE = {"1_a.up.sql": "CREATE TABLE a (id int PRIMARY KEY); INSERT INTO a VALUES (1);"}
TWO = ONE | {"2_b.up.sql": "ALTER TABLE a ADD b int;"}


def body(files: dict[str, str], owner: str, **more: object) -> Row:
    listed = [{"name": name, "sql": text} for name, text in files.items()]
    return {"files": listed, "ownerEmail": owner, **more}


@pytest.fixture(scope="module")
def owner() -> str:
    return f"fleet-{uuid4().hex[:8]}@example.com"


@pytest.fixture(scope="module")
def fleet(platform: Installation, owner: str) -> list[Row]:
    """Twenty databases of one owner, in the order in which they are migrated."""
    made = [
        platform.create(
            ownerEmail=owner, environment="staging" if number < 2 else "production", shadow=False
        )
        for number in range(COUNT)
    ]
    return sorted(made, key=lambda row: (row["environment"] == "production", row["database_name"]))


@pytest.fixture
def admin(platform: Installation) -> Iterator[Visitor]:
    with visiting(platform, platform.key) as visitor:
        yield visitor


@pytest.fixture
def run(api: httpx.Client) -> Callable[[Row], tuple[Row, list[Row]]]:
    def go(asked: Row) -> tuple[Row, list[Row]]:
        started = data(api.post("/api/migrations", json=asked), 202)
        return ended(api, started["id"])

    return go


def ended(api: httpx.Client, operation_id: str) -> tuple[Row, list[Row]]:
    rows: list[Row] = []

    def over() -> bool:
        rows.append(data(api.get(f"/api/operations/{operation_id}")))
        return rows[-1]["status"] in {"succeeded", "failed", "cancelled"}

    eventually(over)
    report = data(api.get(f"/api/migrations/{operation_id}", params={"limit": 1000}))
    return rows[-1], report


def statuses(report: list[Row]) -> dict[str, int]:
    found = [row["status"] for row in report]
    return {status: found.count(status) for status in sorted(set(found))}


def test_a_bad_canary_stops_all(
    run: Callable[[Row], tuple[Row, list[Row]]], fleet: list[Row], owner: str
) -> None:
    do(fleet[0]["connection_string"], "CREATE TABLE a ()")
    operation, report = run(body(ONE, owner, maxFailures=100))
    assert (operation["status"], operation["error"]["code"]) == ("failed", "fleet_stopped")
    assert "1_a.up.sql" in operation["error"]["detail"]
    assert statuses(report) == {"failed": 1, "pending": COUNT - 1}
    assert report[0]["error"]["code"] == "migration_failed"
    assert (report[0]["version"], report[0]["dirty"]) == (None, False)
    do(fleet[0]["connection_string"], "DROP TABLE a")


def test_it_stops_at_a_failure_and_goes_on_where_it_stopped(
    run: Callable[[Row], tuple[Row, list[Row]]], fleet: list[Row], owner: str
) -> None:
    bad = fleet[COUNT // 2]
    do(bad["connection_string"], "CREATE TABLE a ()")
    operation, report = run(body(ONE, owner, parallel=4))
    assert operation["status"] == "failed"
    found = statuses(report)
    assert found["failed"] == 1
    assert found["succeeded"] >= COUNT // 2 - 3
    assert found["pending"] > 0  # how many depends on how long the failing one takes
    assert [row["database_name"] for row in report if row["status"] == "failed"] == [
        bad["database_name"]
    ]

    do(bad["connection_string"], "DROP TABLE a")
    again, report = run(body(ONE, owner, parallel=8))
    assert again["status"] == "succeeded"
    assert again["result"] == {
        "databases": COUNT,
        "succeeded": COUNT,
        "failed": 0,
        "skipped": 0,
        "pending": 0,
    }
    assert {row["version"] for row in report} == {1}
    assert sorted({row["steps"] for row in report}) == [0, 1]
    assert ask(fleet[-1]["connection_string"], "SELECT count(*) FROM a") == 1


def test_within_the_budget_it_goes_on_and_clients_notice_nothing(
    api: httpx.Client,
    run: Callable[[Row], tuple[Row, list[Row]]],
    fleet: list[Row],
    owner: str,
    admin: Visitor,
) -> None:
    """Each of the others is read all the while through the pooler, by prepared statements."""
    bad = fleet[3]
    do(bad["connection_string"], "ALTER TABLE a ADD b int")
    failures: list[str] = []
    wide = threading.Event()
    stop = threading.Event()

    def read(url: str) -> None:
        with psycopg.connect(url, autocommit=True, prepare_threshold=0) as client:
            while not stop.is_set():
                try:
                    row = client.execute("SELECT * FROM a").fetchone()
                    if row and len(row) == 2:
                        wide.set()
                except psycopg.Error as error:
                    failures.append(str(error))

    readers = [
        threading.Thread(target=read, args=(each["connection_string_pooled"],))
        for each in (fleet[0], fleet[5], fleet[-1])
    ]
    for each in readers:
        each.start()
    try:
        operation, report = run(body(TWO, owner, maxFailures=1))
        assert wide.wait(120)
    finally:
        stop.set()
        for each in readers:
            each.join()
    assert failures == []
    assert operation["status"] == "succeeded", operation["error"]
    assert statuses(report) == {"failed": 1, "succeeded": COUNT - 1}
    do(bad["connection_string"], "ALTER TABLE a DROP b")
    for row in (bad, fleet[-1]):  # the run is one of the operations of each
        listed = data(api.get("/api/operations", params={"resource_id": row["id"]}))
        assert listed[0]["id"] == operation["id"]
    page = admin.page(f"/migrations/{operation['id']}")
    assert "Succeeded in part" in page
    assert f"{COUNT - 1} succeeded, 1 failed" in page
    assert f"of {owner}" in page
    assert "2_b.up.sql" in admin.page("/migrations")
    assert '<span class="dot bad"></span>Failed' in admin.page(f"/databases/{bad['id']}")
    there = admin.page(f"/databases/{fleet[-1]['id']}/operations")
    assert '<span class="dot ok"></span>Succeeded' in there
    events = data(api.get(f"/api/databases/{fleet[-1]['id']}/timeline"))
    assert events[0]["kind"] == "database.migrate"


def test_one_that_is_cancelled_begins_no_other(
    api: httpx.Client, platform: Installation, fleet: list[Row], owner: str
) -> None:
    slow = TWO | {"3_c.up.sql": "CREATE TABLE c (); SELECT pg_sleep(60);"}
    started = data(
        api.post("/api/migrations", json=body(slow, owner, environment="production")), 202
    )
    asleep = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'"
    with platform.superuser() as server:
        eventually(lambda: server.execute(asleep).fetchone() == (1,))
        data(api.post(f"/api/operations/{started['id']}/cancel"), 202)
        operation, report = ended(api, started["id"])
        assert server.execute(asleep).fetchone() == (0,)
    assert operation["status"] == "cancelled"
    assert statuses(report) == {"pending": COUNT - 2}
    assert fleet


def test_it_is_shown_first_and_aimed(api: httpx.Client, fleet: list[Row], owner: str) -> None:
    def shown(**more: object) -> list[str]:
        answer = api.post("/api/migrations", json={"ownerEmail": owner, "dryRun": True, **more})
        found = data(answer, 200)
        assert found["count"] == len(found["databases"])
        return [row["database_name"] for row in found["databases"]]

    names = [row["database_name"] for row in fleet]
    assert shown() == names
    assert shown(without_blueprint=True, environment="staging") == names[:2]
    for row in fleet[1:3]:
        data(api.patch(f"/api/databases/{row['id']}", json={"tags": ["aimed", "x"]}), 200)
    assert shown(tags=["aimed"]) == names[1:3]
    assert shown(tags=["x", "aimed"], environment="staging") == names[1:2]
    assert problem(api.post("/api/migrations", json=body(ONE, owner, tags=["aimed", "y"])), 404)
    ids = [row["id"] for row in fleet]
    assert shown(database_ids=ids[3:6]) == names[3:6]
    assert shown(database_ids=ids[3:6], exclude_ids=ids[4:]) == [names[3]]
    strange = api.post("/api/migrations", json=body(ONE, owner, database_ids=[str(uuid4())]))
    assert problem(strange, 422)["errors"][0]["field"] == "database_ids"
    # One in production is none of those in staging.
    other = body(ONE, owner, environment="staging", database_ids=[ids[-1]])
    assert problem(api.post("/api/migrations", json=other), 422)
    assert problem(api.post("/api/migrations", json=body(ONE, owner, exclude_ids=ids)), 404)
    both = body(ONE, owner, blueprint="hosting", without_blueprint=True)
    assert problem(api.post("/api/migrations", json=both), 422)


def test_the_command_reports_of_each(
    platform: Installation, fleet: list[Row], owner: str, tmp_path: Path
) -> None:
    for name, text in TWO.items():
        (tmp_path / name).write_text(text)
    done = platform.tenantry(
        *("migrate", "up", "--all", "--path", str(tmp_path), "--selector", f"owner={owner}"),
        *("--selector", "environment=staging", "--json"),
    )
    reported = json.loads(done.stdout)
    assert reported["operation"]["status"] == "succeeded"
    assert [row["database_name"] for row in reported["databases"]] == [
        row["database_name"] for row in fleet[:2]
    ]


def test_nobody_migrates_anothers(platform: Installation, api: httpx.Client, owner: str) -> None:
    key = data(
        api.post(
            "/api/api-keys",
            json={
                "name": "other",
                "scopes": ["databases:read", "databases:write"],
                "customer_email": f"other-{uuid4().hex[:8]}@example.com",
            },
        ),
        201,
    )["key"]
    started = data(api.post("/api/migrations", json=body(ONE, owner, environment="staging")), 202)
    with platform.client(key) as other:
        assert problem(other.get(f"/api/migrations/{started['id']}"), 404)
        assert problem(other.post("/api/migrations", json=body(ONE, owner)), 404)
    ended(api, started["id"])
