"""SQL by the API and the CLI: who may, what is recorded, and what is too much."""

import hashlib
import json
import socket
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from answers import data, problem
from clients import do, eventually
from harness import Installation

Row = dict[str, Any]


def key(api: httpx.Client, *scopes: str, **more: object) -> str:
    body = {"name": "sql", "scopes": scopes, **more}
    return str(data(api.post("/api/api-keys", json=body), 201)["key"])


@pytest.fixture
def orders(platform: Installation) -> Row:
    """A production database with a table of three rows."""
    made = platform.create()
    do(
        made["connection_string"],
        "CREATE TABLE orders AS SELECT i AS id, 'v' || i AS v FROM generate_series(1, 3) i",
    )
    return made


def sql(client: httpx.Client, database: Row, text: str, **more: object) -> httpx.Response:
    path = f"/api/databases/{database['id']}/sql"
    return client.post(path, json={"sql": text, **more}, timeout=60)


def peak(platform: Installation) -> int:
    """The most memory that the API had at once, in KiB."""
    status = Path(f"/proc/{platform.pids()['api']}/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:"))


def count(database: Row) -> object:
    with psycopg.connect(database["connection_string"]) as session:
        row = session.execute("SELECT count(*) FROM orders").fetchone()
        return row and row[0]


def test_rows_are_read_and_in_production_not_changed(api: httpx.Client, orders: Row) -> None:
    found = data(sql(api, orders, "SELECT * FROM orders ORDER BY id; SELECT 'ä'"))
    assert [each["rows"] for each in found["results"]] == [
        [[1, "v1"], [2, "v2"], [3, "v3"]],
        [["ä"]],
    ]
    said = problem(sql(api, orders, "SELECT 1;\nDELETE FROM orders"), 422)
    assert (said["code"], said["sqlstate"]) == ("statement_failed", "25006")
    assert (said["statement"], said["line"], said["column"]) == (2, 2, 1)
    assert "read_only" in said["hint"]
    assert count(orders) == 3
    data(sql(api, orders, "DELETE FROM orders WHERE id = 1", read_only=False))
    assert count(orders) == 2


def test_a_run_with_a_key_writes_at_most_once(api: httpx.Client, orders: Row) -> None:
    def run(text: str, *, read_only: bool) -> httpx.Response:
        return api.post(
            f"/api/databases/{orders['id']}/sql",
            json={"sql": text, "read_only": read_only},
            headers={"Idempotency-Key": f"run-{orders['id']}"},
        )

    add = "INSERT INTO orders VALUES (4)"
    problem(run("INSERT INTO nothing VALUES (4)", read_only=False), 422)
    data(run(add, read_only=False))
    assert problem(run(add, read_only=False), 409)["code"] == "conflict"
    assert problem(run("DELETE FROM orders", read_only=False), 422)["code"] == (
        "idempotency_key_reused"
    )
    for _ in range(2):
        data(run("SELECT 1", read_only=True))
    assert count(orders) == 4


def test_a_run_that_commits_itself_and_fails_is_not_repeated(
    api: httpx.Client, orders: Row
) -> None:
    text = "DO $$ BEGIN INSERT INTO orders VALUES (4); COMMIT; PERFORM 1 / 0; END $$"
    for status, code in ((422, "statement_failed"), (409, "conflict")):
        again = api.post(
            f"/api/databases/{orders['id']}/sql",
            json={"sql": text, "read_only": False},
            headers={"Idempotency-Key": f"commits-{orders['id']}"},
        )
        assert problem(again, status)["code"] == code
    assert count(orders) == 4


def test_elsewhere_a_run_may_write_unless_it_says_otherwise(
    platform: Installation, api: httpx.Client
) -> None:
    made = platform.create(environment="staging")
    data(sql(api, made, "CREATE TABLE orders (id int)"))
    assert count(made) == 0
    problem(sql(api, made, "DROP TABLE orders", read_only=True), 422)
    with platform.client(key(api, "admin", "data:read")) as reader:
        problem(sql(reader, made, "DROP TABLE orders"), 422)
        problem(sql(reader, made, "DROP TABLE orders", read_only=False), 403)
    assert count(made) == 0


@pytest.mark.parametrize("text", ["COMMIT; DELETE FROM orders", "BEGIN", "COPY orders FROM STDIN"])
def test_what_a_run_cannot_have_is_refused(api: httpx.Client, orders: Row, text: str) -> None:
    said = problem(sql(api, orders, text, read_only=False), 422)
    assert "line 1" in said["detail"]
    assert count(orders) == 3


