"""What callers should not send: it is refused in words, nothing is half done, nothing breaks."""

import json
import socket
import uuid
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from answers import data, problem
from clients import hurry
from harness import Installation

BIDI = "\u202eאבג\u202c العربية"
EMOJI = "👩‍👩‍👧‍👦 🏳️‍🌈 é"
QUOTES = "'; DROP TABLE databases; -- \" ` $$ \\ %s {} <script>"

NOWHERE = "0c2b4f2e-7a53-4c1e-9b0a-6f1d2e3c4b5a"
BEYOND_INTEGERS = "9" * 5000  # more digits than Python reads
MANY_LEVELS = 100_000

# Many to a line:
# fmt: off
NO_LABELS: list[Any] = [
    "", " ", "\u00a0\u2003", "x" * 201, "x" * 10_000, "a\x00b", "a\nb", "a\rb", "a\tb",
    "a\x1b[31mb", "a\x7fb", "a\x85b", "\ud800", "a\udfffb", 17, True, 1.5, [], {}, ["x"],
    {"$ne": None},
]
NO_NAMES: list[Any] = [
    "", "-a", "a-", "A", "ä", "a b", "a_b", "a.b", "a/b", "a\n", "\na", "a\x00", "x" * 64, "²", 1,
]
NO_EMAILS: list[Any] = [
    "", "x", "@", "a@b@c.example", "a@example", "a@127.0.0.1", "a b@example.com",
    "a@exam ple.com", "a@example.com\n", "a@example.com\r\nBcc: b@example.com",
    "a\x00@example.com", "\ud800@example.com", '"a"@example.com', "'@example.com;",
    f"a@{'b' * 10_000}.com", f"a@{'b.' * 130}com", "a@xn--\ud83d.com", 17, ["a@example.com"],
]
NO_LIMITS: list[Any] = [
    "-1", "0", "501", "2147483648", "9223372036854775808", "1e400", "-1e400", "1.5", "20.0",
    '"20"', "true", "false", "[]", "{}", "NaN", "Infinity", "-Infinity", "9" * 400,
]
NO_EXPIRIES: list[Any] = [
    "soon", "", "2031-01-01", "2031-01-01T00:00:00", "2031-13-01T00:00:00Z",
    "2001-01-01T00:00:00Z", "9999-12-31T23:59:59-23:59", "0001-01-01T00:00:00+23:59",
    "10000-01-01T00:00:00Z", 1900000000, "1900000000", 1900000000.0, True,
    "2031-01-01T00:00:00Z\x00",
]
NO_OBJECTS: list[Any] = [
    b"", b" ", b"{", b"{'friendlyName': 'X'}", b'{"friendlyName": "X",}',
    b'{"friendlyName": "X"} {}', b'{"friendlyName": "X\n"}', b"\xff\xfe",
    b'{"friendlyName": "\xff"}', b'{"friendlyName": "\xed\xa0\x80"}', b"\xef\xbb\xbf{", b"\x00",
    b"null", b"true", b"17", b"NaN", b'"friendlyName"', b"[]", b'[{"friendlyName": "X"}]',
    b"[" * MANY_LEVELS, b'{"a":' * MANY_LEVELS, b"[" * MANY_LEVELS + b"]" * MANY_LEVELS,
    b'{"friendlyName": ' + b"[" * MANY_LEVELS + b"]" * MANY_LEVELS + b"}",
    b'{"friendlyName": "X", "maxConnections": ' + BEYOND_INTEGERS.encode() + b"}",
]
NO_JSON: list[Any] = [
    "text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "text/html", "",
    "application/xml", "application/octet-stream", "application", "ÿ",
]
NOT_THERE: list[Any] = [
    "x", "0", "-1", "null", "%00", "%0a", "%ff", "%2e%2e", "%F0%9F%90%98", "'", "a" * 4000, "{}",
    str(uuid.UUID(int=0)), NOWHERE, f"{NOWHERE}%00", NOWHERE.replace("-", ""),
    f"urn:uuid:{NOWHERE}", f"%7B{NOWHERE}%7D", f"{NOWHERE}%20", "²" * 32,
]
NO_KEYS: list[Any] = [
    b"x", b"x" * 8000, "schlüssel".encode(), b"\xff" * 100, b"tnt_" + b"0" * 64, b"' OR true --",
    b"tnt_%00", b"\x01", b"a\tb",
]
# fmt: on


