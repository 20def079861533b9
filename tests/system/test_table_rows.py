"""Rows by the API and the CLI: changed one by one, and copied as CSV."""

import json
import socket
from pathlib import Path
from typing import Any

import httpx
import pytest

from answers import data, problem
from clients import ask, do, eventually
from harness import Installation

Row = dict[str, Any]


@pytest.fixture
def orders(platform: Installation) -> Row:
    """A production database with a table of three rows."""
    made = platform.create()
    for statement in (
        "CREATE TABLE orders (id int PRIMARY KEY, v text, twice int GENERATED ALWAYS AS (id * 2)"
        " STORED)",
        "INSERT INTO orders (id, v) SELECT i, 'v' || i FROM generate_series(1, 3) i",
    ):
        do(made["connection_string"], statement)
    return made


def found(database: Row) -> object:
    query = "SELECT string_agg(concat(id, v), ' ' ORDER BY id) FROM orders"
    return ask(database["connection_string"], query)


def change(client: httpx.Client, database: Row, *changes: Row, **more: object) -> httpx.Response:
    body = {"table": "orders", "changes": changes, **more}
    return client.post(f"/api/databases/{database['id']}/rows", json=body)


def test_rows_are_changed_all_or_none(api: httpx.Client, orders: Row) -> None:
    version = ask(orders["connection_string"], "SELECT xmin::text FROM orders WHERE id = 1")
    update = {"action": "update", "key": {"id": 1}, "xmin": version, "values": {"v": "o'x"}}
    insert = {"action": "insert", "values": {"id": 4, "v": None}}
    delete = {"action": "delete", "key": {"id": 2}}
    shown = data(change(api, orders, update, insert, delete, dry_run=True))
    assert (shown["rows"], shown["sql"].count(";\n")) == (0, 2)
    assert found(orders) == "1v1 2v2 3v3"
    assert data(change(api, orders, update, insert, delete))["rows"] == 3
    assert found(orders) == "1o'x 3v3 4"
    # The first would succeed; the second row is no longer what it was.
    said = problem(change(api, orders, {"action": "delete", "key": {"id": 3}}, update), 409)
    assert (said["code"], "Change 2" in said["detail"]) == ("row_changed", True)
    problem(change(api, orders, {"action": "delete", "key": {"id": 2}}), 409)
    problem(change(api, orders, insert), 422)  # the key is taken
    problem(change(api, orders, {"action": "delete", "key": {"v": "v3"}}), 422)
    problem(change(api, orders, {"action": "insert", "values": {"id": 9, "twice": 1}}), 422)
    problem(change(api, orders, delete, table="nothing"), 404)
    assert found(orders) == "1o'x 3v3 4"


def test_a_repeated_request_changes_once(api: httpx.Client, orders: Row) -> None:
    do(orders["connection_string"], "CREATE TABLE notes (id serial PRIMARY KEY, v text)")
    body = {"table": "notes", "changes": [{"action": "insert", "values": {"v": "a"}}]}
    for _ in range(2):
        path, key = f"/api/databases/{orders['id']}/rows", {"Idempotency-Key": orders["id"]}
        assert data(api.post(path, json=body, headers=key))["rows"] == 1
    assert ask(orders["connection_string"], "SELECT count(*) FROM notes") == 1


def test_who_may_not_write_changes_nothing(
    platform: Installation, api: httpx.Client, orders: Row
) -> None:
    asked = {"name": "reader", "scopes": ["data:read"]}
    with platform.client(data(api.post("/api/api-keys", json=asked), 201)["key"]) as reader:
        problem(change(reader, orders, {"action": "delete", "key": {"id": 1}}, dry_run=True), 403)
        path = f"/api/databases/{orders['id']}/rows/csv?table=orders"
        headers = {"Content-Type": "text/csv"}
        problem(reader.post(path, content=b"id\n9\n", headers=headers), 403)
        assert reader.get(path).text.splitlines()[:2] == ["id,v", "1,v1"]
    assert found(orders) == "1v1 2v2 3v3"