def test_an_error_has_its_place(api: httpx.Client, orders: Row) -> None:
    said = problem(sql(api, orders, "SELECT 1;\n\nSELECT id,\n  nothing FROM orders"), 422)
    assert (said["sqlstate"], said["statement"]) == ("42703", 2)
    assert (said["line"], said["column"], said["position"]) == (4, 3, 25)
    said = problem(sql(api, orders, "SELECT 1;\nSELEC 2"), 422)
    assert said["line"] == 2
    problem(sql(api, orders, " -- nothing\n"), 422)
    problem(sql(api, orders, "SELECT 1", max_rows=10_001), 422)
    problem(sql(api, orders, "SELECT 1", timeout_ms=30_001), 422)
    said = problem(sql(api, orders, "SELECT pg_sleep(60)", timeout_ms=300), 409)
    assert said["code"] == "statement_too_long"


def test_a_value_without_room_in_memory_takes_none_of_the_apis(
    platform: Installation, api: httpx.Client, orders: Row
) -> None:
    before = peak(platform)
    problem(sql(api, orders, "SELECT repeat('x', 300000000)"), 409)
    large = "SELECT repeat('x', 60000) FROM generate_series(1, 1000)"
    [result] = data(sql(api, orders, large))["results"]
    assert result["truncated"]
    assert peak(platform) - before < 100 * 1024  # KiB


def test_only_named_scopes_show_rows(platform: Installation, api: httpx.Client) -> None:
    email = f"o{uuid.uuid4().hex[:8]}@example.com"
    own, foreign = platform.create(ownerEmail=email), platform.create()
    for scopes in (["admin"], ["databases:read", "databases:write", "audit:read"], ["data:write"]):
        with platform.client(key(api, *scopes)) as client:
            problem(sql(client, own, "SELECT 1"), 403)
    with platform.client(key(api, "data:read", customerEmail=email)) as client:
        data(sql(client, own, "SELECT 1", remember=True))
        assert len(data(client.get(f"/api/databases/{own['id']}/sql/texts"))) == 1
        problem(sql(client, own, "SELECT 1", read_only=False), 403)
        problem(sql(client, foreign, "SELECT 1"), 404)
        for path in ("sql/texts", "sql/names", "rows/csv?table=orders"):
            problem(client.get(f"/api/databases/{foreign['id']}/{path}"), 404)
        problem(client.post("/api/api-keys", json={"name": "k", "scopes": ["data:write"]}), 403)
    # A key that an administrator's key without these scopes makes may have them, since it names
    # them; one that it makes with ``admin`` alone does not.
    with platform.client(key(api, "admin")) as client:
        made = key(client, "data:read")
    with platform.client(made) as client:
        data(sql(client, foreign, "SELECT 1"))


def test_a_run_is_recorded_without_its_text(
    platform: Installation, api: httpx.Client, orders: Row
) -> None:
    word = f"w{uuid.uuid4().hex}"
    text = f"SELECT '{word}' FROM orders"  # noqa: S608
    data(sql(api, orders, text))
    problem(sql(api, orders, f"SELECT {word}"), 422)
    asked = {"action": "database.sql", "resource_id": orders["id"]}
    rows = data(api.get("/api/audit-logs", params=asked))
    assert [each["result"] for each in rows] == ["failed", "accepted", "ok", "accepted"]
    assert rows[0]["details"]["error"] == "42703"
    ended = rows[2]["details"]
    assert ended["sha256"] == hashlib.sha256(text.encode()).hexdigest()
    assert (ended["statements"], ended["rows"], ended["read_only"]) == (1, 3, True)
    assert word not in json.dumps(rows)
    assert word not in (platform.home / "logs" / "tenantry.log").read_text()