@pytest.fixture(scope="module")
def platform() -> Iterator[Installation]:
    """An installation of its own: what is fuzzed in it would be in other tests' way."""
    installation = Installation()
    try:
        installation.up()
        hurry(installation)
        yield installation
    finally:
        installation.remove()


@pytest.fixture(scope="module")
def one(platform: Installation) -> dict[str, Any]:
    """A database to aim at."""
    return platform.create(friendlyName="Aim", name="aim", ownerEmail="aim@example.com")


@pytest.fixture(scope="module")
def foreign(platform: Installation) -> str:
    """The API key of a customer who owns nothing."""
    scopes = ["databases:read", "databases:write", "keys:read", "keys:write"]
    body = {"name": "Foreign", "scopes": scopes, "customerEmail": "foreign@example.com"}
    with platform.client() as client:
        return str(data(client.post("/api/api-keys", json=body), 201)["key"])


def wanted(platform: Installation) -> tuple[Any, ...]:
    """All that a refused request must leave as it is; warm databases come and go."""
    with platform.control() as control:
        row = control.execute(
            """
            SELECT (SELECT jsonb_agg(to_jsonb(d) ORDER BY id) FROM databases d
                    WHERE status NOT IN ('creating', 'warm')),
                   (SELECT jsonb_agg(to_jsonb(c) ORDER BY id) FROM customers c),
                   (SELECT jsonb_agg(to_jsonb(k) - 'last_used_at' ORDER BY id) FROM api_keys k),
                   (SELECT count(*) FROM idempotency_keys),
                   (SELECT count(*) FROM operations)
            """
        ).fetchone()
    assert row is not None
    return tuple(row)


@pytest.fixture
def untouched(platform: Installation, one: dict[str, Any], foreign: str) -> Iterator[None]:
    """Nothing is changed by the test, and the platform is well after it."""
    assert (one["status"], foreign[:4]) == ("active", "tnt_"), "made before we look"
    before = wanted(platform)
    yield
    assert wanted(platform) == before
    with platform.client() as client:
        assert client.get("/ready").json()["status"] == "ready"


def refused(answer: httpx.Response, *statuses: int) -> dict[str, Any]:
    """What a refusal shows, if it is one of these."""
    assert answer.status_code in statuses, answer.text[:1000]
    return problem(answer, answer.status_code)


# Text


@pytest.mark.parametrize(
    "text",
    NO_LABELS,
)
@pytest.mark.usefixtures("untouched")
def test_a_label_that_cannot_be_shown_is_refused(
    api: httpx.Client, one: dict[str, Any], text: object
) -> None:
    # As ASCII: lone surrogates have no UTF-8.
    body = json.dumps({"friendlyName": text, "ownerEmail": "new@example.com"})
    key = json.dumps({"name": text, "scopes": ["databases:read"]})
    headers = {"Content-Type": "application/json"}
    for answer in (
        api.post("/api/databases", content=body, headers=headers),
        api.patch(f"/api/databases/{one['id']}", content=body, headers=headers),
        api.post("/api/api-keys", content=key, headers=headers),
    ):
        fields = {error["field"] for error in refused(answer, 422)["errors"]}
        assert fields & {"friendlyName", "name"}


@pytest.mark.parametrize("text", [QUOTES, BIDI, EMOJI, "x" * 200, "𐀀\U0010ffff", "%", "null", "-"])
def test_any_other_label_is_kept_as_it_is(
    api: httpx.Client, one: dict[str, Any], text: str
) -> None:
    made = data(api.post("/api/databases", json={"friendlyName": text}), 201)
    assert made["friendly_name"] == text
    assert data(api.get(f"/api/databases/{made['id']}"))["friendly_name"] == text
    found = data(api.get("/api/databases", params={"search": text}))
    assert made["id"] in {row["id"] for row in found}
    changed = data(api.patch(f"/api/databases/{one['id']}", json={"friendlyName": text}))
    assert changed["friendly_name"] == text
    key = data(api.post("/api/api-keys", json={"name": text, "scopes": ["audit:read"]}), 201)
    assert key["name"] == text
    entries = data(api.get("/api/audit-logs", params={"resource_id": key["id"]}))
    assert [entry["resource_name"] for entry in entries] == [text]


