"""Inserts, updates, deletes, upserts and preferences."""

import json
from typing import Any

import pytest
from rest_clients import Client, connected
from rest_server import Server

WHOLE = "return=representation"


async def send(api: Client, method: str, path: str, body: object = None, **headers: str) -> Any:
    content = body if isinstance(body, str) else json.dumps(body)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return await api.request(method, path, content=content, headers=named)


@pytest.mark.parametrize(
    ("path", "body", "kind", "found"),
    [
        ("/clients", {"id": 9, "name": "x"}, None, [{"id": 9, "name": "x"}]),
        ("/compound?select=note", {"a": 1, "b": "x"}, None, [{"note": "none"}]),
        (
            "/items?select=name",
            [{"name": "x"}, {"name": "y"}],
            None,
            [{"name": "x"}, {"name": "y"}],
        ),
        ("/items?select=name", {}, None, [{"name": "unnamed"}]),
        ("/items", [], None, []),
        (
            "/items?select=name,cost",
            "name,cost\na,1\nb,NULL",
            "text/csv",
            [{"name": "a", "cost": 1}, {"name": "b", "cost": None}],
        ),
        ("/items?select=name", "name=a+b", "application/x-www-form-urlencoded", [{"name": "a b"}]),
        ("/items?select=name&columns=name", {"name": "a", "z": 1}, None, [{"name": "a"}]),
        ("/generated?select=a,double", {"a": 3}, None, [{"a": 3, "double": 6}]),
        ("/painted", {"id": 9, "color": "#ff0000"}, None, [{"id": 9, "color": "#ff0000"}]),
        (
            "/projects?select=name,clients(name)",
            {"id": 99, "name": "p", "client_id": 1},
            None,
            [{"name": "p", "clients": {"name": "Microsoft"}}],
        ),
    ],
)
async def test_inserts(api: Client, path: str, body: object, kind: str | None, found: Any) -> None:
    headers = {"Content_Type": kind} if kind else {}
    answer = await send(api, "POST", path, body, Prefer=WHOLE, **headers)
    assert (answer.status_code, answer.json()) == (201, found)
    assert answer.headers["content-range"] == "*/*"


async def test_what_is_missing_may_have_its_default(api: Client) -> None:
    path = "/items?columns=id,name&select=id,name"
    answer = await send(api, "POST", path, [{"id": 500}], Prefer=f"{WHOLE}, missing=default")
    assert answer.json() == [{"id": 500, "name": "unnamed"}]
    assert answer.headers["preference-applied"] == f"missing=default, {WHOLE}"


async def test_an_insert_says_where_the_row_is(api: Client) -> None:
    answer = await send(
        api, "POST", "/compound", {"a": 1, "b": "x y&"}, Prefer="return=headers-only"
    )
    assert (answer.status_code, answer.content) == (201, b"")
    assert answer.headers["location"] == "/compound?a=eq.1&b=eq.x%20y%26"
    assert "content-type" not in answer.headers
    assert answer.headers["content-length"] == "0"


@pytest.mark.parametrize(
    ("path", "body", "status", "code"),
    [
        ("/items", [{"name": 1}, {"cost": 2}], 400, "PGRST102"),
        ("/items", "{bad", 400, "PGRST102"),
        ("/items", '{"cost": NaN}', 400, "PGRST102"),
        ("/items", {"nope": 1}, 400, "PGRST204"),
        ("/items?columns=nope", {"nope": 1}, 400, "PGRST204"),
        ("/clients", {"id": 1, "name": "again"}, 409, "23505"),
        ("/projects", {"id": 99, "name": "p", "client_id": 77}, 409, "23503"),
        ("/secrets", {"id": 2}, 401, "42501"),
    ],
)
async def test_refused_inserts(
    api: Client, path: str, body: object, status: int, code: str
) -> None:
    answer = await send(api, "POST", path, body)
    assert (answer.status_code, answer.json()["code"]) == (status, code)


async def test_upserts(api: Client) -> None:
    path, prefer = "/unique_names?on_conflict=name&select=name,rank", f"{WHOLE}, resolution="
    rows = [{"name": "Java", "rank": 9}, {"name": "New", "rank": 3}]
    answer = await send(api, "POST", path, rows, Prefer=f"{prefer}merge-duplicates")
    assert (answer.status_code, answer.json()) == (201, rows)
    answer = await send(api, "POST", path, rows[:1], Prefer=f"{prefer}merge-duplicates")
    assert (answer.status_code, answer.json()) == (200, rows[:1])
    answer = await send(api, "POST", path, rows, Prefer=f"{prefer}ignore-duplicates")
    assert (answer.status_code, answer.json()) == (201, rows[1:])
    applied = f"resolution=ignore-duplicates, {WHOLE}"
    assert answer.headers["preference-applied"] == applied
    answer = await send(api, "POST", "/no_key", [], Prefer="resolution=merge-duplicates")
    assert answer.status_code == 200


@pytest.mark.parametrize(
    ("query", "row", "prefer", "status", "code"),
    [
        ("id=eq.1", {"id": 1, "name": "Z"}, WHOLE, 200, None),
        ("id=eq.9", {"id": 9, "name": "Z"}, WHOLE, 201, None),
        ("id=eq.1", {"id": 1, "name": "Z"}, "", 204, None),
        ("id=eq.9", {"id": 8, "name": "Z"}, "", 400, "PGRST115"),
        ("name=eq.x", {"id": 8, "name": "x"}, "", 405, "PGRST105"),
        ("id=gt.1", {"id": 8, "name": "x"}, "", 405, "PGRST105"),
        ("id=eq.1&limit=1", {"id": 1, "name": "Z"}, "", 400, "PGRST114"),
    ],
)
async def test_put(  # noqa: PLR0917 (each is a parameter)
    api: Client, query: str, row: object, prefer: str, status: int, code: str | None
) -> None:
    answer = await send(api, "PUT", f"/clients?{query}", row, Prefer=prefer)
    assert answer.status_code == status
    if code is not None:
        assert answer.json()["code"] == code
    elif prefer:
        assert answer.json() == [row]


