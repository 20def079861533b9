"""What people read: tables at 80 and 120 columns and in a pipe, failures in the CLI's words."""

import datetime as dt
import re
import time
from collections.abc import Iterator
from typing import Any

import pytest
from cli_support import SHOP, Cli, FakeApi, database, installed, on_a_terminal

from tenantry.cli import main, output


@pytest.fixture(name="api")
def _api(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeApi]:
    with installed(monkeypatch) as api:
        yield api


@pytest.fixture(autouse=True)
def _zone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What a test sets TZ to is over with it."""
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.fixture(name="cli")
def _cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    return Cli(monkeypatch, capsys)


def ago(**span: float) -> str:
    return (dt.datetime.now(dt.UTC) - dt.timedelta(**span)).isoformat()


# ---- tables

KEY: dict[str, Any] = {
    "id": SHOP,
    "name": "deployment of the shop",
    "prefix": "tnt_3fKq",
    "scopes": ["databases:read", "databases:write", "backups:read"],
    "customer_email": "ann@example.com",
    "last_used_at": None,
    "expires_at": None,
    "revoked_at": None,
    "status": "active",
    "parent": None,
    "created_by": {"kind": "user", "id": SHOP, "name": "ops@example.com"},
}

DATABASES = {
    80: """\
NAME         ENVIRONMENT  DATABASE             STATUS  OWNER                AGE
shop         production   tenant_bcdfghjkmnpq  active  ann@example.com      5 d
portal-acme  staging      tenant_qpnmkjhgfdcb  active  it@acme.example.com  3 h
No room for FRIENDLY NAME, PLAN, MAX: a wider terminal or --json shows them.
""",
    120: """\
NAME         FRIENDLY NAME  ENVIRONMENT  DATABASE             STATUS  PLAN      MAX  \
OWNER                AGE
shop         The shop       production   tenant_bcdfghjkmnpq  active  standard   20  \
ann@example.com      5 d
portal-acme  -              staging      tenant_qpnmkjhgfdcb  active  premium   100  \
it@acme.example.com  3 h
""",
}
KEYS = {
    80: """\
NAME                    SCOPES                     CUSTOMER         AGE  EXPIRES
deployment of the shop  databases:read, database…  ann@example.com  5 d  -
No room for BEGINS WITH, CREATED BY, USED, ID: a wider terminal or --json shows
them.
""",
    120: """\