def test_a_client_that_leaves_cancels_its_run(
    platform: Installation, api: httpx.Client, orders: Row
) -> None:
    mark = f"m{uuid.uuid4().hex}"
    text = f"DELETE FROM orders WHERE pg_sleep(600) IS NULL AND '{mark}' <> ''"  # noqa: S608
    body = json.dumps({"sql": text, "read_only": False}).encode()
    head = [
        f"POST /api/databases/{orders['id']}/sql HTTP/1.1",
        "Host: localhost",
        f"X-API-Key: {platform.key}",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
    ]

    def runs() -> bool:
        with platform.superuser() as server:
            query = "SELECT 1 FROM pg_stat_activity WHERE query ~ %s AND pid <> pg_backend_pid()"
            return server.execute(query, (mark,)).fetchone() is not None

    with socket.create_connection(("127.0.0.1", platform.api_port), timeout=30) as peer:
        peer.sendall("\r\n".join([*head, "", ""]).encode() + body)
        eventually(runs)
    eventually(lambda: not runs())
    asked = {"action": "database.sql", "resource_id": orders["id"], "result": "failed"}
    eventually(lambda: data(api.get("/api/audit-logs", params=asked)))
    [row] = data(api.get("/api/audit-logs", params=asked))
    assert row["details"]["error"] == "cancelled"
    assert count(orders) == 3


def test_many_at_once_are_answered_or_refused(api: httpx.Client, orders: Row) -> None:
    with ThreadPoolExecutor(20) as threads:
        answers = list(threads.map(lambda _: sql(api, orders, "SELECT 1"), range(20)))
    assert {each.status_code for each in answers} <= {200, 429}
    assert sum(each.status_code == 200 for each in answers) >= 2
    data(sql(api, orders, "SELECT 1"))


def test_the_command_line(platform: Installation, orders: Row) -> None:
    name = orders["database_name"]
    shown = platform.tenantry("sql", name, "-c", "SELECT id, NULL AS none FROM orders ORDER BY id")
    assert shown.stdout.splitlines() == ["id  none", " 1  NULL", " 2  NULL", " 3  NULL"]
    printed = platform.tenantry("sql", name, "-c", "SELECT 'a,b' AS x, true AS y", "--csv")
    assert printed.stdout.splitlines() == ["x,y", '"a,b",true']
    found = json.loads(platform.tenantry("sql", name, "-c", "SELECT 1", "--json").stdout)
    assert found["results"][0]["rows"] == [[1]]
    platform.tenantry("sql", name, "--save", "one", "-c", "SELECT 1 AS one")
    assert platform.tenantry("sql", name, "--saved", "one").stdout.splitlines() == ["one", "  1"]
    assert "SELECT 1 AS one" in platform.tenantry("sql", name, "--texts").stdout
    refused = platform.tenantry("sql", name, "-c", "DELETE FROM orders", check=False)
    assert (refused.returncode, count(orders)) == (1, 3)
    assert "--write" in refused.stderr
    platform.tenantry("sql", name, "-c", "DELETE FROM orders", "--write")
    assert count(orders) == 0


def test_texts_are_saved_and_remembered_for_their_owner_alone(
    platform: Installation, api: httpx.Client, orders: Row
) -> None:
    path, word = f"/api/databases/{orders['id']}/sql/texts", f"w{uuid.uuid4().hex}"

    def listed(client: httpx.Client) -> list[tuple[str | None, str]]:
        return [(each["name"], each["sql"]) for each in data(client.get(path))]

    for text in (f"SELECT '{word}'", f"SELECT 2, '{word}'"):
        data(api.put(path, json={"name": "mine", "sql": text}))
    for text in ("SELECT 1", "SELECT 2", "SELECT 1", "SELECT 'password'"):
        data(sql(api, orders, text, remember=True))
    problem(sql(api, orders, "SELECT nothing", remember=True), 422)
    data(sql(api, orders, "SELECT 3"))
    saved = ("mine", f"SELECT 2, '{word}'")
    assert listed(api) == [saved, (None, "SELECT 1"), (None, "SELECT 2")]
    with platform.client(key(api, "data:read")) as other:
        assert listed(other) == []
        problem(other.delete(f"{path}/{data(api.get(path))[0]['id']}"), 404)
    with platform.control() as control:
        assert not any(word.encode() in row[0] for row in control.execute(
            "SELECT text FROM sql_texts"))  # fmt: skip
    assert word not in (platform.home / "logs" / "tenantry.log").read_text()
    data(api.delete(f"{path}/{data(api.get(path))[0]['id']}"))
    assert saved not in listed(api)
    problem(api.put(path, json={"name": " ", "sql": "SELECT 1"}), 422)


def test_names_are_those_of_the_tenant(api: httpx.Client, orders: Row) -> None:
    do(
        orders["connection_string"],
        "CREATE FUNCTION total() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    )
    found = data(api.get(f"/api/databases/{orders['id']}/sql/names"))
    assert found["tables"] == {"public": {"orders": ["id", "v"]}}
    assert (found["functions"], found["complete"]) == (["total"], True)
