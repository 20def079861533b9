"""`tenantry console`: the address, and how to reach it from another machine."""

import json
from collections.abc import Iterator

import pytest
from cli_support import Cli, FakeApi, installed


@pytest.fixture(name="api")
def _api(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeApi]:
    with installed(monkeypatch) as api:
        yield api


@pytest.fixture(name="cli")
def _cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    return Cli(monkeypatch, capsys)


def test_a_console_on_this_machine_is_forwarded(
    api: FakeApi, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TENANTRY_DOMAIN", "db.example.com")
    found = json.loads(cli("console", "--json").out)
    port = api.url.rpartition(":")[2]
    assert found["url"] == f"{api.url}/"
    assert found["ssh"].startswith(f"ssh -L {port}:127.0.0.1:{port} ")
    assert found["ssh"].endswith("@db.example.com")
    shown = cli("console")
    assert shown.out == f"{api.url}/\n"
    assert f"ssh -L {port}:" in shown.err


def test_one_that_others_reach_is_not(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TENANTRY_URL", "https://db.example.com:3000")
    found = json.loads(cli("console", "--json").out)
    assert found == {"url": "https://db.example.com:3000/", "ssh": None}
