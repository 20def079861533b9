"""``--role``: the connection of an additional role instead of the owner role's."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cli_support import MASK, SHOP, Cli, FakeApi, database, installed, strings

ROLE = "user_bcdfghjkmnpq_reporting"


def role() -> dict[str, Any]:
    """A row of ``GET /api/databases/{id}/roles``."""
    renamed = {
        name: str(strings()[name]).replace("user_bcdfghjkmnpq", ROLE)
        for name in ("connection_string", "connection_string_pooled")
    }
    return {
        "id": "0b5f7c1e-6a54-4d0e-9d3f-2a6a2f0f7a12",
        "database_id": SHOP,
        "name": "reporting",
        "username": ROLE,
        "access": "read_only",
        "prisma": {"DATABASE_URL": f"{renamed['connection_string_pooled']}&pgbouncer=true"},
        "connection": {"username": ROLE, "password": MASK},
        **renamed,
    }


@pytest.fixture(name="api")
def _api(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeApi]:
    with installed(monkeypatch) as api:
        api.on("GET", "/api/databases", [database()])
        api.on("GET", f"/api/databases/{SHOP}/connection-strings", strings())
        api.on("GET", f"/api/databases/{SHOP}/roles", [role()])
        api.text("/ca.crt", "-----BEGIN CERTIFICATE-----\n")
        yield api


@pytest.fixture(name="cli")
def _cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    return Cli(monkeypatch, capsys)


@pytest.mark.usefixtures("api")
@pytest.mark.parametrize("name", ["reporting", ROLE])
def test_the_string_of_a_role_is_its_own(cli: Cli, name: str) -> None:
    ended = cli("db", "url", "shop", "--role", name, "--pooled")
    assert ended.out == role()["connection_string_pooled"] + "\n"
    assert "tenantry role rotate-password" in ended.err


@pytest.mark.usefixtures("api")
def test_the_strings_of_a_role_are_json_in_the_format_that_is_asked_for(cli: Cli) -> None:
    found = json.loads(cli("db", "url", "shop", "--role", "reporting", "--json").out)
    assert found["role"] == ROLE
    assert found["connection_string"] == role()["connection_string"]
    assert "shadow_database_url" not in found
    assert "access" not in found


@pytest.mark.usefixtures("api")
def test_a_role_has_no_shadow_database(cli: Cli) -> None:
    ended = cli("db", "url", "shop", "--role", "reporting", "--shadow")
    assert ended.code == 1
    assert f"{ROLE} has no shadow database" in ended.err


@pytest.mark.usefixtures("api")
@pytest.mark.parametrize("command", ["url", "env", "psql"])
def test_a_misspelt_role_is_named(cli: Cli, command: str) -> None:
    ended = cli("db", command, "--role", "reportin", "shop")
    assert ended.code == 1
    assert "Did you mean reporting?" in ended.err


@pytest.mark.usefixtures("api")
def test_a_role_does_not_replace_the_owner_roles_password_in_a_file(
    cli: Cli, tmp_path: Path
) -> None:
    written = cli("db", "env", "shop", "--write", str(tmp_path))
    assert written.code == 0, written.err
    env_file = tmp_path / ".env"
    env_file.write_text(env_file.read_text().replace(MASK, "the-only-copy"))
    refused = cli("db", "env", "shop", "--role", "reporting", "--write", str(tmp_path))
    assert refused.code == 1
    assert "DATABASE_URL" in refused.err
    assert "the-only-copy" in env_file.read_text()
    other = tmp_path / "reports"
    done = cli("db", "env", "shop", "--role", "reporting", "--write", str(other))
    assert done.code == 0, done.err
    assert f"PGUSER={ROLE}" in (other / ".env").read_text()
