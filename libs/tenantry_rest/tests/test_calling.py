"""Functions, media types, errors that functions raise, and settings."""

import json
from typing import Any

import pytest
from rest_clients import Client, connected, token
from rest_server import Server


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("add_them?a=1&b=2", 3),
        (
            "some_projects?above=2&select=id,clients(name)&order=id.desc&limit=1",
            [{"id": 5, "clients": None}],
        ),
        ("some_projects?id=eq.1&select=id", [{"id": 1}]),
        ("some_projects?id=gt.3&select=name&order=id.desc", [{"name": "Orphan"}, {"name": "OSX"}]),
        ("some_projects?or=(id.eq.1,client_id.is.null)&select=id", [{"id": 1}, {"id": 5}]),
        ("one_project?select=id", {"id": 1}),
        ("numbers?limit=2", [1, 2]),
        ("joined?parts=a&parts=b", "a+b"),
        ("overloaded?a=1", "int"),
        ("overloaded?a=1&b=2", "two"),
        ("outs", {"x": 1, "y": "y"}),
        ("a_table?x=eq.2", [{"x": 2, "y": "b"}]),
    ],
)
async def test_calls_by_get(api: Client, path: str, found: Any) -> None:
    answer = await api.get(f"/rpc/{path}")
    assert answer.json() == found


@pytest.mark.parametrize(
    ("name", "content", "kind", "found"),
    [
        ("add_them", '{"a": 1, "b": 2}', "application/json", 3),
        ("add_them", "a=1&b=3", "application/x-www-form-urlencoded", 4),
        ("joined", '{"parts": ["x", "y"]}', "application/json", "x+y"),
        ("unnamed_json", '{"z": 1}', "application/json", {"z": 1}),
        ("unnamed_text", "hey", "text/plain", "hey"),
        ("unnamed_bytes", b"\x00\x01\xff", "application/octet-stream", 3),
        ("adds", "", "application/json", 1),
    ],
)
async def test_calls_by_post(
    api: Client, name: str, content: str | bytes, kind: str, found: Any
) -> None:
    answer = await api.post(f"/rpc/{name}", content=content, headers={"Content-Type": kind})
    assert (answer.status_code, answer.json()) == (200, found)


async def test_headers_are_bounded(server: Server) -> None:
    server.execute("""
        CREATE OR REPLACE FUNCTION test.wide(setting text, size int) RETURNS int LANGUAGE sql AS
        $$SELECT 1 FROM set_config(setting, '[{"x": "' || repeat('x', size) || '"}]', true)$$
    """)
    async with connected(server, db_max_bytes="1000000") as api:
        for setting in ("response.headers", "response.status"):
            answer = await api.post("/rpc/wide", json={"setting": setting, "size": 100_000})
            assert (answer.status_code, answer.json()["code"]) == (500, "headers_too_large")
        answer = await api.post("/rpc/wide", json={"setting": "response.headers", "size": 30_000})
        assert (answer.status_code, len(answer.headers["x"])) == (200, 30_000)
    server.execute("DROP FUNCTION test.wide")


async def test_void_is_nothing(api: Client) -> None:
    answer = await api.post("/rpc/nothing")
    assert (answer.status_code, answer.content) == (204, b"")
    assert "content-type" not in answer.headers


@pytest.mark.parametrize(
    ("path", "status", "code", "hint"),
    [
        ("nope", 404, "PGRST202", None),
        ("add_then?a=1", 404, "PGRST202", "Perhaps you meant to call the function test.add_them"),
        (
            "add_them?a=1",
            404,
            "PGRST202",
            "Perhaps you meant to call the function test.add_them(a, b)",
        ),
        (
            "ambiguous?a=1",
            300,
            "PGRST203",
            "Try renaming the parameters or the function itself in the database so function "
            "overloading can be resolved",
        ),
        ("adds", 405, "25006", None),
    ],
)
async def test_refused_calls(
    api: Client, path: str, status: int, code: str, hint: str | None
) -> None:
    answer = await api.get(f"/rpc/{path}")
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.json()["hint"] == hint


async def test_candidates_are_in_order(api: Client) -> None:
    """Those with fewer parameters first, then by the parameters' types."""
    answer = await api.get("/rpc/ambiguous?a=1")
    assert answer.json()["message"].partition("between: ")[2] == (
        "test.ambiguous(a => integer), test.ambiguous(a => text), test.ambiguous(a => xml), "
        "test.ambiguous(a => text, b => integer)"
    )


async def test_a_value_is_one_row(api: Client) -> None:
    for path in ("add_them?a=1&b=2", "one_project?id=eq.2"):
        answer = await api.get(f"/rpc/{path}", headers={"Prefer": "count=exact"})
        assert (answer.status_code, answer.headers["content-range"]) == (200, "0-0/1")


async def test_functions_decide_on_answers(api: Client) -> None:
    answer = await api.post("/rpc/teapot")
    assert (answer.status_code, answer.json()) == (418, {"short": "stout"})
    assert (answer.headers["x-pot"], answer.headers["content-type"]) == ("tea", "a/b")
    answer = await api.post("/rpc/bad_headers")
    assert (answer.status_code, answer.json()["code"]) == (500, "PGRST111")
    assert (await api.get("/rpc/raises?state=PT402")).status_code == 402
    assert (await api.get("/rpc/raises?state=P0001")).status_code == 400
    detail = {"status": 332, "status_text": "Odd", "headers": {"X-A": "b"}}
    raised = {"state": "PGRST", "message": json.dumps({"code": "1", "message": "m", "hint": "h"})}
    answer = await api.post("/rpc/raises", json=raised | {"detail": json.dumps(detail)})
    assert (answer.status_code, answer.headers["x-a"]) == (332, "b")
    assert answer.json() == {"code": "1", "details": None, "hint": "h", "message": "m"}
    answer = await api.post("/rpc/raises", json=raised)
    assert (answer.status_code, answer.json()["code"]) == (500, "PGRST121")


