"""``tenantry whitelist`` against an API that answers what a test scripts."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cli_support import SHOP, Cli, FakeApi, database, installed, on_a_terminal

PATH = f"/api/databases/{SHOP}/whitelist"


@pytest.fixture
def shop(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeApi]:
    with installed(monkeypatch) as fake:
        fake.on("GET", "/api/databases", [database()])
        yield fake


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    return Cli(monkeypatch, capsys)


def listed_as(network: str, **more: Any) -> dict[str, Any]:
    """What the API answers of an entry that was added or removed."""
    usual = {"id": "e1", "ip_address": network, "description": None, "expires_at": None}
    return usual | {"closes": False, "opens": False, "ended_sessions": 0} | more


@pytest.mark.parametrize(
    ("typed", "listed"),
    [("127.0.0.1", "127.0.0.1/32"), ("10.0.0.5/8", "10.0.0.0/8"), ("::1", "::1/128")],
)
def test_an_entry_is_removed_by_the_words_that_added_it(
    shop: FakeApi, cli: Cli, typed: str, listed: str
) -> None:
    entry = listed_as(listed)
    shop.on("POST", PATH, entry)
    added = cli("whitelist", "add", "shop", typed)
    assert (f"{typed} was taken for all of {listed}" in added.err) == ("/" in typed)
    shop.on("GET", PATH, [entry])
    shop.on("DELETE", f"{PATH}/e1", entry)
    removed = cli("whitelist", "remove", "shop", typed)
    assert (removed.code, listed in removed.err) == (0, True)
    assert cli("whitelist", "remove", "shop", "192.0.2.1").code == 1


def test_the_first_entry_and_the_last_say_what_they_do(shop: FakeApi, cli: Cli) -> None:
    shop.on("POST", PATH, listed_as("192.0.2.0/24", closes=True, ended_sessions=2))
    said = " ".join(cli("whitelist", "add", "shop", "192.0.2.0/24").err.split())
    assert "It is the first entry: from now on shop refuses everybody else" in said
    assert "2 open sessions were ended." in said
    shop.on("GET", PATH, [listed_as("192.0.2.0/24")])
    shop.on("DELETE", f"{PATH}/e1", listed_as("192.0.2.0/24", opens=True, ended_sessions=1))
    said = " ".join(cli("whitelist", "remove", "shop", "192.0.2.0/24").err.split())
    assert "It was the last entry: shop may be reached from everywhere now." in said
    assert "1 open session was ended." in said


def test_an_entry_among_others_says_no_more_than_that(shop: FakeApi, cli: Cli) -> None:
    entry = listed_as("192.0.2.0/24", expires_at="2031-12-31T12:00:00+00:00")
    shop.on("POST", PATH, entry)
    (said,) = cli("whitelist", "add", "shop", "192.0.2.0/24").err.splitlines()
    assert "may reach shop until 2031-12-31" in said


def test_an_end_is_kept_unless_it_is_said(shop: FakeApi, cli: Cli) -> None:
    shop.on("POST", PATH, listed_as("192.0.2.1/32"))
    for words in ((), ("--expires", "never"), ("--expires", "30d")):
        assert cli("whitelist", "add", "shop", "192.0.2.1", *words).code == 0
    kept, never, month = (request.body for request in shop.asked("POST", PATH))
    assert kept == {"ip_address": "192.0.2.1"}
    assert never == kept | {"expires_at": None}
    assert month["expires_at"] is not None


@pytest.mark.parametrize(
    ("there", "address", "asks"),
    [
        ([], "192.0.2.0/24", True),
        ([], "127.0.0.0/8", False),
        ([listed_as("198.51.100.1/32")], "192.0.2.0/24", False),
    ],
)
def test_who_would_refuse_themselves_is_asked(
    shop: FakeApi,
    there: list[dict[str, Any]],
    address: str,
    asks: bool,
) -> None:
    shop.on("GET", PATH, there, caller_address="127.0.0.1")
    shop.on("POST", PATH, listed_as(address))
    words = ("whitelist", "add", "shop", address)
    code, seen = on_a_terminal(*words, typed="n\n")
    assert ("come from 127.0.0.1, and are refused as well." in seen) == asks
    assert (code, len(shop.asked("POST", PATH))) == ((1, 0) if asks else (0, 1))
    before = len(shop.asked("POST", PATH))
    assert on_a_terminal(*words, "--yes")[0] == 0
    assert len(shop.asked("POST", PATH)) == before + 1


PREVIEW = {
    "changes": [
        {"action": "add", "ip_address": "192.0.2.0/24", "description": "x", "expires_at": None}
    ],
    "closes": False,
    "opens": False,
    "ending_sessions": [
        {"username": "user_a", "address": "198.51.100.1", "endpoint": "pooler", "sessions": 2}
    ],
    "version": "9f86d081884c7d65",
}
ENTRY = {"ip_address": "192.0.2.0/24", "description": "office", "expires_at": None}


@pytest.fixture
def allowed(tmp_path: Path) -> str:
    file = tmp_path / "allowed.txt"
    file.write_text("# ours\n192.0.2.0/24 # office\n")
    return str(file)


def test_a_list_is_replaced_after_what_it_changes_was_shown(
    shop: FakeApi, cli: Cli, allowed: str
) -> None:
    shop.on("POST", f"{PATH}/preview", PREVIEW)
    shop.on("PUT", PATH, [listed_as("192.0.2.0/24")])
    dry = cli("whitelist", "replace", "shop", allowed, "--dry-run")
    assert dry.code == 0
    assert dry.out.splitlines()[1].split()[:2] == ["add", "192.0.2.0/24"]
    assert dry.out.splitlines()[-1].split() == ["user_a", "198.51.100.1", "pooler", "2"]
    assert cli("whitelist", "replace", "shop", allowed, "--json").code == 1  # nobody can be asked
    assert on_a_terminal("whitelist", "replace", "shop", allowed, typed="n\n")[0] == 1
    assert not shop.asked("PUT", PATH)
    assert cli("whitelist", "replace", "shop", allowed, "--yes").code == 0
    (sent,) = (request.body for request in shop.asked("PUT", PATH))
    assert sent == {"entries": [ENTRY], "version": PREVIEW["version"]}


def test_an_empty_file_opens_nothing_by_itself(shop: FakeApi, cli: Cli, tmp_path: Path) -> None:
    file = tmp_path / "none"
    file.write_text("# nobody\n")
    words = ("whitelist", "replace", "shop", str(file), "--yes")
    said = cli(*words)
    assert (said.code, "--open" in said.err) == (1, True)
    assert not shop.requests
    shop.on("POST", f"{PATH}/preview", PREVIEW | {"changes": [], "opens": True})
    shop.on("PUT", PATH, [])
    opened = cli(*words, "--open")
    assert (opened.code, "reached from everywhere" in opened.err) == (0, True)
    assert shop.asked("PUT", PATH)[0].body["entries"] == []


@pytest.mark.usefixtures("shop")
def test_a_list_that_cannot_be_read_is_named(cli: Cli, tmp_path: Path) -> None:
    assert "cannot be read from /nowhere" in cli("whitelist", "replace", "shop", "/nowhere").err
    file = tmp_path / "wrong"
    file.write_text("192.0.2.0/24\nlocalhost\n")
    assert "FILE: line 2: is neither" in cli("whitelist", "replace", "shop", str(file), "--yes").err