def test_csv_is_copied_out_and_in(api: httpx.Client, orders: Row) -> None:
    path = f"/api/databases/{orders['id']}/rows/csv?table=orders"

    def send(text: str | bytes, **more: Any) -> httpx.Response:
        content = text.encode() if isinstance(text, str) else text
        return api.post(path, content=content, headers={"Content-Type": "text/csv"}, **more)

    assert data(send('v,id\r\n"a,b",4\r\n,5\r\n"",6\r\n'))["rows"] == 3
    answer = api.get(f"{path}&column=id&test=greater&value=3")
    assert answer.headers["content-type"].startswith("text/csv")
    assert answer.text.splitlines() == ["id,v", '4,"a,b"', "5,", '6,""']
    before = found(orders)
    said = problem(send("id,v\n7,x\nseven,y\n"), 422)
    assert (said["line"], said["sqlstate"]) == (3, "22P02")
    assert "line 3" in said["detail"]
    for text in (
        "",
        "id,w\n8,x\n",
        "v\nx\n",
        "id,twice\n8,16\n",
        "id\n8\n1\n",
        "id\n8\n\\.\n",
        'i"d\n8\n',
    ):
        problem(send(text), 422)
    problem(api.post(path, content=b"{}", headers={"Content-Type": "application/json"}), 415)
    assert found(orders) == before
    logged = data(api.get("/api/audit-logs", params={"action": "rows.import", "limit": 50}))
    mine = [each["result"] for each in logged if each["resource_id"] == orders["id"]]
    assert mine[-2:] == ["ok", "accepted"]
    assert set(mine[:-2]) == {"failed", "accepted"}


def test_a_file_is_loaded_once_under_a_key(api: httpx.Client, orders: Row) -> None:
    path = f"/api/databases/{orders['id']}/rows/csv?table=orders"
    headers = {"Content-Type": "text/csv", "Idempotency-Key": f"csv-{orders['id']}"}
    problem(api.post(path, content="id\nseven\n", headers=headers), 422)
    assert data(api.post(path, content="id\n7\n", headers=headers))["rows"] == 1
    assert problem(api.post(path, content="id\n8\n", headers=headers), 409)["code"] == "conflict"
    assert found(orders) == "1v1 2v2 3v3 7"


def test_a_file_that_is_cut_off_leaves_nothing(
    platform: Installation, api: httpx.Client, orders: Row
) -> None:
    path = f"/api/databases/{orders['id']}/rows/csv?table=orders"
    with socket.create_connection(("127.0.0.1", platform.api_port), timeout=30) as peer:
        head = (
            f"POST {path} HTTP/1.1\r\nHost: localhost\r\nX-API-Key: {platform.key}\r\n"
            "Content-Type: text/csv\r\nContent-Length: 1000000\r\n\r\nid,v\n7,x\n8,y\n"
        )
        peer.sendall(head.encode())
    asked = {"action": "rows.import", "resource_id": orders["id"], "result": "failed"}
    eventually(lambda: data(api.get("/api/audit-logs", params=asked)))
    assert found(orders) == "1v1 2v2 3v3"


def test_rows_on_the_command_line(platform: Installation, orders: Row, tmp_path: Path) -> None:
    name, file = orders["database_name"], tmp_path / "rows.csv"
    platform.tenantry("rows", "export", name, "orders", "--file", str(file))
    assert file.read_text().splitlines() == ["id,v", "1,v1", "2,v2", "3,v3"]
    file.write_text("id,v\n4,x\n")
    platform.tenantry("rows", "import", name, "public.orders", "--file", str(file))
    changes = tmp_path / "changes.json"
    changes.write_text(json.dumps([{"action": "delete", "key": {"id": 1}}]))
    asked = ("rows", "change", name, "orders", "--file", str(changes))
    assert 'DELETE FROM "public"."orders"' in platform.tenantry(*asked, "--dry-run").stdout
    platform.tenantry(*asked)
    assert found(orders) == "2v2 3v3 4x"