@pytest.mark.parametrize(
    "name",
    NO_NAMES,
)
@pytest.mark.usefixtures("untouched")
def test_a_name_that_is_no_slug_is_refused(
    api: httpx.Client, one: dict[str, Any], name: object
) -> None:
    for answer in (
        api.post("/api/databases", json={"name": name}),
        api.patch(f"/api/databases/{one['id']}", json={"name": name}),
    ):
        assert {each["field"] for each in refused(answer, 422)["errors"]} == {"name"}


@pytest.mark.parametrize(
    "email",
    NO_EMAILS,
)
@pytest.mark.usefixtures("untouched")
def test_what_is_no_email_is_refused(api: httpx.Client, email: object) -> None:
    headers = {"Content-Type": "application/json"}
    body = json.dumps({"friendlyName": "X", "ownerEmail": email})
    answer = api.post("/api/databases", content=body, headers=headers)
    assert {each["field"] for each in refused(answer, 422)["errors"]} == {"ownerEmail"}
    key = json.dumps({"name": "X", "scopes": ["admin"], "customerEmail": email})
    answer = api.post("/api/api-keys", content=key, headers=headers)
    assert {each["field"] for each in refused(answer, 422)["errors"]} == {"customerEmail"}


# Numbers, choices, times


@pytest.mark.parametrize(
    "number",
    NO_LIMITS,
)
@pytest.mark.usefixtures("untouched")
def test_a_limit_that_is_none_is_refused(
    api: httpx.Client, one: dict[str, Any], number: str
) -> None:
    headers = {"Content-Type": "application/json"}
    body = f'{{"friendlyName": "X", "maxConnections": {number}}}'
    for answer in (
        api.post("/api/databases", content=body, headers=headers),
        api.patch(f"/api/databases/{one['id']}", content=body, headers=headers),
    ):
        reported = refused(answer, 400, 422)
        if answer.status_code == 422:
            assert {each["field"] for each in reported["errors"]} == {"maxConnections"}


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("databases", {}, "body"),
        ("databases", {"friendlyName": None}, "body"),
        ("databases", {"friendlyName": "X", "environment": "Production"}, "environment"),
        ("databases", {"friendlyName": "X", "environment": None}, "environment"),
        ("databases", {"friendlyName": "X", "kind": "dedicated'"}, "kind"),
        ("databases", {"friendlyName": "X", "shadow": "perhaps"}, "shadow"),
        ("databases", {"friendlyName": "X", "shadow": None}, "shadow"),
        ("databases", {"friendlyName": "X", "status": "active"}, "status"),
        ("databases", {"friendlyName": "X", "__proto__": {}}, "__proto__"),
        ("databases", {"friendlyName": "X", "a\ud800": 1}, "body"),
        ("api-keys", {"name": "X"}, "scopes"),
        ("api-keys", {"name": "X", "scopes": []}, "scopes"),
        ("api-keys", {"name": "X", "scopes": "admin"}, "scopes"),
        ("api-keys", {"name": "X", "scopes": ["root"]}, "scopes.0"),
        ("api-keys", {"name": "X", "scopes": ["admin"] * 1000}, "scopes"),
        ("api-keys", {"name": "X", "scopes": [None]}, "scopes.0"),
    ],
)
@pytest.mark.usefixtures("untouched")
def test_a_body_of_another_shape_is_refused(
    api: httpx.Client, path: str, body: dict[str, Any], field: str
) -> None:
    answer = api.post(
        f"/api/{path}", content=json.dumps(body), headers={"Content-Type": "application/json"}
    )
    assert {each["field"] for each in refused(answer, 422)["errors"]} == {field}


@pytest.mark.parametrize(
    "time",
    NO_EXPIRIES,
)
@pytest.mark.usefixtures("untouched")
def test_an_expiry_that_is_no_time_to_come_is_refused(api: httpx.Client, time: object) -> None:
    body = {"name": "X", "scopes": ["audit:read"], "expiresAt": time}
    answer = api.post("/api/api-keys", json=body)
    assert {each["field"] for each in refused(answer, 422)["errors"]} == {"expiresAt"}


# Bodies


@pytest.mark.parametrize(
    "body",
    NO_OBJECTS,
    ids=lambda body: repr(body[:20]),
)
@pytest.mark.usefixtures("untouched")
def test_a_body_that_is_no_json_object_is_refused(
    api: httpx.Client, one: dict[str, Any], body: bytes
) -> None:
    headers = {"Content-Type": "application/json", "Idempotency-Key": str(uuid.uuid4())}
    for method, path in (
        ("POST", "/api/databases"),
        ("PATCH", f"/api/databases/{one['id']}"),
        ("POST", "/api/api-keys"),
    ):
        refused(api.request(method, path, content=body, headers=headers), 400, 422)


