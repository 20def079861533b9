"""Pure parts: settings, tokens, media types, fuzzy names, views, errors, CORS."""

import asyncio
import base64
import json
from typing import Any

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rest_clients import SECRET, Client
from rest_server import Server

from tenantry_rest import ClientGone, receive_request
from tenantry_rest.auth import Authenticator, read_keys
from tenantry_rest.config import BadConfig, Config, parse_file, read_config
from tenantry_rest.errors import ApiError
from tenantry_rest.request import media
from tenantry_rest.request.claims import parse_path, walk
from tenantry_rest.request.preferences import parse_preferences
from tenantry_rest.schema.fuzzy import closest
from tenantry_rest.schema.views import base_columns, origins
from tenantry_rest.sqlstates import from_database

NOW = 1_800_000_000


def test_settings_of_variables_are_before_those_of_the_file() -> None:
    text = '# comment\ndb-uri = "postgresql://x"\nserver-port = 4000 # why\ndb-max-rows = 5\n'
    text += 'app.settings.key = "a \\"b\\""\n'
    variables = {"PGRST_DB_SCHEMAS": "a, b", "PGRST_SERVER_PORT": "5000", "HOME": "/x"}
    config = read_config(text, variables)
    assert (config.db_uri, config.server_port, config.db_max_rows) == ("postgresql://x", 5000, 5)
    assert config.db_schemas == ("a", "b")
    assert config.app_settings == (("app.settings.key", 'a "b"'),)


@pytest.mark.parametrize("text", ["no equals", 'openapi-mode = "x"', "server-port = x"])
def test_bad_settings(text: str) -> None:
    with pytest.raises(BadConfig):
        read_config(text)


def test_a_file_has_names_and_values() -> None:
    assert parse_file("a-b = true\n\n") == {"a-b": "true"}


def authenticate(header: str | None, **changed: Any) -> Any:
    config = Config(**{"jwt_secret": SECRET, "db_anon_role": "anon", **changed})
    return Authenticator(config, clock=lambda: NOW).caller(header)


def bearer(
    claims: dict[str, Any],
    key: str = SECRET,
    algorithm: str = "HS256",
    headers: dict[str, Any] | None = None,
) -> str:
    """A token; PyJWT makes none with a name of a key that is no text."""
    if headers is None:
        return f"Bearer {jwt.encode(claims, key, algorithm=algorithm)}"
    parts = ({"alg": algorithm, **headers}, claims)
    encoded = (base64.urlsafe_b64encode(json.dumps(each).encode()).decode() for each in parts)
    return f"Bearer {'.'.join(each.rstrip('=') for each in encoded)}.AAAA"


def test_callers() -> None:
    assert authenticate(None).role == "anon"
    assert authenticate("Basic x").role == "anon"
    caller = authenticate(bearer({"role": "a", "sub": "x", "aud": []}))
    assert (caller.role, caller.claims) == ("a", {"role": "a", "sub": "x", "aud": []})
    path = '$.realm["my.roles"][?(@ ^== "web_")]'
    claims = {"realm": {"my.roles": ["x", "web_admin"]}}
    assert authenticate(bearer(claims), jwt_role_claim_key=path).role == "web_admin"


@pytest.mark.parametrize(
    ("claims", "message"),
    [
        ({"exp": NOW - 31}, "JWT expired"),
        ({"exp": -(10**400)}, "JWT expired"),
        ({"nbf": 10**400}, "JWT not yet valid"),
        ({"nbf": NOW + 31}, "JWT not yet valid"),
        ({"iat": NOW + 31}, "JWT issued at future"),
        ({"exp": NOW - 29, "nbf": NOW + 29, "aud": "them"}, "JWT not in audience"),
        ({"aud": 1}, "The JWT 'aud' claim must be a string or an array of strings"),
    ],
)
def test_claims(claims: dict[str, Any], message: str) -> None:
    with pytest.raises(ApiError) as raised:
        authenticate(bearer(claims), jwt_aud="us")
    assert (raised.value.code, raised.value.message) == ("PGRST303", message)


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("Bearer ", "Empty JWT is sent in Authorization header"),
        ("Bearer a.b", "Expected 3 parts in JWT; got 2"),
        ("Bearer a.b.c", "JWT cryptographic operation failed"),
        (
            f"Bearer {base64.b64encode(b'[' * 30000).decode()}.b.c",
            "JWT cryptographic operation failed",
        ),
        (bearer({}, "another secret of the same length"), "No suitable key or wrong key type"),
        (bearer({}, headers={"kid": ["a"]}), "JWT cryptographic operation failed"),
        (bearer({}, headers={"alg": "\ud800"}), "Wrong or unsupported encoding algorithm"),
        (bearer({}, headers={"kid": {}}), "JWT cryptographic operation failed"),
        (bearer({}, "", "none"), "Wrong or unsupported encoding algorithm"),
    ],
)
def test_unreadable_tokens(header: str, message: str) -> None:
    with pytest.raises(ApiError) as raised:
        authenticate(header)
    assert (raised.value.status, raised.value.code) == (401, "PGRST301")
    assert raised.value.message == message
    assert raised.value.body()


