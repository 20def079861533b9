"""``tenantry plan`` against an API that answers what a test scripts."""

from collections.abc import Iterator
from typing import Any

import pytest
from cli_support import Cli, FakeApi, database, installed

PATH = "/api/plans/standard"


def plan(**changes: Any) -> dict[str, Any]:
    """A row of ``GET /api/plans``."""
    instances = {"max_instances": 3, "instance_cpus": 2.0, "instance_memory_mb": 1024}
    sites = {"max_sites": None, "site_memory_mb": 32, "site_max_clients": 1000}
    return {"name": "standard", **database()["limits"], **instances, **sites, **changes}


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeApi]:
    with installed(monkeypatch) as fake:
        yield fake


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    return Cli(monkeypatch, capsys)


def test_plans_are_listed_with_what_they_grant(api: FakeApi, cli: Cli) -> None:
    api.on("GET", "/api/plans", [plan()], count=1)
    lines = cli("plan", "list").out.splitlines()
    assert lines[0].split()[:5] == ["PLAN", "CONNECTIONS", "POOLED", "RESERVE", "DISK"]
    assert lines[1].split()[:6] == ["standard", "20", "16", "0", "10", "GiB"]


@pytest.mark.parametrize(
    ("words", "body"),
    [
        (
            ("--max-instances", "0", "--instance-cpus", "1.5"),
            {"max_instances": 0, "instance_cpus": 1.5},
        ),
        (("--instance-memory", "2GB"), {"instance_memory_mb": 2048}),
        (("--max-sites", "20"), {"max_sites": 20}),
        (("--site-memory", "1GB"), {"site_memory_mb": 1024}),
        (
            ("--site-memory", "64", "--site-max-clients", "200"),
            {"site_memory_mb": 64, "site_max_clients": 200},
        ),
        (("--no-limit", "max-sites"), {"max_sites": None}),
    ],
)
def test_a_plan_is_changed(
    api: FakeApi, cli: Cli, words: tuple[str, ...], body: dict[str, object]
) -> None:
    api.on("PATCH", PATH, plan())
    ended = cli("plan", "update", "standard", *words)
    assert [each.body for each in api.asked("PATCH", PATH)] == [body]
    assert "3 of 1 GiB, 2 CPUs" in ended.out
    assert "each 32 MiB, 1,000 clients" in ended.out


@pytest.mark.parametrize(
    "words", [(), ("--site-memory", "much"), ("--max-sites", "-1"), ("--no-limit", "sites")]
)
def test_changes_that_are_none(api: FakeApi, cli: Cli, words: tuple[str, ...]) -> None:
    assert cli("plan", "update", "standard", *words).code == 2
    assert not api.asked("PATCH", PATH)


def test_a_refused_size_is_called_by_its_option(api: FakeApi, cli: Cli) -> None:
    refused = {"field": "site_memory_mb", "message": "is at least 8", "code": "value_error"}
    api.refuse("PATCH", PATH, 422, "invalid_input", errors=[refused])
    ended = cli("plan", "update", "standard", "--site-memory", "1")
    assert "--site-memory: is at least 8" in ended.err