@pytest.mark.parametrize(
    "kind",
    NO_JSON,
)
@pytest.mark.usefixtures("untouched")
def test_a_body_of_another_type_is_refused(api: httpx.Client, kind: str) -> None:
    for path, body in (
        ("databases", {"friendlyName": "X"}),
        ("api-keys", {"name": "X", "scopes": ["audit:read"]}),
    ):
        headers = {b"Content-Type": kind.encode("latin-1")}
        answer = api.post(f"/api/{path}", content=json.dumps(body), headers=headers)
        refused(answer, 415, 422)


def test_of_a_field_named_twice_the_last_counts(api: httpx.Client) -> None:
    answer = api.post(
        "/api/databases",
        content='{"friendlyName": "First", "friendlyName": "Last"}',
        headers={"Content-Type": "application/json"},
    )
    assert data(answer, 201)["friendly_name"] == "Last"


LARGE = 100 * 1024 * 1024


def send_until_answered(platform: Installation, head: str, piece: bytes) -> tuple[bytes, int]:
    """Send up to 100 MiB of a body; the answer's beginning, and how much was taken until then."""
    request = (
        f"POST /api/databases HTTP/1.1\r\nHost: localhost\r\nX-API-Key: {platform.key}\r\n"
        f"Content-Type: application/json\r\n{head}\r\n\r\n"
    )
    sent = 0
    answer = b""
    with socket.create_connection(("127.0.0.1", platform.api_port), timeout=30) as connection:
        connection.sendall(request.encode())
        try:
            while sent < LARGE:
                connection.sendall(piece)
                sent += len(piece)
        except (BrokenPipeError, ConnectionResetError):
            pass  # it has answered and hung up
        try:
            while received := connection.recv(65536):
                answer += received
        except ConnectionResetError:
            pass
    return answer, sent


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.usefixtures("untouched")
def test_a_body_of_100_mb_is_refused_before_it_is_read(
    platform: Installation, chunked: bool
) -> None:
    text = b" " * 65536
    head = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {LARGE}"
    piece = b"10000\r\n" + text + b"\r\n" if chunked else text
    answer, sent = send_until_answered(platform, head, piece)
    assert sent < LARGE / 4, f"{sent:,} bytes were taken"
    assert answer.startswith(b"HTTP/1.1 413 ")


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.usefixtures("untouched")
def test_a_body_that_is_too_large_is_reported_so(api: httpx.Client, chunked: bool) -> None:
    body = b" " * (1024 * 1024 + 1)
    answer = api.post(
        "/api/databases",
        content=iter([body[:1000], body[1000:]]) if chunked else body,
        headers={"Content-Type": "application/json"},
    )
    assert problem(answer, 413)["code"] == "body_too_large"
    assert answer.headers["connection"] == "close"


# Identifiers and queries


@pytest.mark.parametrize(
    "identifier",
    NOT_THERE,
)
@pytest.mark.usefixtures("untouched")
def test_what_is_not_there_is_not_found(api: httpx.Client, identifier: str) -> None:
    for method, path, body in (
        ("GET", f"databases/{identifier}", None),
        ("PATCH", f"databases/{identifier}", {"friendlyName": "X"}),
        ("DELETE", f"databases/{identifier}", None),
        ("GET", f"databases/{identifier}/stats", None),
        ("GET", f"databases/{identifier}/connection-strings", None),
        ("POST", f"databases/{identifier}/rotate-password", None),
        ("GET", f"operations/{identifier}", None),
        ("DELETE", f"api-keys/{identifier}", None),
    ):
        assert problem(api.request(method, f"/api/{path}", json=body), 404)["code"] == "not_found"


@pytest.mark.usefixtures("untouched")
def test_a_kind_of_thing_is_not_another(api: httpx.Client, one: dict[str, Any]) -> None:
    (key, *_) = data(api.get("/api/api-keys"))
    problem(api.get(f"/api/databases/{key['id']}"), 404)
    problem(api.delete(f"/api/databases/{key['id']}"), 404)
    problem(api.delete(f"/api/api-keys/{one['id']}"), 404)
    problem(api.get(f"/api/operations/{one['id']}"), 404)


