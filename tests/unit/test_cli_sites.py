"""``tenantry cache`` against an API that answers what a test scripts."""

from collections.abc import Iterator
from typing import Any

import pytest
from cli_support import SHOP, Cli, FakeApi, installed, on_a_terminal

PATH = f"/api/sites/{SHOP}"


def site(**changes: Any) -> dict[str, Any]:
    """A row of ``GET /api/sites``."""
    return {
        "id": SHOP,
        "name": "shop",
        "status": "active",
        "redis_url": "rediss://site:***@localhost:6379/0",
        "cache_url": "http://localhost:3002",
        "key_prefix": f"site:{SHOP}:",
        "memory_mb": 32,
        "max_clients": 100,
        "eviction": "volatile-lru",
        "persistence": "none",
        "semantic": "exact",
        "isolation": "dedicated",
        "networks": [],
        "reached_from": "everywhere",
        "reached_why": None,
        "created_at": "2026-01-02T03:04:05.678901+00:00",
        "updated_at": "2026-01-02T03:04:05.678901+00:00",
        **changes,
    }


@pytest.fixture
def shop(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeApi]:
    with installed(monkeypatch) as fake:
        fake.on("GET", "/api/sites", [site()])
        yield fake


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    return Cli(monkeypatch, capsys)


@pytest.mark.parametrize(
    ("words", "body"),
    [
        (("--semantic", "shadow"), {"semantic": "shadow"}),
        (("--memory", "64"), {"memory_mb": 64}),
        (("--memory", "1GB", "--new-name", "big"), {"memory_mb": 1024, "name": "big"}),
        (("--allow", "203.0.113.7"), {"networks": ["203.0.113.7"]}),
        (("--allow", ""), {"networks": []}),
    ],
)
def test_a_site_is_changed(
    shop: FakeApi, cli: Cli, words: tuple[str, ...], body: dict[str, object]
) -> None:
    shop.on("PATCH", PATH, site())
    ended = cli("cache", "update", "shop", *words)
    assert ended.code == 0
    assert [each.body for each in shop.asked("PATCH", PATH)] == [body]
    assert ("install-embedder" in ended.err) == ("semantic" in body)


@pytest.mark.parametrize(
    "words", [(), ("--memory", "-1"), ("--memory", "much"), ("--semantic", "onn")]
)
def test_changes_that_are_none(shop: FakeApi, cli: Cli, words: tuple[str, ...]) -> None:
    assert cli("cache", "update", "shop", *words).code == 2
    assert not shop.asked("PATCH", PATH)


def test_a_refused_address_is_called_by_its_option(shop: FakeApi, cli: Cli) -> None:
    refused = {"field": "networks.0", "message": "is neither", "code": "value_error"}
    shop.refuse("PATCH", PATH, 422, "invalid_input", errors=[refused])
    assert "--allow: is neither" in cli("cache", "update", "shop", "--allow", "x").err


@pytest.mark.parametrize(("verb", "method"), [("flush", "POST"), ("delete", "DELETE")])
def test_keys_are_deleted_after_a_yes(shop: FakeApi, cli: Cli, verb: str, method: str) -> None:
    path = f"{PATH}/flush" if verb == "flush" else PATH
    shop.on(method, path, site())
    assert cli("cache", verb, "shop", "--json").code == 1
    assert on_a_terminal("cache", verb, "shop", typed="n\n")[0] == 1
    assert not shop.asked(method, path)
    assert cli("cache", verb, "shop", "-y").code == 0


@pytest.mark.usefixtures("shop")
def test_a_file_without_a_key_is_named(cli: Cli) -> None:
    said = cli("cache", "proxy", "shop", "--openai-key", "/nowhere/key").err
    assert "cannot be read from /nowhere/key: No such file" in said
    assert "- for standard input" in " ".join(said.split())


@pytest.mark.parametrize(
    ("words", "body"),
    [
        (("--most-temperature", "0"), {"most_temperature": 0.0}),
        (("--requests-per-minute", "0"), {"requests_per_minute": None}),
        (("--openai-url", ""), {"openai_url": None}),
    ],
)
def test_the_providers_of_a_site_are_changed(
    shop: FakeApi, cli: Cli, words: tuple[str, ...], body: dict[str, object]
) -> None:
    shop.on("PATCH", f"{PATH}/proxy", {"has_openai_key": False})
    assert cli("cache", "proxy", "shop", *words).code == 0
    assert [each.body for each in shop.asked("PATCH", f"{PATH}/proxy")] == [body]


def test_what_is_of_instances_names_their_option(shop: FakeApi, cli: Cli) -> None:
    ended = cli("db", "create", "--name", "shop", "--memory", "1GB")
    assert (ended.code, "--dedicated" in ended.err) == (2, True)
    assert not shop.asked("POST", "/api/databases")
