"""What all requests have in common: routes, OPTIONS, CORS, schemas, errors, the description."""

import asyncio
from typing import Any

import pytest
from rest_clients import Client
from rest_server import Server

from tenantry_rest import ClientGone, receive_request


async def test_routes(api: Client) -> None:
    for method, path, status, code in (
        ("GET", "/a/b", 404, "PGRST125"),
        ("DELETE", "/", 405, "PGRST117"),
        ("PUT", "/rpc/page", 405, "PGRST101"),
        ("TRACE", "/items", 405, "PGRST117"),
    ):
        answer = await api.request(method, path)
        assert (answer.status_code, answer.json()["code"]) == (status, code)


async def test_options(api: Client) -> None:
    for path, allowed in (
        ("/items", "OPTIONS,GET,HEAD,POST,PUT,PATCH,DELETE"),
        ("/projects_of_view", "OPTIONS,GET,HEAD"),
        ("/rpc/adds", "OPTIONS,POST"),
        ("/rpc/add_them?a=1&b=1", "OPTIONS,GET,HEAD,POST"),
        ("/", "OPTIONS,GET,HEAD"),
    ):
        answer = await api.options(path)
        assert (answer.status_code, answer.headers["allow"]) == (200, allowed)
        assert answer.headers["access-control-allow-origin"] == "*"
    for query, headers, status, code in (
        ("a=1", {}, 404, "PGRST202"),
        ("a=1&b=1", {"Accept": "no/such"}, 406, "PGRST107"),
        ("a=1&b=1&select=items(*)", {}, 400, "PGRST200"),
        ("a=1&b=1", {"Prefer": "handling=strict, x=1"}, 400, "PGRST122"),
    ):
        answer = await api.options(f"/rpc/add_them?{query}", headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (status, code)


async def test_browsers_may_ask(serve: Any) -> None:
    asked = {
        "Origin": "http://x",
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "Foo, Bar",
    }
    api = await serve(server_cors_allowed_origins="http://x", server_timing_enabled="true")
    answer = await api.options("/items", headers=asked)
    assert answer.headers["access-control-allow-headers"] == (
        "Authorization, Foo, Bar, Accept, Accept-Language, Content-Language"
    )
    assert answer.headers["access-control-allow-credentials"] == "true"
    answer = await api.get("/clients", headers={"Origin": "http://x"})
    assert answer.headers["access-control-allow-origin"] == "http://x"
    for phase in ("jwt", "parse", "plan", "transaction", "response"):
        assert f"{phase};dur=" in answer.headers["server-timing"]
    answer = await api.get("/clients", headers={"Origin": "http://y"})
    assert "access-control-allow-origin" not in answer.headers


async def test_errors_may_say_little(serve: Any) -> None:
    api = await serve(client_error_verbosity="minimal")
    for path, headers, code in (
        ("/none", {}, "PGRST205"),
        ("/items?id=eq.x", {}, "22P02"),
        ("/items?offset=99", {"Prefer": "count=exact"}, "PGRST103"),
    ):
        found = (await api.get(path, headers=headers)).json()
        assert (found["code"], set(found)) == (code, {"code", "message"})


async def test_errors_say_how_long_the_phases_took_up_to_them(serve: Any) -> None:
    api = await serve(server_timing_enabled="true")
    for path, headers, phases in (
        ("/items", {"Authorization": "Bearer none"}, ["jwt"]),
        ("/items?id=wrong", {}, ["jwt", "parse"]),
        ("/items?select=id,none(id)", {}, ["jwt", "parse", "plan"]),
        ("/items?id=eq.wrong", {}, ["jwt", "parse", "plan", "transaction"]),
    ):
        answer = await api.get(path, headers=headers)
        timed = answer.headers["server-timing"].split(", ")
        assert [each.partition(";dur=")[0] for each in timed] == phases


async def test_schemas(serve: Any) -> None:
    api = await serve(db_schemas="test,other", server_trace_header="X-Request-Id")
    headers = {"Accept-Profile": "other", "X-Request-Id": "7"}
    answer = await api.get("/animals", headers=headers)
    assert answer.json() == [{"id": 1, "name": "cat"}]
    assert answer.headers["content-profile"] == "other"
    assert answer.headers["x-request-id"] == "7"
    # It is looked for before what the query says.
    answer = await api.get("/animals?id=none", headers={"Accept-Profile": "hidden"})
    assert (answer.status_code, answer.json()["code"]) == (406, "PGRST106")


async def test_a_schema_that_is_asked_for_is_named(api: Client) -> None:
    answer = await api.get("/items?limit=1")
    assert "content-profile" not in answer.headers
    answer = await api.get("/items?limit=1", headers={"Accept-Profile": "test"})
    assert answer.headers["content-profile"] == "test"
    headers = {"Content-Profile": "test", "Prefer": "return=representation"}
    answer = await api.post("/items", json={}, headers=headers)
    assert answer.headers["content-profile"] == "test"


async def test_the_root_describes_the_api(api: Client, serve: Any) -> None:
    answer = await api.get("/")
    assert answer.headers["content-type"] == "application/openapi+json; charset=utf-8"
    found = answer.json()
    assert found["swagger"] == "2.0"
    assert found["paths"]["/clients"]["get"]["summary"] == "Who pays"
    assert found["definitions"]["projects"]["properties"]["client_id"]["description"] == (
        "Note:\nThis is a Foreign Key to `clients.id`.<fk table='clients' column='id'/>"
    )
    assert found["definitions"]["capital"]["properties"]["country_id"]["description"] == (
        "Note:\nThis is a Foreign Key to `country.id`.<fk table='country' column='id'/>"
    )
    assert "Foreign" not in found["definitions"]["country"]["properties"]["id"]["description"]
    assert found["paths"]["/rpc/joined"]["get"]["parameters"] == [
        {
            "in": "query",
            "name": "parts",
            "required": False,
            "type": "array",
            "collectionFormat": "multi",
            "items": {"type": "string", "format": "text"},
        }
    ]
    definitions = found["definitions"]
    essays = definitions["essays"]["properties"]
    felt = {"type": "string", "format": "test.feeling_now", "enum": ["calm", "keen"]}
    assert essays["felt"] == felt
    assert essays["words"] == {"type": "string", "format": "tsvector"}
    formats = [essays[each]["format"] for each in ("id", "small", "large")]
    assert (formats, definitions["items"]["properties"]["id"]["format"]) == (
        ["int32", "int32", "bigint[]"],
        "int64",
    )
    outs = found["paths"]["/rpc/outs"]
    assert "parameters" not in outs["get"]
    assert outs["post"]["parameters"][0]["schema"] == {"type": "object"}
    ambiguous = found["paths"]["/rpc/ambiguous"]["get"]["parameters"]
    assert [(each["name"], each["format"]) for each in ambiguous] == [("a", "text"), ("b", "int32")]
    partly = found["paths"]["/rpc/partly"]["get"]["parameters"]
    assert [each["name"] for each in partly] == ["a"]
    assert "/rpc/never" not in found["paths"]
    items = definitions["items"]["properties"]
    assert (items["name"]["default"], "default" in items["id"]) == ("unnamed", False)
    assert "/secrets" not in found["paths"]
    assert "get" not in found["paths"]["/rpc/adds"]
    disabled = await (await serve(openapi_mode="disabled")).get("/")
    assert (disabled.status_code, disabled.json()["code"]) == (404, "PGRST126")
    every = await (await serve(openapi_mode="ignore-privileges")).get("/")
    assert "/secrets" in every.json()["paths"]


async def test_without_a_database_there_is_an_answer(serve: Any) -> None:
    api = await serve(db_uri="host=/nowhere", db_pool_acquisition_timeout="1")
    answer = await api.get("/clients")
    assert (answer.status_code, answer.json()["code"]) == (503, "PGRST002")


async def test_settings_of_the_database_are_before_all_others(serve: Any, server: Server) -> None:
    server.execute("ALTER ROLE authenticator SET pgrst.db_max_rows = '2'")
    try:
        api = await serve(db_config="true", db_max_rows="9")
        assert len((await api.get("/items")).json()) == 2
        api = await serve(db_config="true", db_pre_config="test.pre_config")
        assert len((await api.get("/items")).json()) == 3
    finally:
        server.execute("ALTER ROLE authenticator RESET ALL")


async def test_the_schema_cache_is_read_again_when_notified(serve: Any, server: Server) -> None:
    api = await serve(db_channel_enabled="true")
    assert (await api.get("/fresh")).status_code == 404
    server.execute("CREATE TABLE test.fresh AS SELECT 1 AS a")
    try:
        status = 404
        while status == 404:
            server.execute("NOTIFY pgrst, 'reload schema'")
            await asyncio.sleep(0.05)
            status = (await api.get("/fresh")).status_code
        assert status == 200
    finally:
        server.execute("DROP TABLE test.fresh")


async def test_half_a_body_is_no_request() -> None:
    messages: list[dict[str, object]] = [
        {"type": "http.request", "body": b"id\n1\n", "more_body": True},
        {"type": "http.disconnect"},
    ]

    async def receive() -> dict[str, object]:
        return messages.pop(0)

    scope = {"method": "POST", "path": "/t", "query_string": b"", "headers": []}
    with pytest.raises(ClientGone):
        await receive_request(scope, receive)