NAME                    SCOPES                       CUSTOMER         AGE  EXPIRES  ID
deployment of the shop  databases:read, databases:…  ann@example.com  5 d  -        \
0b5f7c1e-6a54-4d0e-9d3f-2a6a2f0f7a11
No room for BEGINS WITH, CREATED BY, USED: a wider terminal or --json shows them.
""",
}


def two_databases() -> list[dict[str, Any]]:
    other = {
        "name": "portal-acme",
        "friendly_name": "portal-acme",
        "environment": "staging",
        "database_name": "tenant_qpnmkjhgfdcb",
        "owner_email": "it@acme.example.com",
        "plan": "premium",
        "max_connections": 100,
    }
    return [
        database(created_at=ago(days=5)),
        database(**other | {"created_at": ago(hours=3)}),
    ]


@pytest.mark.parametrize("columns", [80, 120])
def test_databases_on_a_terminal(api: FakeApi, columns: int) -> None:
    api.on("GET", "/api/databases", two_databases())
    code, seen = on_a_terminal("db", "list", no_color=True, columns=columns)
    assert code == 0
    assert seen.replace("\r\n", "\n") == DATABASES[columns]


def test_databases_in_a_pipe_are_whole_and_end_without_blanks(api: FakeApi, cli: Cli) -> None:
    api.on("GET", "/api/databases", two_databases())
    ended = cli("db", "list")
    assert ended.out == DATABASES[120]
    assert ended.err == ""


@pytest.mark.parametrize("columns", [80, 120])
def test_keys_on_a_terminal(api: FakeApi, columns: int) -> None:
    api.on("GET", "/api/api-keys", [KEY | {"created_at": ago(days=5)}])
    _, seen = on_a_terminal("key", "list", no_color=True, columns=columns)
    assert seen.replace("\r\n", "\n") == KEYS[columns]


def test_keys_in_a_pipe_keep_every_column_and_scope(api: FakeApi, cli: Cli) -> None:
    api.on("GET", "/api/api-keys", [KEY | {"created_at": ago(days=5)}])
    head, row = cli("key", "list").out.splitlines()
    assert head.endswith("  ID")
    assert "  databases:read, databases:write, backups:read  " in row
    assert row.endswith(SHOP)


SHEET = {
    "PART": ["pooler", "a part with a name of some length"],
    "STATE": ["down", "running"],
    "DETAIL": ["It was killed by the kernel, which had no memory left for it.", "/run/a/long/path"],
}


def test_prose_at_the_end_is_wrapped_between_words() -> None:
    assert output._laid_out(SHEET, 72) == [
        "PART                               STATE    DETAIL",
        "pooler                             down     It was killed by the kernel,",
        "                                            which had no memory left for",
        "                                            it.",
        "a part with a name of some length  running  /run/a/long/path",
    ]


def test_prose_before_the_end_is_cut_to_a_width_that_says_something() -> None:
    lines = output._laid_out(SHEET, 62)
    assert lines is not None
    assert max(map(len, lines)) <= 62
    assert lines[-1] == "a part with a name of some…  running  /run/a/long/path"
    assert output._laid_out(SHEET, 40) is None


def test_a_wide_letter_takes_two_columns() -> None:
    sheet: dict[str, list[object]] = {"NAME": ["データ", "shop"], "MAX": [5, 20]}
    assert output._laid_out(sheet, None) == ["NAME    MAX", "データ    5", "shop     20"]


def test_a_table_that_fits_nowhere_keeps_its_first_column_whole(
    api: FakeApi,
) -> None:
    api.on("GET", "/api/databases", [database(name="n" * 60)])
    _, seen = on_a_terminal("db", "list", no_color=True, columns=40)
    assert seen.split()[:2] == ["NAME", "n" * 60]


def test_a_moment_is_shown_in_the_readers_zone_and_in_json_as_it_is(
    api: FakeApi, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", "Asia/Kolkata")
    time.tzset()
    row = {
        "id": SHOP, "kind": "backup", "status": "succeeded", "step": None, "progress": 1.0,
        "resource_kind": "database", "resource_id": SHOP, "resource_name": "tenant_b7kx2mw9qz4p",
        "done_bytes": None, "total_bytes": None, "bytes_per_second": None, "seconds_left": None,
        "error": None, "result": None, "created_at": "2026-01-02T03:04:05+00:00",
        "started_at": "2026-01-02T03:04:05.678901+00:00", "finished_at": None,
    }  # fmt: skip
    api.on("GET", f"/api/operations/{SHOP}", row)
    out = cli("operation", "show", SHOP).out.splitlines()
    assert "begun     2026-01-02 08:34:05+05:30" in out
    assert "2026-01-02T03:04:05.678901+00:00" in cli("operation", "show", SHOP, "--json").out


# ---- failures


def refused(api: FakeApi, method: str, path: str, *errors: tuple[str, str], **more: Any) -> None:
    fields = [{"field": field, "message": text, "code": "invalid"} for field, text in errors]
    first = "{field}: {message}".format(**fields[0]) if len(fields) == 1 else "Some are wrong."
    problem = {"title": "The request is not valid", "detail": first, "errors": fields, **more}
    api.refuse(method, path, 422, "invalid_input", **problem)


def test_a_field_is_reported_as_the_option_that_it_came_from(api: FakeApi, cli: Cli) -> None:
    said = "“databases:wirte” is none of databases:read, databases:write. "
    refused(api, "POST", "/api/api-keys", ("scopes.0", f"{said}Did you mean databases:write?"))
    ended = cli("key", "create", "--name", "ci", "--scope", "databases:wirte")
    assert ended.err.splitlines() == [
        "Error: The request is not valid.",
        "  --scope: “databases:wirte” is none of databases:read, databases:write. "
        "Did you mean databases:write?",
    ]


def test_a_route_is_reported_as_the_command_that_does_the_same(api: FakeApi, cli: Cli) -> None:
    said = "there is no plan premum; GET /api/plans lists them"
    refused(api, "POST", "/api/databases", ("plan", said))
    ended = cli("db", "create", "--name", "shop", "--plan", "premum")
    assert ended.err.splitlines()[1:] == [
        "  --plan: there is no plan premum; `tenantry plan list` lists them"
    ]


def test_every_field_of_several_is_an_option(api: FakeApi, cli: Cli) -> None:
    refused(
        api,
        "POST",
        "/api/databases",
        ("owner_email", "is no address"),
        ("max_connections", "is more than 500"),
        ("disk_quota_bytes", "is less than temp_file_limit_bytes"),
        hint="Raise disk_quota_bytes, or leave owner_email out.",
    )
    ended = cli("db", "create", "--name", "shop")
    assert ended.err.splitlines()[1:] == [
        "  Some are wrong.",
        "  --owner: is no address",
        "  --max-connections: is more than 500",
        "  --disk-quota: is less than --temp-file-limit",
        "  → Raise --disk-quota, or leave --owner out.",
    ]


def test_changes_have_options_of_their_own(api: FakeApi, cli: Cli) -> None:
    api.on("GET", "/api/databases", [database()])
    refused(api, "PATCH", f"/api/databases/{SHOP}", ("name", "is bad"), ("environment", "is bad"))
    ended = cli("db", "update", "shop", "--new-name", "-", "--env", "production")
    assert ended.err.splitlines()[2:] == ["  --new-name: is bad", "  --new-env: is bad"]


def test_an_option_of_another_command_is_named_with_it(api: FakeApi, cli: Cli) -> None:
    api.refuse(
        "GET", "/api/operations", 409, "conflict", title="It is full", detail="It is full.",
        hint="Raise disk_quota_bytes, or leave tables out.",
    )  # fmt: skip
    assert cli("operation", "list").err.splitlines()[2:] == [
        "  → Raise --disk-quota (`tenantry db update`), or leave tables out."
    ]


def test_what_postgresql_names_is_left_as_it_is(api: FakeApi, cli: Cli) -> None:
    api.on("GET", "/api/databases", [database()])
    detail = 'column "friendly_name" does not exist'
    api.refuse("PATCH", f"/api/databases/{SHOP}", 409, "conflict", title="No", detail=detail)
    ended = cli("db", "update", "shop", "--friendly-name", "x")
    assert ended.err.splitlines()[1] == f"  {detail}"


def test_a_moment_of_the_apis_is_reported_in_the_readers_zone(
    api: FakeApi, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", "Asia/Kolkata")
    time.tzset()
    api.refuse(
        "GET", "/api/databases", 422, "outside_window", title="That moment cannot be restored",
        detail="That is before the first backup.",
        hint="The first moment that can be restored is 2026-01-02 03:04:05 UTC.",
    )  # fmt: skip
    assert cli("db", "list").err.splitlines()[2:] == [
        "  → The first moment that can be restored is 2026-01-02 08:34:05+05:30."
    ]


def test_how_long_to_wait_is_reported_in_seconds(api: FakeApi, cli: Cli) -> None:
    api.headers["Retry-After"] = "12"
    api.refuse(
        "GET", "/api/databases", 429, "rate_limited", title="Too many requests",
        detail="Your key may send 60 a minute.", hint="Wait as long as Retry-After says.",
    )  # fmt: skip
    assert cli("db", "list").err.splitlines()[2:] == ["  → Wait 12 seconds."]


def test_a_slip_in_a_name_is_recognised_and_nothing_unrelated_offered(
    api: FakeApi, cli: Cli
) -> None:
    mine = database()
    unrelated = database(name="billing", friendly_name=None, owner_email="shpo@example.com")
    api.on("GET", "/api/databases", [unrelated])  # the search finds owners, too
    api.on("GET", "/api/databases", [mine, unrelated])
    assert "→ Did you mean shop?" in cli("db", "show", "shpo").err
    api.on("GET", "/api/databases", [unrelated])
    assert "→ `tenantry db list --all` shows them." in cli("db", "show", "crm").err


def test_a_failure_on_a_terminal_is_wrapped_under_its_title(api: FakeApi) -> None:
    api.refuse(
        "GET", "/api/databases", 403, "forbidden", title="This API key may not do that",
        detail="It has the scopes audit:read and platform:read, and this needs databases:read "
        "as well.", hint="Use a key that has it, or have an administrator make one.",
    )  # fmt: skip
    code, seen = on_a_terminal("db", "list", no_color=True, columns=60)
    assert code == 1
    assert seen.replace("\r\n", "\n") == (
        "Error: This API key may not do that.\n"
        "  It has the scopes audit:read and platform:read, and this\n"
        "  needs databases:read as well.\n"
        "  → Use a key that has it, or have an administrator make\n"
        "  one.\n"
    )


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ("db", "list", "--env", "prodction"),
            "“prodction” is none of production, staging, development. Did you mean production?",
        ),
        (("db", "list", "--limit", "ten"), "Invalid value for '--limit': “ten” is not a whole"),
        (("db", "list", "--limit", "0"), "Invalid value for '--limit': 0 is less than 1."),
        (("explain", "shop"), "Did you mean `tenantry db explain`?"),
        (("extension", "enable", "shop", "citext"), "Did you mean `tenantry extension add`?"),
        (("migrate", "down", "shop"), "A database is named by --database."),
        (("db", "lsit"), "No such command 'lsit'. Did you mean 'list'"),
    ],
)
@pytest.mark.usefixtures("api")
def test_wrong_usage_names_the_option_and_what_may_be_meant(
    cli: Cli, words: tuple[str, ...], said: str
) -> None:
    ended = cli(*words)
    assert ended.code == 2
    assert said in " ".join(ended.err.replace("│", " ").split())
    assert "Value error" not in ended.err


# ---- help


@pytest.mark.usefixtures("api")
def test_help_is_by_topic_and_in_the_order_of_use(cli: Cli) -> None:
    out = cli("--help").out
    titles = [f"─ {topic} ─" for topic in main.TOPICS]
    commands = [f"│ {name} " for name in main.COMMANDS]
    for shown in (titles, commands):
        places = [out.find(each) for each in shown]
        assert -1 not in places
        assert places == sorted(places)


@pytest.mark.parametrize(
    ("group", "first", "last"),
    [("db", "create", "delete"), ("key", "create", "revoke"), ("whitelist", "add", "remove")],
)
@pytest.mark.usefixtures("api")
def test_a_group_begins_with_what_makes_and_ends_with_what_deletes(
    cli: Cli, group: str, first: str, last: str
) -> None:
    names = re.findall(
        r"^│ ([a-z-]+) ", cli(group, "--help").out.partition("Commands")[2], re.MULTILINE
    )
    assert (names[0], names[-1]) == (first, last)


@pytest.mark.usefixtures("api")
def test_a_flag_has_no_type_in_help(cli: Cli) -> None:
    out = cli("db", "create", "--help").out
    assert re.search(r"│ +--json +Print JSON", out)
    assert "<bool>" not in out
    assert "--name" in out


@pytest.mark.parametrize(
    ("words", "path", "row", "kept"),
    [
        (
            ("operation", "list"),
            "/api/operations",
            {
                "id": SHOP, "kind": "database.restore", "status": "failed", "step": "recover",
                "progress": 0.3, "created_at": ago(hours=1), "resource_name": "tenant_bcdfghjkmnpq",
            },
            "ID KIND STATUS AGE",
        ),
        (
            ("audit",),
            "/api/audit-logs",
            {
                "at": ago(hours=1), "actor": "ann@example.com", "action": "database.create",
                "resource_title": "shop", "resource_kind": "database", "result": "refused",
                "address": "203.0.113.7", "details": {"environment": "production", "plan": "hobby"},
            },
            "WHEN WHO ACTION WHAT RESULT",
        ),
        (
            ("db", "replaced", "shop"),
            f"/api/databases/{SHOP}/replaced",
            {
                "id": SHOP, "database_name": "tenant_bcdfghjkmnpq_before_5d0e6cf2a1b3",
                "replaced_at": ago(hours=1), "expires_at": ago(days=-7), "size_bytes": 8_000_000,
            },
            "ID REPLACED DROPPED SIZE",
        ),
    ],
)  # fmt: skip
def test_a_narrow_terminal_shows_what_happened(
    api: FakeApi, words: tuple[str, ...], path: str, row: dict[str, Any], kept: str
) -> None:
    api.on("GET", "/api/databases", [database()])
    api.on("GET", path, [row])
    code, seen = on_a_terminal(*words, columns=80, no_color=True)
    assert code == 0
    assert seen.splitlines()[0].split() == kept.split()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Starting the pooler", "Starting the pooler …"),
        ("Going on without backups: the disk is full.", None),
        ("Going on although backups are not ready: [Errno 13] denied", "denied …"),
    ],
)
def test_a_step_ends_with_dots_and_a_sentence_with_its_full_stop(
    text: str, shown: str | None
) -> None:
    assert output.ongoing(text).endswith(shown or text)
