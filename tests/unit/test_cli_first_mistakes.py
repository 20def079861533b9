"""What a command answers to a first day's mistakes, such as an empty name."""

from collections.abc import Iterator
from typing import Any

import pytest
import typer
from cli_support import (
    OPERATION,
    SHOP,
    Cli,
    FakeApi,
    database,
    installed,
    on_a_terminal,
    strings,
)

from tenantry.cli import main, words

OTHER = "7f8d2a33-0d6b-4d2f-8f53-6c1c5a0a9e02"
BRANCH = "2c9d7a18-3b1f-4b7e-9f21-51a3f4f0c603"

SUCCEEDED = {
    "id": OPERATION,
    "kind": "database.restore",
    "status": "succeeded",
    "step": None,
    "progress": 1.0,
    "done_bytes": None,
    "total_bytes": None,
    "bytes_per_second": None,
    "seconds_left": None,
    "error": None,
}


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeApi]:
    with installed(monkeypatch) as fake:
        yield fake


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    return Cli(monkeypatch, capsys)


def two(api: FakeApi, **second: Any) -> None:
    named = {"id": OTHER, "database_name": "tenant_rstvwxzbcdfg", **second}
    api.on("GET", "/api/databases", [database(), database(**named)])


@pytest.mark.parametrize(
    ("second", "hint"),
    [
        ({"environment": "staging"}, "Say which with --env, or by its tenant_… name."),
        ({"owner_email": "bob@example.com"}, "Say which by its tenant_… name."),
    ],
)
def test_several_databases_of_a_name_are_reported_apart_by_what_differs(
    api: FakeApi, cli: Cli, second: dict[str, Any], hint: str
) -> None:
    two(api, **second)
    reported = cli("db", "show", "shop").err
    assert "Several databases have this name" in reported
    assert hint in reported


def test_an_empty_name_is_named_as_such(api: FakeApi, cli: Cli) -> None:
    reported = cli("db", "show", " ").err
    assert "The name of the database is empty." in reported
    assert api.requests == []


def test_a_command_in_a_hint_names_the_database_as_this_one_did(api: FakeApi, cli: Cli) -> None:
    api.on("GET", "/api/databases", [database(name="our shop")])
    api.on("POST", f"/api/databases/{SHOP}/restore", {"id": OPERATION}, status=202)
    ended = SUCCEEDED | {"result": {"replaced": "tenant_b_before_1", "changed": [], "lost": []}}
    api.on("GET", f"/api/operations/{OPERATION}", ended)
    said = (
        "restore",
        "our shop",
        "--env",
        "production",
        "--to",
        "20m",
        "--as",
        "in-place",
        "--yes",
    )
    reported = cli(*said).err
    named = "'our shop' --env production"
    assert f"tenantry restore {named} --to previous --as in-place" in reported
    assert f"tenantry db replaced {named}" in reported


@pytest.mark.parametrize(
    ("said", "method", "path"),
    [
        (("branch", "promote", "try-it"), "POST", f"/api/databases/{BRANCH}/promote"),
        (
            ("branch", "reset", "try-it"),
            "POST",
            f"/api/databases/{SHOP}/branches/{BRANCH}/reset",
        ),
        (("backup", "delete", "try-it", "a.dump"), "DELETE", f"/api/databases/{BRANCH}/backups/b1"),
        (
            ("restore", "try-it", "--to", "latest", "--as", "in-place"),
            "POST",
            f"/api/databases/{BRANCH}/restore",
        ),
    ],
)
def test_what_replaces_or_deletes_data_asks_or_needs_yes(
    api: FakeApi, cli: Cli, said: tuple[str, ...], method: str, path: str
) -> None:
    api.on("GET", "/api/databases", [database(id=BRANCH, name="try-it", parent_id=SHOP)])
    api.on("GET", f"/api/databases/{SHOP}", database())
    api.on("GET", f"/api/databases/{BRANCH}/backups", [{"id": "b1", "file_name": "a.dump"}])
    api.on(method, path, {"id": OPERATION})
    no_wait = () if said[0] == "backup" else ("--no-wait",)
    code, _ = on_a_terminal(*said, *no_wait, typed="n\n")
    assert (code, api.asked(method, path)) == (1, [])
    code, _ = on_a_terminal(*said, *no_wait, typed="y\n")
    assert (code, len(api.asked(method, path))) == (0, 1)
    code, seen = on_a_terminal(*said, *no_wait, "--yes")
    assert (code, len(api.asked(method, path))) == (0, 2)
    assert "?" not in seen
    for without in ((), ("--json",)):
        refused = cli(*said, *no_wait, *without)
        assert (refused.code, len(api.asked(method, path))) == (1, 2)
        assert "Add --yes" in refused.err
    assert cli(*said, *no_wait, "--json", "--yes").code == 0


def test_a_promotion_names_the_database_that_it_replaces(api: FakeApi) -> None:
    api.on("GET", "/api/databases", [database(id=BRANCH, name="try-it", parent_id=SHOP)])
    api.on("GET", f"/api/databases/{SHOP}", database())
    _, seen = on_a_terminal("branch", "promote", "try-it", typed="n\n", columns=120)
    assert "shop (production, tenant_bcdfghjkmnpq) is replaced" in " ".join(seen.split())