def test_claims_are_of_whole_characters() -> None:
    with pytest.raises(ApiError, match="Parsing claims failed"):
        authenticate(bearer({"sub": "\ud800"}))


@given(st.text())
def test_any_token_is_refused(token: str) -> None:
    with pytest.raises(ApiError):
        authenticate(f"Bearer {token}")


@pytest.mark.parametrize("name", [["a"], {}, 1])
def test_a_key_has_a_text_for_a_name(name: object) -> None:
    key = {"kty": "oct", "k": "c" * 43, "kid": name}
    with pytest.raises(BadConfig):
        read_keys(json.dumps(key).encode())


def test_a_secret_may_look_like_deep_json() -> None:
    assert len(read_keys(b"[" * 100_000)) == 1


def test_without_a_secret_or_an_anonymous_role() -> None:
    with pytest.raises(ApiError, match="PGRST300"):
        authenticate(bearer({}), jwt_secret="")
    with pytest.raises(ApiError, match="PGRST302"):
        authenticate(None, db_anon_role="")
    with pytest.raises(BadConfig):
        authenticate(None, jwt_secret="short")


def test_paths_of_roles() -> None:
    assert walk({"a": [{"b": "c"}]}, parse_path(".a[0].b")) == "c"
    assert walk({"a": 1}, parse_path("$.a.b")) is None
    with pytest.raises(ValueError, match="role-claim-key"):
        parse_path("a b")


def test_media_types_are_of_any_letter_case() -> None:
    asked = "Text/CSV, application/vnd.pgrst.ARRAY+json; charset=utf-8; nulls=stripped"
    assert set(media.accepted(asked)) == {media.CSV, media.ARRAY_STRIPPED}


def test_accepted_media_types_are_in_order() -> None:
    found = media.accepted("text/csv;q=0.5, application/json;q=0.8, */*;q=0.1")
    assert found == (media.JSON, media.CSV, media.ANY)
    assert media.accepted(None) == (media.ANY,)


def test_the_first_preference_counts() -> None:
    found = parse_preferences(["tx=rollback, count=exact", "tx=commit, odd"], allow_tx=True)
    assert (found.tx, found.count, found.invalid) == ("rollback", "exact", ("odd",))


def test_similar_names() -> None:
    assert closest(["films", "actors"], "film", least=0.75) == "films"
    assert closest(["films", "actors"], "xyz", least=0.3) is None


def test_views_show_columns() -> None:
    tree = "({QUERY :targetList ({TARGETENTRY :expr {VAR :x 1} :resno 1 :resname \\}a "
    tree += ":resorigtbl 16 :resorigcol 2 :resjunk false}) :more {X :resno 9}})"
    assert origins(tree) == {1: (16, 2)}


def test_views_of_views_show_columns_of_tables() -> None:
    trees = {30: {1: (20, 2), 2: (10, 1)}, 20: {2: (10, 5)}, 40: {1: (40, 1)}}
    assert dict(base_columns(30, trees)) == {1: (10, 5), 2: (10, 1)}
    assert dict(base_columns(40, trees)) == {1: (40, 1)}


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("23505", 409),
        ("08006", 503),
        ("P0001", 400),
        ("P0002", 500),
        ("42501", 403),
        ("1F000", 400),
    ],
)
def test_statuses(code: str, status: int) -> None:
    assert from_database(code, "m", None, None, anonymous=False).status == status


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
    answer = await api.get("/animals", headers={"Accept-Profile": "hidden"})
    assert (answer.status_code, answer.json()["code"]) == (406, "PGRST106")


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
    items = found["definitions"]["items"]["properties"]
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


@given(st.text(), st.none() | st.text())
def test_any_raise_is_an_answer(message: str, details: str | None) -> None:
    error = from_database("PGRST", message, details, None, anonymous=True)
    assert (error.status, error.code) == (500, "PGRST121")


def test_raised_headers_end_where_they_should() -> None:
    said = '{"code": "1", "message": "m"}'
    for name, value, code in (
        ("X-A", "b", "1"),
        ("X A", "b", "PGRST121"),
        ("X", r"\r\n", "PGRST121"),
    ):
        details = f'{{"status": 200, "headers": {{"{name}": "{value}"}}}}'
        assert from_database("PGRST", said, details, None, anonymous=True).code == code


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
