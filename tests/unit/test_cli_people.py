"""``tenantry login``, ``logout`` and ``user``: what is asked, kept and shown."""

import io
import json
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from cli_support import Cli, FakeApi, installed

from tenantry.cli import session_file

TOKEN = "tns_0123456789abcdef"
ANN = {
    "id": "0b5f7c1e-6a54-4d0e-9d3f-2a6a2f0f7a11",
    "email": "ann@example.com",
    "name": None,
    "role": "customer",
    "customer_email": "ann@example.com",
    "customer_databases": 0,
    "mfa": False,
    "disabled_at": None,
    "locked_until": None,
    "last_login_at": None,
    "created_at": "2026-01-02T03:04:05+00:00",
}
SIGNED_IN = {
    "status": "signed_in",
    "token": TOKEN,
    "challenge": None,
    "expires_at": "2026-01-02T15:04:05+00:00",
    "user": ANN,
}


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeApi]:
    with installed(monkeypatch) as fake:
        monkeypatch.setenv("XDG_CONFIG_HOME", str(fake.home / "config"))
        monkeypatch.delenv("TENANTRY_API_KEY")
        yield fake


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    return Cli(monkeypatch, capsys)


def typed(monkeypatch: pytest.MonkeyPatch, *lines: str) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("".join(f"{line}\n" for line in lines)))


def test_a_device_is_remembered_for_each_user(
    api: FakeApi, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    api.on("POST", "/api/auth/login", SIGNED_IN | {"device_token": "tnd_1"})
    api.on("POST", "/api/auth/login", SIGNED_IN | {"device_token": "tnd_2"})
    api.on("POST", "/api/auth/login", SIGNED_IN | {"device_token": "tnd_3"})
    for email in ("ann@example.com", "ann@example.com", "bob@example.com"):
        typed(monkeypatch, "a password of sorts")
        ended = cli("login", email)
        assert ended.code == 0
        assert "tnd_" not in ended.out + ended.err
    asked = [request.body.get("device_token") for request in api.asked("POST", "/api/auth/login")]
    assert asked == [None, "tnd_1", None]
    kept = session_file.path().with_name("devices")
    assert kept.stat().st_mode & 0o777 == 0o600


def test_a_session_is_kept_for_its_owner_and_used_until_logout(
    api: FakeApi, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    api.on("POST", "/api/auth/login", SIGNED_IN)
    typed(monkeypatch, "a password of sorts")
    ended = cli("login", "ann@example.com")
    assert ended.code == 0
    (asked,) = api.asked("POST", "/api/auth/login")
    assert asked.body == {"email": "ann@example.com", "password": "a password of sorts"}
    assert "x-api-key" not in asked.headers
    assert TOKEN not in ended.out + ended.err
    file = session_file.path()
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.parent.stat().st_mode & 0o777 == 0o700

    (api.home / "admin.key").write_text("tnt_admin\n")
    api.on("GET", "/api/databases", [])
    assert cli("db", "list").code == 0
    assert api.requests[-1].headers["x-api-key"] == TOKEN
    api.on("POST", "/api/auth/logout", {"done": True})
    assert cli("logout").code == 0
    assert api.requests[-1].headers["x-api-key"] == TOKEN
    assert not file.exists()
    assert cli("db", "list").code == 0
    assert api.requests[-1].headers["x-api-key"] == "tnt_admin"
    assert cli("logout").code == 0


def test_a_code_is_asked_for(api: FakeApi, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    half = SIGNED_IN | {"status": "mfa_required", "token": None, "challenge": "tnc_1", "user": None}
    api.on("POST", "/api/auth/login", half)
    api.on("POST", "/api/auth/mfa", SIGNED_IN)
    typed(monkeypatch, "a password of sorts", "123456")
    ended = cli("login", "ann@example.com", "--json")
    assert json.loads(ended.out)["user"]["email"] == "ann@example.com"
    (asked,) = api.asked("POST", "/api/auth/mfa")
    assert asked.body == {"challenge": "tnc_1", "code": "123456"}
    assert session_file.load() == (api.url, TOKEN)


def test_a_refused_login_keeps_nothing(
    api: FakeApi, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    api.refuse("POST", "/api/auth/login", 401, "wrong_credentials", title="No", detail="Not right.")
    typed(monkeypatch, "a password of sorts")
    assert cli("login", "ann@example.com").code == 1
    assert not session_file.path().exists()


def test_a_session_goes_nowhere_else(
    api: FakeApi, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = session_file.path()
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps({"url": "https://elsewhere.example.com", "token": TOKEN}))
    api.on("GET", "/api/databases", [])
    assert cli("db", "list").code == 1
    assert api.requests == []
    for broken in ("", "{}", "[]", '{"url": 1}'):
        file.write_text(broken)
        assert session_file.load() is None
    monkeypatch.setenv("TENANTRY_URL", "http://db.example.com")
    typed(monkeypatch, "a password of sorts")
    ended = cli("login", "ann@example.com")
    assert (ended.code, "https" in ended.err) == (1, True)


@pytest.mark.parametrize(
    ("command", "request_", "body"),
    [
        ("disable", ("PATCH", ""), {"disabled": True}),
        ("enable", ("PATCH", ""), {"disabled": False}),
        ("unlock", ("POST", "/unlock"), None),
        ("remove-totp", ("POST", "/remove-totp"), None),
        ("delete", ("DELETE", ""), None),
    ],
)
def test_users_are_changed(
    api: FakeApi, cli: Cli, command: str, request_: tuple[str, str], body: Any
) -> None:
    method, path = request_
    (api.home / "admin.key").write_text("tnt_admin\n")
    api.on("GET", "/api/users", [ANN])
    api.on(method, f"/api/users/{ANN['id']}{path}", ANN)
    ended = cli("user", command, "Ann@Example.com")
    assert ended.code == 0, ended.err
    (asked,) = api.asked(method, f"/api/users/{ANN['id']}{path}")
    assert asked.body == body
    assert cli("user", command, "bob@example.com").code == 1


def test_a_made_password_is_shown_once(api: FakeApi, cli: Cli) -> None:
    (api.home / "admin.key").write_text("tnt_admin\n")
    api.on("POST", "/api/users", ANN | {"password": "aB3dEf7GhJk9"}, status=201)
    ended = cli("user", "create", "ann@example.com", "--customer", "shop@example.com")
    assert ended.code == 0, ended.err
    assert "aB3dEf7GhJk9" in ended.out
    assert "may log in, as a customer, which has 0 databases" in ended.err
    (asked,) = api.asked("POST", "/api/users")
    assert asked.body == {
        "email": "ann@example.com",
        "role": "customer",
        "customer_email": "shop@example.com",
        "new_customer": False,
    }
    # Also their own address is that of a customer, who is not made without being asked for.
    assert cli("user", "create", "ann@example.com").code == 0
    assert api.asked("POST", "/api/users")[1].body == {
        "email": "ann@example.com",
        "role": "customer",
        "customer_email": "ann@example.com",
        "new_customer": False,
    }
    assert cli("user", "create", "ann@example.com", "--administrator").code == 0
    assert api.asked("POST", "/api/users")[2].body == {
        "email": "ann@example.com",
        "role": "administrator",
    }
    api.on("GET", "/api/users", [ANN, ANN | {"disabled_at": ANN["created_at"]}])
    api.on("POST", f"/api/users/{ANN['id']}/reset-password", ANN | {"password": "zZ9"})
    assert "zZ9" in cli("user", "reset-password", str(ANN["id"])).out
    reported = cli("user", "list").out
    assert "active" in reported
    assert "disabled" in reported
