"""Pure parts: settings, tokens, media types, fuzzy names, views, errors."""

import base64
import json
from typing import Any

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rest_clients import SECRET

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


@pytest.mark.parametrize(
    "text", ["no equals", 'openapi-mode = "x"', "server-port = x", 'db-schemas = "a, pg_catalog"']
)
def test_bad_settings(text: str) -> None:
    with pytest.raises(BadConfig):
        read_config(text)


def test_a_file_has_names_and_values() -> None:
    assert parse_file("a-b = true\n\n") == {"a-b": "true"}
    assert parse_file('jwt-role-claim-key = "$$.a[\\"b\\"]$"') == {
        "jwt-role-claim-key": '$.a["b"]$'
    }


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


def test_a_token_without_a_signature_is_called_that() -> None:
    with pytest.raises(ApiError) as raised:
        authenticate(bearer({}, "", "none"))
    assert raised.value.details == "JWT is unsecured but expected 'alg' was not 'none'"


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
    listed = {"r": ["reader", "web_author", "web_admin"]}
    for path, role in (
        ("$.r[-1]", "web_admin"),
        ("$.r[-4]", None),
        ("$.r[?@ == 'web_author']", "web_author"),
        ('$.r[?(@ == "web_author")]', "web_author"),
        ("$['r'][?search(@, '^web_')]", "web_author"),
        ("$.r[?search(@, 'min$')]", "web_admin"),
        (".r[?(@ ^== 'web_')]", "web_author"),
    ):
        assert walk(listed, parse_path(path)) == role
    for path in ("a b", "$.r[?search(@, '(')]", "$.r[?(@ == 'a']"):
        with pytest.raises(ValueError, match="role-claim-key"):
            parse_path(path)


def test_media_types_are_of_any_letter_case() -> None:
    asked = "Text/CSV, application/vnd.pgrst.ARRAY+json; charset=utf-8; nulls=stripped"
    assert set(media.accepted(asked)) == {media.CSV, media.ARRAY_STRIPPED}


def test_parameters_of_media_types() -> None:
    for asked, mime in (
        ("application/json; charset=utf-8", "application/json"),
        ("application/json; $$ odd $$", "application/json"),
        ("application/vnd.pgrst.object ; Nulls = stripped", f"{media.OBJECT};nulls=stripped"),
        ("TEXT/html; level=1", "TEXT/html; level=1"),
        ("undefined", "undefined"),
        (
            'application/vnd.pgrst.plan; for="application/vnd.pgrst.object;nulls=stripped"',
            f'application/vnd.pgrst.plan+text; for="{media.OBJECT};nulls=stripped"',
        ),
        (
            'application/vnd.pgrst.plan+json;options=wal|odd|analyze; for="a/b"',
            'application/vnd.pgrst.plan+json; for="a/b"; options=analyze|wal',
        ),
    ):
        assert media.decode_media(asked).mime == mime


def test_accepted_media_types_are_in_order() -> None:
    found = media.accepted("text/csv;q=0.5, application/json;q=0.8, */*;q=0.1")
    assert found == (media.JSON, media.CSV, media.ANY)
    assert media.accepted(None) == (media.ANY,)


def test_the_first_preference_counts() -> None:
    found = parse_preferences(["tx=rollback, count=exact", "tx=commit, odd"], allow_tx=True)
    assert (found.tx, found.count, found.invalid) == ("rollback", "exact", ("odd",))


def test_preferences_may_have_values_of_any_kind() -> None:
    found = parse_preferences(["timezone=, max-affected=few", "timezone"], allow_tx=True)
    assert (found.timezone, found.max_affected, found.invalid) == ("", None, ("timezone",))


def test_similar_names() -> None:
    assert closest(["films", "actors"], "film", least=0.75) == "films"
    assert closest(["films", "actors"], "xyz", least=0.3) is None
    assert closest(["___", "films"], "__", least=0.3) == "___"
    # What three characters in common do not make similar enough, two may.
    assert closest(["abzzzzzzzz", "xb"], "ab", least=0.3) == "xb"


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


@given(st.text(), st.none() | st.text())
def test_any_raise_is_an_answer(message: str, details: str | None) -> None:
    error = from_database("PGRST", message, details, None, anonymous=True)
    assert (error.status, error.code) == (500, "PGRST121")


@pytest.mark.parametrize(
    ("message", "details"),
    [
        ('{"code": "1", "message": "m", "details": 1}', '{"status": 400, "headers": {}}'),
        ('{"code": "1", "message": "m"}', '{"status": "400", "headers": {}}'),
        ('{"code": "1", "message": "m"}', '{"status": 400, "status_text": 1, "headers": {}}'),
    ],
)
def test_raised_values_are_of_their_types(message: str, details: str) -> None:
    assert from_database("PGRST", message, details, None, anonymous=True).code == "PGRST121"


def test_columns_that_are_no_xml_are_not_acceptable() -> None:
    message = "function xmlagg(text) does not exist"
    assert from_database("42883", message, None, None, anonymous=True).status == 406


def test_raised_headers_end_where_they_should() -> None:
    said = '{"code": "1", "message": "m"}'
    for name, value, code in (
        ("X-A", "b", "1"),
        ("X A", "b", "PGRST121"),
        ("X", r"\r\n", "PGRST121"),
    ):
        details = f'{{"status": 200, "headers": {{"{name}": "{value}"}}}}'
        assert from_database("PGRST", said, details, None, anonymous=True).code == code
