"""``tenantry cache whitelist`` against an API that answers what a test scripts."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cli_support import SHOP, Cli, FakeApi, installed, on_a_terminal
from test_cli_allowlists import PREVIEW, listed_as
from test_cli_sites import site

PATH = f"/api/sites/{SHOP}/whitelist"
WHY = "the rules of the packet filter could not be set"
CLOSED = {"reached_from": "this_machine", "reached_why": WHY}


@pytest.fixture
def shop(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeApi]:
    with installed(monkeypatch) as fake:
        yield fake


def there(fake: FakeApi, **changes: Any) -> None:
    """Let the site be as these fields say."""
    fake.on("GET", "/api/sites", [site(**changes)])
    fake.on("GET", f"/api/sites/{SHOP}", site(**changes))


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    return Cli(monkeypatch, capsys)


def words_of(text: str) -> str:
    return " ".join(text.split())


def test_entries_are_added_listed_and_removed(shop: FakeApi, cli: Cli) -> None:
    there(shop)
    shop.on("GET", PATH, [])
    assert "shop may be reached from everywhere." in cli("cache", "whitelist", "list", "shop").err
    entry = listed_as("192.0.2.1/32", closes=True, ended_sessions=2)
    shop.on("POST", PATH, entry)
    said = words_of(cli("cache", "whitelist", "add", "shop", "192.0.2.1", "--yes").err)
    assert "shop refuses everybody else, but programs on the platform's machine, until" in said
    assert "2 open sessions were ended." in said
    assert "machine only" not in said
    assert [each.body for each in shop.asked("POST", PATH)] == [{"ip_address": "192.0.2.1"}]
    shop.scripts[("GET", PATH)].clear()
    shop.on("GET", PATH, [entry])
    assert "192.0.2.1/32" in cli("cache", "whitelist", "list", "shop").out
    shop.on("DELETE", f"{PATH}/e1", listed_as("192.0.2.1/32", opens=True))
    said = words_of(cli("cache", "whitelist", "remove", "shop", "192.0.2.1").err)
    assert "It was the last entry: shop may be reached from everywhere now." in said
    missing = cli("cache", "whitelist", "remove", "shop", "192.0.2.9")
    assert (missing.code, "tenantry cache whitelist list shop" in missing.err) == (1, True)


def test_a_site_that_cannot_obey_its_list_is_called_closed(
    shop: FakeApi, cli: Cli, tmp_path: Path
) -> None:
    there(shop, **CLOSED)
    shop.on("POST", PATH, listed_as("192.0.2.1/32"))
    shop.on("GET", PATH, [listed_as("192.0.2.1/32")])
    shop.on("DELETE", f"{PATH}/e1", listed_as("192.0.2.1/32"))
    shop.on("POST", f"{PATH}/preview", PREVIEW)
    shop.on("PUT", PATH, [])
    file = tmp_path / "allowed"
    file.write_text("192.0.2.1\n")
    for verb, *more in (
        ("add", "192.0.2.1", "--yes"),
        ("remove", "192.0.2.1"),
        ("replace", str(file), "--yes"),
    ):
        words = ("cache", "whitelist", verb, "shop", *more)
        assert f"shop is reached from the platform's machine only: {WHY}." in words_of(
            cli(*words).err
        )
        assert WHY not in cli(*words, "--json").out


def test_a_list_is_replaced_after_what_it_changes_was_shown(shop: FakeApi, tmp_path: Path) -> None:
    there(shop)
    shop.on("POST", f"{PATH}/preview", PREVIEW)
    shop.on("PUT", PATH, [])
    file = tmp_path / "allowed"
    file.write_text("192.0.2.0/24 # office\n")
    words = ("cache", "whitelist", "replace", "shop", str(file))
    assert on_a_terminal(*words, typed="n\n")[0] == 1
    assert not shop.asked("PUT", PATH)
    assert on_a_terminal(*words, typed="y\n")[0] == 0
    assert shop.asked("PUT", PATH)[0].body["version"] == PREVIEW["version"]


def test_a_closed_site_is_shown_with_the_reason(shop: FakeApi, cli: Cli) -> None:
    there(shop, networks=["192.0.2.1/32"], **CLOSED)
    assert WHY in words_of(cli("cache", "show", "shop").err)
