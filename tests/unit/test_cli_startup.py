"""What a short command does not load, since each costs as long as the rest of it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from cli_support import database, installed, strings

from tenantry.base import local_api, settings
from tenantry.base.errors import MachineError

COSTLY = {
    "asyncio",
    "cryptography",
    "httpx",
    "psycopg",
    "pydantic",
    "pydantic_settings",
    "rich.console",
    "rich.progress",
    "structlog",
    "tenantry.services",
}
PROGRAM = """
import atexit, json, os, sys
atexit.register(lambda: os.write(3, json.dumps(sorted(sys.modules)).encode()))
from tenantry.cli.main import run
run()
"""


@pytest.mark.parametrize(
    "words",
    [
        ("db", "list"),
        ("db", "list", "--env", "production", "--limit", "5", "--json"),
        ("db", "show", "shop"),
        ("db", "url", "shop"),
        ("key", "list"),
        ("operation", "list"),
        ("audit", "--since", "1h", "--limit", "5"),
        ("whitelist", "list", "shop"),
        ("cluster", "backups", "shared-1"),
        ("migrate", "version", "--database", "shop"),
    ],
)
def test_a_command_that_only_asks_loads_no_more_than_it_needs(
    monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    with installed(monkeypatch) as api:
        row = database()
        api.on("GET", "/api/databases", [row])
        api.on("GET", f"/api/databases/{row['id']}", row)
        api.on("GET", f"/api/databases/{row['id']}/connection-strings", strings())
        allowlist = f"/api/databases/{row['id']}/whitelist"
        for path in ("/api/api-keys", "/api/operations", "/api/audit-logs", allowlist):
            api.on("GET", path, [])
        api.on("GET", "/api/clusters", [{"id": "1", "name": "shared-1"}])
        backups = {"backups": [], "repositories": [], "in_progress": True}
        api.on("GET", "/api/clusters/1/backups", backups)
        stands = {"version": 1, "dirty": False, "running": False, "applied": []}
        api.on("GET", f"/api/databases/{row['id']}/migrations", stands)
        reading, writing = os.pipe()
        done = subprocess.run(
            ["bash", "-c", f'exec "$@" 3>&{writing}', "-", sys.executable, "-c", PROGRAM, *words],
            pass_fds=[writing],
            capture_output=True,
            check=False,
        )
        os.close(writing)
        with os.fdopen(reading) as loaded:
            there = set(json.load(loaded))
    assert done.returncode == 0, done.stderr
    # Migrations are read here, by the modules that the platform reads them with.
    costly = COSTLY - {"asyncio", "tenantry.services"} if words[0] == "migrate" else COSTLY
    assert there & costly == set()


@pytest.fixture(name="home")
def _home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    for name in list(os.environ):
        if name.startswith("TENANTRY_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    Path("h").mkdir()
    monkeypatch.setenv("TENANTRY_HOME", "h")
    monkeypatch.setattr(local_api, "LONGEST_HOME", 500)
    monkeypatch.setattr(settings, "LONGEST_HOME", 500)
    return tmp_path / "h"


@pytest.mark.parametrize(
    "said",
    [
        {},
        {"TENANTRY_API_PORT": "3100"},
        {"tenantry_api_port": "3100"},
        {"TENANTRY_API_HOST": "0.0.0.0", "TENANTRY_DOMAIN": "db.example.com"},  # noqa: S104
        {"TENANTRY_API_HOST": "::1"},
        {"TENANTRY_API_HOST": "localhost", "TENANTRY_DOMAIN": "203.0.113.7"},
        {"TENANTRY_DOMAIN": "DB.Example.com."},
        {"TENANTRY_DOMAIN": "2001:db8::1"},
    ],
)
@pytest.mark.parametrize("written", ["", "TENANTRY_API_PORT=3200\nTENANTRY_DOMAIN='a.example'\n"])
def test_the_api_is_where_the_settings_say(
    home: Path, monkeypatch: pytest.MonkeyPatch, said: dict[str, str], written: str
) -> None:
    (home / "tenantry.env").write_text(written)
    for name, value in said.items():
        monkeypatch.setenv(name, value)
    assert local_api.load() == settings.load().local_api


@pytest.mark.parametrize("port", ["0", "65536", "http", "", "٣"])
def test_a_port_that_is_none_is_refused_as_by_the_settings(
    home: Path, monkeypatch: pytest.MonkeyPatch, port: str
) -> None:
    assert home.is_dir()
    monkeypatch.setenv("TENANTRY_API_PORT", port)
    with pytest.raises(MachineError, match="TENANTRY_API_PORT"):
        local_api.load()