async def test_updates(api: Client) -> None:
    answer = await send(api, "PATCH", "/items?id=eq.1", {"name": "n"})
    assert (answer.status_code, answer.content) == (204, b"")
    assert answer.headers["content-range"] == "0-0/*"
    assert not {"content-length", "content-type"} & set(answer.headers)
    path = "/items?id=lt.3&select=id,name&order=id"
    answer = await send(api, "PATCH", path, {"name": "n"}, Prefer=f"{WHOLE}, count=exact")
    assert answer.json() == [{"id": 1, "name": "n"}, {"id": 2, "name": "n"}]
    assert answer.headers["content-range"] == "0-1/2"
    assert (await send(api, "PATCH", "/items?id=lt.3", {})).status_code == 204
    answer = await send(api, "PATCH", "/items?id=eq.0", {"name": "n"}, Prefer=WHOLE)
    assert (answer.status_code, answer.json()) == (200, [])


async def test_deletes(api: Client) -> None:
    path = "/items?or=(id.eq.1,id.eq.2)&select=id"
    answer = await send(api, "DELETE", path, Prefer=WHOLE)
    assert (answer.status_code, answer.json()) == (200, [{"id": 1}, {"id": 2}])


async def test_limits_on_what_is_affected(api: Client, server: Server) -> None:
    prefer = "tx=commit, handling=strict, max-affected="
    answer = await send(api, "DELETE", "/items?id=lt.9", Prefer=f"{prefer}3")
    assert (answer.status_code, answer.json()["code"]) == (400, "PGRST124")
    assert server.value("SELECT count(*) FROM test.items") == 15
    answer = await send(api, "PATCH", "/items?id=lt.3", {"cost": 1}, Prefer=f"{prefer}2, x=y")
    assert (answer.status_code, answer.json()["code"]) == (400, "PGRST122")
    one = "application/vnd.pgrst.object+json"
    answer = await send(api, "DELETE", "/items", Prefer="tx=commit", Accept=one)
    assert (answer.status_code, answer.json()["code"]) == (406, "PGRST116")
    assert server.value("SELECT count(*) FROM test.items") == 15


async def test_transactions_end_as_asked(serve: Any, server: Server) -> None:
    count = "SELECT count(*) FROM test.addresses WHERE id = {}"
    for end, asked, kept, applied in (
        ("commit", "rollback", True, False),
        ("commit-allow-override", "rollback", False, True),
        ("rollback-allow-override", "commit", True, True),
        ("rollback", "commit", False, False),
    ):
        api = await serve(db_tx_end=end)
        number = 100 + len(end)
        answer = await send(api, "POST", "/addresses", {"id": number}, Prefer=f"tx={asked}")
        assert answer.status_code == 201
        assert ("preference-applied" in answer.headers) == applied
        assert bool(server.value(count.format(number))) == kept
    server.execute("DELETE FROM test.addresses WHERE id > 100")


async def test_after_a_rollback_the_connection_still_knows_its_statements(serve: Any) -> None:
    api = await serve(db_tx_end="commit-allow-override", db_pool="1")
    for end in ("rollback", "commit", "commit"):
        answer = await api.get("/clients", headers={"Prefer": f"tx={end}"})
        assert (answer.status_code, answer.headers["preference-applied"]) == (200, f"tx={end}")


async def test_a_connection_whose_statements_are_gone_is_not_used_again(serve: Any) -> None:
    api = await serve(db_tx_end="commit", db_pool="1")
    assert (await api.post("/rpc/deallocates")).status_code == 204
    assert (await api.post("/rpc/deallocates")).json()["code"] == "26000"
    assert (await api.post("/rpc/deallocates")).status_code == 204


async def test_an_order_is_that_of_what_was_written(api: Client) -> None:
    rows = [{"id": 1, "name": "A"}, {"id": 2, "name": "B"}]
    path = "/clients?select=name,projects(id)&order=id.desc&projects.order=id.desc"
    answer = await send(api, "POST", path, rows, Prefer=f"{WHOLE}, resolution=merge-duplicates")
    assert answer.json() == [
        {"name": "B", "projects": [{"id": 4}, {"id": 3}]},
        {"name": "A", "projects": [{"id": 2}, {"id": 1}]},
    ]
    answer = await send(
        api, "PATCH", "/items?id=lt.4&select=id&order=cost.desc", {"name": "x"}, Prefer=WHOLE
    )
    assert [each["id"] for each in answer.json()] == [3, 2, 1]


async def test_a_body_over_the_limit_is_not_sent_and_nothing_is_written(server: Server) -> None:
    async with connected(server, db_max_bytes="200", db_tx_end="commit") as api:
        assert (await api.get("/clients")).is_success
        large = await api.get("/projects?select=*,clients(*),tasks(*)")
        assert (large.status_code, large.json()["code"]) == (400, "result_too_large")
        row = {"id": 77, "name": "x" * 300}
        refused = await send(api, "POST", "/clients", row, prefer=WHOLE)
        assert refused.json()["code"] == "result_too_large"
        assert (await api.get("/clients?id=eq.77")).json() == []
