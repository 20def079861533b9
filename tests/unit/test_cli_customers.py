"""A customer's address in a command: mistyped, it does not become a new customer."""

from collections.abc import Iterator
from typing import Any

import pytest
from cli_support import SHOP, Cli, FakeApi, database, installed, on_a_terminal, strings

USER = {
    "id": SHOP,
    "email": "cara@example.com",
    "customer_email": "ann@example.com",
    "customer_databases": 2,
}
KEY = {"id": SHOP, "name": "ci", "scopes": ["audit:read"], "key": "tnt_new"}
MADE = database() | strings("s3cret") | {"password": "s3cret"}
COMMANDS = {
    "/api/databases": (("db", "create", "--name", "shop", "--owner"), "owner_email", MADE),
    "/api/users": (
        ("user", "create", "cara@example.com", "--customer"),
        "customer_email",
        USER | {"role": "customer", "password": "s3cret"},
    ),
    "/api/api-keys": (
        ("key", "create", "--name", "ci", "--scope", "audit:read", "--customer"),
        "customer_email",
        KEY,
    ),
}
PATHS = pytest.mark.parametrize("path", COMMANDS)


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeApi]:
    with installed(monkeypatch) as fake:
        for path, (_, field, made) in COMMANDS.items():
            message = "there is no customer anne@example.com yet. Did you mean ann@example.com?"
            fake.refuse(
                "POST",
                path,
                422,
                "unknown_customer",
                title="No customer has this address",
                detail=f"{field}: {message}",
                hint="If it is a new customer, set new_customer.",
                errors=[{"field": field, "message": message, "code": "unknown_customer"}],
            )
            fake.on("POST", path, made, status=201)
        yield fake


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    return Cli(monkeypatch, capsys)


def sent(api: FakeApi, path: str) -> list[Any]:
    """What each request said of the customer."""
    _, field, _ = COMMANDS[path]
    return [(r.body[field], r.body.get("new_customer")) for r in api.asked("POST", path)]


@PATHS
def test_a_script_has_to_consent_to_a_new_customer(api: FakeApi, cli: Cli, path: str) -> None:
    words, _, _ = COMMANDS[path]
    refused = cli(*words, "anne@example.com")
    assert refused.code == 1
    assert f"{words[-1]}: there is no customer anne@example.com yet." in refused.err
    assert "Did you mean ann@example.com?" in refused.err
    assert "If it is a new customer, set --new-customer." in refused.err
    assert sent(api, path) == [("anne@example.com", False)]
    assert cli(*words, "anne@example.com", "--new-customer").code == 0
    assert sent(api, path)[1:] == [("anne@example.com", None)]


@PATHS
def test_a_person_at_a_terminal_is_asked_for_it(api: FakeApi, path: str) -> None:
    words, _, _ = COMMANDS[path]
    code, seen = on_a_terminal(*words, "anne@example.com", typed="n\n")
    assert code == 1
    assert "Did you mean ann@example.com?" in " ".join(seen.split())
    api.scripts["POST", path] = [
        (422, b'{"code":"unknown_customer","detail":"None yet."}', "application/problem+json"),
        api.scripts["POST", path][-1],
    ]
    code, _ = on_a_terminal(*words, "anne@example.com", typed="y\n")
    assert code == 0
    assert sent(api, path) == [
        ("anne@example.com", False),
        ("anne@example.com", False),
        ("anne@example.com", None),
    ]


def test_a_database_of_nobody_is_given_to_a_known_customer_unless_said(
    api: FakeApi, cli: Cli
) -> None:
    path = f"/api/databases/{SHOP}"
    api.on("GET", "/api/databases", [database(owner_email=None)])
    api.on("PATCH", path, database())
    assert cli("db", "update", "shop", "--owner", "ann@example.com").code == 0
    assert cli("db", "update", "shop", "--owner", "new@example.com", "--new-customer").code == 0
    assert [request.body for request in api.asked("PATCH", path)] == [
        {"owner_email": "ann@example.com", "new_customer": False},
        {"owner_email": "new@example.com"},
    ]


def test_without_a_customer_nothing_is_said_of_one(api: FakeApi, cli: Cli) -> None:
    api.scripts["POST", "/api/databases"] = api.scripts["POST", "/api/databases"][1:]
    assert cli("db", "create", "--name", "shop").code == 0
    (request,) = api.asked("POST", "/api/databases")
    assert request.body == {"name": "shop"}


def test_the_answer_names_the_customer_of_a_user(api: FakeApi, cli: Cli) -> None:
    api.scripts["POST", "/api/users"] = api.scripts["POST", "/api/users"][1:]
    words, _, _ = COMMANDS["/api/users"]
    reported = cli(*words, "ann@example.com").err
    assert "may log in, for the customer ann@example.com, which has 2 databases" in reported


CUSTOMER = {
    "id": SHOP,
    "email": "ann@example.com",
    "plan": "standard",
    "databases": 1,
    "users": 0,
    "api_keys": 2,
    "backups": 0,
    "operations": 0,
    "created_at": "2026-01-02T03:04:05+00:00",
}


def test_a_customer_is_shown_and_removed_by_its_address(api: FakeApi, cli: Cli) -> None:
    api.on("GET", "/api/customers", [CUSTOMER])
    api.on("DELETE", f"/api/customers/{SHOP}", CUSTOMER)
    assert "ann@example.com" in cli("customer", "list").out
    assert "API keys" in cli("customer", "show", "ann@example.com").out
    done = cli("customer", "remove", "ann@example.com")
    assert (done.code, done.out) == (0, "")
    assert "ann@example.com is removed" in done.err
    assert [r.query["email"] for r in api.asked("GET", "/api/customers")[1:]] == (
        ["ann@example.com"] * 2
    )


def test_a_customer_is_given_a_plan(api: FakeApi, cli: Cli) -> None:
    api.on("GET", "/api/customers", [CUSTOMER])
    api.on("PATCH", f"/api/customers/{SHOP}", CUSTOMER | {"plan": "premium"})
    ended = cli("customer", "update", "ann@example.com", "--plan", "premium")
    assert [r.body for r in api.asked("PATCH", f"/api/customers/{SHOP}")] == [{"plan": "premium"}]
    assert "ann@example.com has the plan premium" in ended.err
    assert cli("customer", "update", "ann@example.com").code == 2


def test_a_misspelt_customer_is_not_found_but_suggested(api: FakeApi, cli: Cli) -> None:
    api.on("GET", "/api/customers", [])
    api.on("GET", "/api/customers", [CUSTOMER])
    ended = cli("customer", "remove", "anne@example.com")
    assert ended.code == 1
    assert "Did you mean ann@example.com?" in ended.err