def test_the_version_before_the_first_is_no_option(api: FakeApi, cli: Cli) -> None:
    api.on("GET", "/api/databases", [database()])
    path = f"/api/databases/{SHOP}/migrations"
    api.on("POST", path, {"id": OPERATION}, status=202)
    ended: dict[str, Any] = {"version": None, "dirty": False, "steps": []}
    api.on("GET", f"/api/operations/{OPERATION}", SUCCEEDED | {"result": ended})
    done = cli("migrate", "force", "-1", "--database", "shop")
    assert "No such option" not in done.err
    (asked,) = api.asked("POST", path)
    assert (asked.body["action"], asked.body["version"]) == ("force", -1)


def test_undoing_everything_needs_consent_without_a_terminal(cli: Cli, api: FakeApi) -> None:
    refused = cli("migrate", "down", "--path", str(api.home), "--database", "shop")
    assert "Add --yes" in refused.err


def test_logging_that_is_turned_off_is_not_called_logging(api: FakeApi, cli: Cli) -> None:
    api.on("GET", "/api/databases", [database()])
    path = f"/api/databases/{SHOP}/logs/settings"
    nothing = {
        "statements": "none",
        "min_duration_ms": None,
        "errors": False,
        "keep_days": None,
        "paused_until": None,
    }
    api.on("GET", path, nothing | {"errors": True})
    api.on("PUT", path, nothing)
    assert "shop logs nothing from now on" in cli("db", "log-settings", "shop", "--off").err


def test_a_key_may_be_said_to_expire_never(api: FakeApi, cli: Cli) -> None:
    row = {"id": SHOP, "name": "ci", "scopes": ["audit:read"], "key": "tnt_new"}
    api.on("POST", "/api/api-keys", row, status=201)
    said = ("key", "create", "--name", "ci", "--scope", "audit:read", "--expires")
    assert cli(*said, "never").code == 0
    assert "expires_at" not in api.requests[0].body


def test_an_empty_list_shows_whether_something_was_looked_for(api: FakeApi, cli: Cli) -> None:
    api.on("GET", "/api/databases", [])
    assert "There is no database yet." in cli("db", "list").err
    assert "There is no such database" in cli("db", "list", "--env", "staging").err


def test_the_problem_of_a_whole_request_is_a_sentence(api: FakeApi, cli: Cli) -> None:
    wrong = {"field": "body", "message": "seeds need a blueprint", "code": "value_error"}
    detail = "body: seeds need a blueprint"
    api.refuse("POST", "/api/databases", 422, "invalid_input", detail=detail, errors=[wrong])
    reported = cli("db", "create", "--name", "shop").err
    assert "  seeds need a blueprint" in reported.splitlines()
    assert "body" not in reported


def test_the_body_of_an_import_is_its_file() -> None:
    found = words.Words(typer.main.get_command(main.program()), ["import", "shop"])
    assert found.field("body") == "--file"
    assert found.field("from") == "the connection string"


def test_a_selector_is_named_as_it_was_written() -> None:
    found = words.Words(typer.main.get_command(main.program()), ["migrate", "up", "--all"])
    fields = ("environment", "owner_email", "blueprint")
    assert [found.field(field) for field in fields] == ["--selector"] * 3
    assert found.text("set accept_edited.") == "set --accept-edited."


def test_a_refused_credential_is_named(
    api: FakeApi, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    api.refuse("GET", "/api/databases", 401, "unauthenticated", detail="No.", hint="Log in again.")
    monkeypatch.setenv("TENANTRY_API_KEY", "tnt_revoked")
    ended = cli("db", "list")
    assert ended.code == 1
    assert "Log in again. The credential sent is that of TENANTRY_API_KEY." in ended.err


def test_an_address_without_tls_is_not_taken_for_a_platform_that_is_down(
    api: FakeApi, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TENANTRY_API_KEY", "tnt_key")
    monkeypatch.setenv("TENANTRY_URL", api.url.replace("http://", "https://"))
    ended = cli("db", "list")
    assert "begin the address in TENANTRY_URL with http://" in ended.err
    assert "tenantry up" not in ended.err


NAMED = pytest.mark.parametrize(
    ("command", "path"),
    [
        (("db", "create"), "/api/databases"),
        (("key", "create", "--scope", "audit:read"), "/api/api-keys"),
        (("cluster", "add", "--no-wait"), "/api/clusters"),
    ],
)


@NAMED
def test_a_name_is_an_argument_or_an_option(
    api: FakeApi, cli: Cli, command: tuple[str, ...], path: str
) -> None:
    made = database() | strings("s3cret") | {"password": "s3cret", "key": "tnt_x", "scopes": []}
    api.on("POST", path, made, status=201)
    for said in (["shop"], ["--name", "shop"], ["shop", "--name", "shop"]):
        ended = cli(*command, *said)
        assert ended.code == 0, ended.err
    assert [asked.body["name"] for asked in api.asked("POST", path)] == ["shop"] * 3


@NAMED
def test_two_names_are_refused(api: FakeApi, cli: Cli, command: tuple[str, ...], path: str) -> None:
    ended = cli(*command, "shop", "--name", "blog")
    assert ended.code == 2
    assert "shop, and --name blog" in ended.err.replace("\n", " ")
    assert not api.asked("POST", path)


@NAMED
def test_without_a_name_it_is_required(cli: Cli, command: tuple[str, ...], path: str) -> None:
    if path != "/api/clusters":  # which names a new one itself
        ended = cli(*command)
        assert ended.code == 2
        assert "--name NAME" in ended.err
