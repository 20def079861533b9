"""``tenantry restore`` against an API that answers what a test scripts."""

from collections.abc import Iterator
from typing import Any

import pytest
from cli_support import OPERATION, SHOP, Cli, FakeApi, database, installed, on_a_terminal

PATH = f"/api/databases/{SHOP}/restore"


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeApi]:
    with installed(monkeypatch) as fake:
        fake.on("GET", "/api/databases", [database()])
        fake.on("POST", PATH, {"id": OPERATION}, status=202)
        yield fake


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    return Cli(monkeypatch, capsys)


def sent(api: FakeApi) -> list[Any]:
    return [request.body for request in api.asked("POST", PATH)]


def test_what_was_replaced_is_put_back_by_who_says_in_place_only(api: FakeApi, cli: Cli) -> None:
    words = ("restore", "shop", "--to", "previous", "--no-wait")
    refused = cli(*words)
    assert refused.code == 1
    assert "Add --as in-place --yes to do that." in refused.err
    assert sent(api) == []
    assert cli(*words, "--as", "in-place", "--yes").code == 0
    assert sent(api) == [{"to": "previous", "as": "in_place"}]


@pytest.mark.parametrize("said", [(), ("--as", "in-place")])
def test_a_person_at_a_terminal_is_asked_before_a_database_is_replaced(
    api: FakeApi, said: tuple[str, ...]
) -> None:
    words = ("restore", "shop", "--to", "previous", "--no-wait", *said)
    code, seen = on_a_terminal(*words, typed="n\n")
    assert (code, sent(api)) == (1, [])
    assert "is replaced: its direct sessions end" in " ".join(seen.split())
    code, _ = on_a_terminal(*words, typed="y\n")
    assert (code, sent(api)) == (0, [{"to": "previous", "as": "in_place"}])


def test_who_says_yes_is_not_asked(api: FakeApi) -> None:
    words = ("restore", "shop", "--to", "latest", "--as", "in-place", "--no-wait", "--yes")
    code, seen = on_a_terminal(*words)
    assert (code, sent(api)) == (0, [{"to": "latest", "as": "in_place"}])
    assert "Replace it?" not in seen


def test_a_new_database_is_given_a_name_and_nobody_is_asked(api: FakeApi) -> None:
    words = ("restore", "shop", "--to", "latest", "--name", "shop-before", "--no-wait")
    code, seen = on_a_terminal(*words)
    assert (code, sent(api)) == (0, [{"to": "latest", "name": "shop-before"}])
    assert "Replace it?" not in seen


def test_rows_are_restored_only_with_consent(api: FakeApi, cli: Cli) -> None:
    words = ("restore", "shop", "--to", "latest", "--table", "public.orders", "--as", "rows")
    refused = cli(*words, "--no-wait")
    assert (refused.code, sent(api)) == (1, [])
    assert "Add --yes" in refused.err
    assert cli(*words, "--no-wait", "--yes").code == 0
    assert sent(api) == [{"to": "latest", "as": "rows", "tables": ["public.orders"]}]