@pytest.mark.usefixtures("untouched")
def test_what_is_somebody_elses_is_not_found_either(
    platform: Installation, api: httpx.Client, one: dict[str, Any], foreign: str
) -> None:
    keys = data(api.get("/api/api-keys"))
    ours = next(key["id"] for key in keys if key["customer_email"] is None)
    with platform.client(foreign) as anonymous:
        for method, path, body in (
            ("GET", f"databases/{one['id']}", None),
            ("PATCH", f"databases/{one['id']}", {"friendlyName": "X"}),
            ("DELETE", f"databases/{one['id']}", None),
            ("GET", f"databases/{one['id']}/stats", None),
            ("GET", f"databases/{one['id']}/connection-strings", None),
            ("POST", f"databases/{one['id']}/rotate-password", None),
            ("DELETE", f"api-keys/{ours}", None),
        ):
            there = problem(anonymous.request(method, f"/api/{path}", json=body), 404)
            nowhere = path.replace(one["id"], NOWHERE).replace(ours, NOWHERE)
            missing = problem(anonymous.request(method, f"/api/{nowhere}", json=body), 404)
            assert there["detail"] == missing["detail"]


CURSORS = [
    "",
    "x",
    "=",
    "%",
    "\x00",
    "🐘",
    "W10",
    "e30",
    "bnVsbA",
    "WzFd",
    "WyJhIiwiYiJd",
    "a" * 301,
]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("limit", value) for value in ["0", "-1", "1001", "100000", "9" * 400, "1.5", "", "x"]),
        *(("limit", value) for value in ["NaN", "1e2", "٣x", "\x00", "true"]),
        *(("cursor", value) for value in CURSORS),
    ],
)
@pytest.mark.usefixtures("untouched")
def test_a_page_that_cannot_be_is_refused(api: httpx.Client, name: str, value: str) -> None:
    for path in ("databases", "api-keys", "audit-logs"):
        answer = api.get(f"/api/{path}", params={name: value})
        assert {each["field"] for each in refused(answer, 422)["errors"]} == {name}


@pytest.mark.parametrize(
    ("path", "name", "value"),
    [
        ("databases", "search", "a\x00b"),
        ("databases", "search", ""),
        ("databases", "search", "x" * 201),
        ("databases", "search", "a\nb"),
        ("databases", "environment", "production' OR true"),
        ("databases", "status", "warm"),
        ("databases", "status", "active\n"),
        ("databases", "owner", "nobody"),
        ("databases", "sort", "size"),
        ("databases", "Environment", "production"),
        ("audit-logs", "b\x00gus", "1"),
        ("audit-logs", "action", "a\x00b"),
        ("audit-logs", "actor", "x" * 201),
        ("audit-logs", "resource_id", "\x00"),
        ("audit-logs", "result", "OK"),
        ("audit-logs", "since", "yesterday"),
        ("audit-logs", "since", "2026-01-01T00:00:00"),
        ("audit-logs", "until", "0.5"),
        ("audit-logs", "until", "1e400"),
    ],
)
@pytest.mark.usefixtures("untouched")
def test_a_filter_that_cannot_be_is_refused(
    api: httpx.Client, path: str, name: str, value: str
) -> None:
    answer = api.get(f"/api/{path}", params={name: value})
    assert {each["field"] for each in refused(answer, 422)["errors"]} == {name}


ANY_TEXTS = pytest.mark.parametrize(
    "text", ["%", "_", "\\", "'", QUOTES, BIDI, EMOJI, "%00", "x" * 200]
)


@ANY_TEXTS
@pytest.mark.usefixtures("untouched")
def test_a_search_is_for_any_text(api: httpx.Client, text: str) -> None:
    data(api.get("/api/databases", params={"search": text}))


@ANY_TEXTS
@pytest.mark.usefixtures("untouched")
def test_what_no_entry_can_have_is_refused(api: httpx.Client, text: str) -> None:
    answer = api.get("/api/audit-logs", params={"action": text})
    assert {each["field"] for each in refused(answer, 422)["errors"]} == {"action"}
    answer = api.get("/api/audit-logs", params={"actor": text})
    if answer.status_code != 200:  # other tests give such names to keys
        assert {each["field"] for each in refused(answer, 422)["errors"]} == {"actor"}


