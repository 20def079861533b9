"""``tenantry past`` and ``tenantry db mark`` against an API that answers what a test scripts."""

from collections.abc import Iterator
from typing import Any

import pytest
from cli_support import OPERATION, SHOP, Cli, FakeApi, database, installed, on_a_terminal

PAST = f"/api/databases/{SHOP}/past"
COMPARISON = f"{PAST}/{OPERATION}/comparisons/c1"
FOUND = {
    "id": "c1",
    "columns": [{"name": "id", "type": "integer"}, {"name": "what", "type": "text"}],
    "counts": {"deleted": 1, "changed": 1, "added": 0, "same": 8},
    "blocked": None,
    "moved": 1,
}
ROWS = [
    {"place": 1, "kind": "deleted", "key": ["1"], "then": ["1", None], "now": None},
    {"place": 2, "kind": "changed", "key": ["2"], "then": ["2", "old"], "now": ["2", "new"]},
]
DONE = {"inserted": 1, "updated": 0, "altered": 0, "already": 0, "skipped": 1}
LEFT = {"schema": "public", "table": "orders", "key": ["2"], "reason": "changed_since"}


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeApi]:
    with installed(monkeypatch) as fake:
        fake.on("GET", "/api/databases", [database()])
        row: dict[str, Any] = {"id": OPERATION, "expires_at": "2026-11-30T12:00:00Z"}
        fake.on("GET", PAST, [row])
        fake.on("POST", f"{PAST}/{OPERATION}/comparisons", FOUND, status=201)
        fake.on("GET", f"{COMPARISON}/rows", {"rows": ROWS, "next": None})
        fake.on("POST", f"{COMPARISON}/bring-back", DONE | {"rows": [LEFT]})
        yield fake


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    return Cli(monkeypatch, capsys)


def test_rows_that_differ_are_shown_then_and_now(api: FakeApi, cli: Cli) -> None:
    done = cli("past", "compare", "shop", "public.orders")
    assert done.code == 0
    assert "NULL" in done.out
    assert "old → new" in done.out
    assert "1 deleted, 1 changed, 0 added, 8 the same" in done.err
    assert "1 of the deleted rows have the values of added ones" in done.err
    [asked] = api.asked("POST", f"{PAST}/{OPERATION}/comparisons")
    assert asked.body == {"table": "public.orders"}


def test_rows_come_back_only_with_consent(api: FakeApi, cli: Cli) -> None:
    words = ("past", "bring-back", "shop", "public.orders")
    refused = cli(*words, "--json")
    assert (refused.code, refused.out) == (1, "")
    assert "Error: Not confirmed." in refused.err
    code, seen = on_a_terminal(*words, typed="n\n")
    assert (code, "Bring 2 rows of public.orders back?" in seen) == (1, True)
    assert api.asked("POST", f"{COMPARISON}/bring-back") == []
    done = cli(*words, "--only", "deleted", "--yes")
    assert done.code == 0
    assert "changed since" in done.out
    [asked] = api.asked("POST", f"{COMPARISON}/bring-back")
    assert asked.body == {"kinds": ["deleted"]}


def test_a_past_that_is_not_open_is_reported(monkeypatch: pytest.MonkeyPatch, cli: Cli) -> None:
    with installed(monkeypatch) as fake:
        fake.on("GET", "/api/databases", [database()])
        fake.on("GET", PAST, [{"id": OPERATION, "expires_at": None}])
        refused = cli("past", "tables", "shop")
    assert refused.code == 1
    assert "tenantry past open" in refused.err


def test_a_moment_is_marked(api: FakeApi, cli: Cli) -> None:
    made = {"id": "m1", "label": "deploy", "at": "2026-11-30T12:00:00Z"}
    api.on("POST", f"/api/databases/{SHOP}/marks", made, status=201)
    assert cli("db", "mark", "shop", "deploy").code == 0
    [asked] = api.asked("POST", f"/api/databases/{SHOP}/marks")
    assert asked.body == {"label": "deploy"}