@pytest.mark.parametrize(
    ("path", "accept", "kind", "body"),
    [
        ("/clients?id=eq.1", "text/csv", "text/csv; charset=utf-8", b"id,name\n1,Microsoft"),
        (
            "/clients?id=eq.1",
            "application/vnd.pgrst.object",
            "application/vnd.pgrst.object+json; charset=utf-8",
            b'{"id":1,"name":"Microsoft"}',
        ),
        (
            "/nullable?id=eq.3&select=flag,id",
            "application/vnd.pgrst.array+json;nulls=stripped",
            "application/vnd.pgrst.array+json;nulls=stripped; charset=utf-8",
            b'[{"id":3}]',
        ),
        ("/rpc/page", "text/html", "text/html", b"<b>hi</b>"),
        ("/rpc/page?limit=0", "text/html", "text/html", b""),
        ("/rpc/memorandum", "app/note", "app/Note", b"n"),
        ("/rpc/bytes", "application/octet-stream", "application/octet-stream", b"\x00\xff"),
        ("/items?id=eq.2", "application/vnd.lines", "application/vnd.lines", b"item 2\n"),
        (
            "/clients?id=eq.1",
            "image/png;q=0.9, */*;q=0.1",
            "application/json; charset=utf-8",
            b'[{"id":1,"name":"Microsoft"}]',
        ),
    ],
)
async def test_media_types(api: Client, path: str, accept: str, kind: str, body: bytes) -> None:
    answer = await api.get(path, headers={"Accept": accept})
    assert (answer.headers["content-type"], answer.content) == (kind, body)


async def test_what_cannot_be_made_is_406(api: Client) -> None:
    for accept in ("image/png", "application/vnd.pgrst.plan", "application/vnd.lines, a/b"):
        answer = await api.get("/clients", headers={"Accept": accept})
        assert (answer.status_code, answer.json()["code"]) == (406, "PGRST107")


async def test_plans_have_the_body_where_clients_look_for_it(serve: Any) -> None:
    api = await serve(db_plan_enabled="true")
    asked = {
        "Accept": "application/vnd.pgrst.plan+json; options=verbose",
        "Prefer": "return=representation",
    }
    for method, place in (("GET", 2), ("DELETE", 3)):
        plan = (await api.request(method, "/clients?id=eq.9", headers=asked)).json()[0]["Plan"]
        assert plan["Output"][place] == (
            "COALESCE(json_agg(ROW(clients.id, clients.name)), '[]'::json)"
        )
        assert not any("pgrst.inserted" in each for each in plan["Output"])


async def test_plans(serve: Any) -> None:
    api = await serve(db_plan_enabled="true")
    accept = 'application/vnd.pgrst.plan+json; for="text/csv"; options=verbose'
    answer = await api.get("/clients", headers={"Accept": accept})
    assert answer.json()[0]["Plan"]["Node Type"] == "Aggregate"
    assert answer.headers["content-type"] == f"{accept}; charset=utf-8"


@pytest.mark.parametrize("path", ["/clients", "/rpc/some_projects"])
async def test_rows_are_counted_once_if_all_are_there(serve: Any, path: str) -> None:
    api = await serve(db_plan_enabled="true")
    headers = {"Accept": "application/vnd.pgrst.plan", "Prefer": "count=exact"}
    assert (await api.get(path, headers=headers)).text.count("Aggregate") == 1
    assert (await api.get(f"{path}?limit=9", headers=headers)).text.count("Aggregate") == 2


async def test_a_value_of_a_media_type_is_not_aggregated(serve: Any) -> None:
    api = await serve(db_plan_enabled="true")
    accept = 'application/vnd.pgrst.plan+json; for="text/html"; options=verbose'
    plan = (await api.get("/rpc/page", headers={"Accept": accept})).json()[0]["Plan"]
    assert plan["Node Type"] == "Result"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("role", "anonymous"),
        ("request.method", "POST"),
        ("request.path", "/rpc/setting"),
        ("request.cookies", '{"a":"b","c":"d"}'),
        ("request.jwt.claims", '{"role":"anonymous"}'),
        ("timezone", "America/Lima"),
        ("app.settings.x", "y"),
        ("search_path", '"test"'),
    ],
)
async def test_settings(serve: Any, name: str, value: str) -> None:
    api = await serve(**{"app.settings.x": "y"})
    headers = {"Cookie": "a=b; c=d", "Prefer": "timezone=America/Lima"}
    answer = await api.post("/rpc/setting", json={"name": name}, headers=headers)
    assert answer.json() == value
    headers["X-A"] = "b"
    answer = await api.post("/rpc/setting", json={"name": "request.headers"}, headers=headers)
    found = json.loads(answer.json())
    assert found["x-a"] == "b"
    assert "cookie" not in found


async def test_tokens_choose_the_role(api: Client) -> None:
    assert (await api.get("/secrets")).status_code == 401
    answer = await api.get("/secrets", headers=token(role="author"))
    assert answer.json() == [{"id": 1}]
    answer = await api.post("/secrets", json={"id": 3}, headers=token(role="author"))
    assert (answer.status_code, answer.json()["code"]) == (403, "42501")
    answer = await api.get("/secrets", headers=token(role="nobody at all"))
    assert (answer.status_code, answer.json()["code"]) == (401, "22023")
    answer = await api.get("/secrets", headers=token(role="postgres"))
    assert (answer.status_code, answer.json()["code"]) == (403, "42501")