@pytest.mark.parametrize(
    "time", ["0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59", "1970-01-01T00:00:00Z"]
)
@pytest.mark.usefixtures("untouched")
def test_far_times_are_times(api: httpx.Client, time: str) -> None:
    data(api.get("/api/audit-logs", params={"since": time}))
    data(api.get("/api/audit-logs", params={"until": time}))


@pytest.mark.usefixtures("untouched")
def test_a_query_that_is_no_text_breaks_nothing(api: httpx.Client) -> None:
    for query in ("%ff", "%", "&&==", "search=%ff%fe", "limit=5&limit=6", "%00=%00", "a" * 8000):
        answer = api.get(f"/api/databases?{query}")
        if answer.status_code != 200:
            refused(answer, 400, 422)


# Headers


@pytest.mark.parametrize(
    "key",
    NO_KEYS,
)
@pytest.mark.usefixtures("untouched")
def test_a_wrong_api_key_opens_nothing(platform: Installation, key: bytes) -> None:
    with platform.anonymous() as anonymous:
        for headers in ({b"X-API-Key": key}, {b"Authorization": b"Bearer " + key}):
            for method, path in (("GET", "databases"), ("POST", "databases"), ("POST", "api-keys")):
                answer = anonymous.request(method, f"/api/{path}", headers=headers, json={})
                if answer.status_code == 400:  # the server itself refuses bytes like these
                    assert key == b"\x01"
                    continue
                assert problem(answer, 401)["code"] == "unauthenticated"
                assert answer.headers["www-authenticate"]


@pytest.mark.parametrize(
    "authorization", [b"", b"Bearer", b"Basic eDp5", b"bearer x y", b"\xff \xff"]
)
@pytest.mark.usefixtures("untouched")
def test_another_authorization_opens_nothing(platform: Installation, authorization: bytes) -> None:
    headers = {b"Authorization": authorization}
    with platform.anonymous() as anonymous:
        problem(anonymous.get("/api/databases", headers=headers), 401)


@pytest.mark.parametrize(
    "key", [b"", b"x" * 256, b"x" * 300, "schlüssel".encode(), b"\xff", b"a\tb"]
)
@pytest.mark.usefixtures("untouched")
def test_an_idempotency_key_that_cannot_be_kept_is_refused(
    api: httpx.Client, one: dict[str, Any], key: bytes
) -> None:
    for path, body in (
        ("databases", {"friendlyName": "X"}),
        ("api-keys", {"name": "X", "scopes": ["audit:read"]}),
        (f"databases/{one['id']}/rotate-password", None),
    ):
        answer = api.post(f"/api/{path}", json=body, headers={b"Idempotency-Key": key})
        assert refused(answer, 422)["errors"][0]["field"] == "Idempotency-Key"


@pytest.mark.parametrize(
    "given",
    [b"", b"a b", b"<script>", b"x" * 101, b"\xff", b'"', b"a\tb", "ü".encode(), b"%0d%0aX: y"],
)
def test_a_strange_request_id_is_not_echoed(api: httpx.Client, given: bytes) -> None:
    answer = api.get("/api/databases/x", headers={b"X-Request-ID": given})
    assert str(uuid.UUID(problem(answer, 404)["request_id"])) == answer.headers["x-request-id"]


def test_a_plain_request_id_is_kept(api: httpx.Client) -> None:
    answer = api.get("/api/databases/x", headers={"X-Request-ID": "trace-1.2:3_4"})
    assert problem(answer, 404)["request_id"] == "trace-1.2:3_4"


@pytest.mark.parametrize("method", ["PUT", "TRACE", "OPTIONS", "PROPFIND"])
@pytest.mark.usefixtures("untouched")
def test_methods_that_are_not_there_are_reported_of_those_that_are(
    api: httpx.Client, one: dict[str, Any], method: str
) -> None:
    for path, there in (
        ("/api/databases", {"GET", "POST"}),
        (f"/api/databases/{one['id']}", {"GET", "PATCH", "DELETE"}),
        # Beside the paths of entries, which can be deleted.
        (f"/api/databases/{one['id']}/whitelist/preview", {"POST"}),
        ("/api/api-keys", {"GET", "POST"}),
        ("/health", {"GET"}),
    ):
        answer = api.request(method, path)
        assert problem(answer, 405)["code"] == "method_not_allowed"
        assert set(answer.headers["allow"].split(", ")) == there
