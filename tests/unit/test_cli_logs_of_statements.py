"""``tenantry db logs`` and ``vacuum --full``: what is said where there is nothing to show."""

from collections.abc import Iterator
from typing import Any

import pytest
from cli_support import OPERATION, SHOP, Cli, FakeApi, database, installed

LOGS = f"/api/databases/{SHOP}/logs"
VACUUM = f"/api/databases/{SHOP}/vacuum-full"


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeApi]:
    with installed(monkeypatch) as fake:
        fake.on("GET", "/api/databases", [database()])
        fake.on("GET", LOGS, [])
        yield fake


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    return Cli(monkeypatch, capsys)


@pytest.mark.usefixtures("api")
def test_a_log_of_nothing_says_so(cli: Cli) -> None:
    assert "Nothing is logged of shop" in cli("db", "logs", "shop").err


def test_an_empty_log_says_why(monkeypatch: pytest.MonkeyPatch, cli: Cli) -> None:
    log = {
        "statements": "ddl",
        "min_duration_ms": None,
        "errors": True,
        "keep_days": None,
        "paused_until": None,
    }
    with installed(monkeypatch) as api:
        api.on("GET", "/api/databases", [database(log=log)])
        api.on("GET", LOGS, [])
        said = cli("db", "logs", "shop", "--kind", "error").err
    assert "There is no such entry of shop (statements: ddl" in said
    assert "Sessions that were open before" in said


def table(name: str) -> dict[str, Any]:
    return {"table": name, "size_bytes": 4096, "returned_bytes": 0}


def test_a_table_that_is_not_there_is_not_an_empty_database(api: FakeApi, cli: Cli) -> None:
    api.on("GET", VACUUM, [table("public.events"), table("public.orders")])
    assert "public.orders" in cli("db", "vacuum", "shop", "--full", "--dry-run").out
    one = cli("db", "vacuum", "shop", "--full", "--dry-run", "--table", "public.events")
    assert "public.orders" not in one.out
    slip = cli("db", "vacuum", "shop", "--full", "--dry-run", "--table", "events")
    assert slip.code == 1
    assert "Did you mean public.events?" in slip.err


def test_that_nothing_was_worth_it_is_no_success_of_nothing(api: FakeApi, cli: Cli) -> None:
    result = {"tables": [], "skipped": [], "returned_bytes": 0}
    done = {
        "id": OPERATION,
        "status": "succeeded",
        "progress": 1.0,
        "done_bytes": None,
        "bytes_per_second": None,
        "seconds_left": None,
        "kind": "database.vacuum_full",
        "step": None,
        "error": None,
        "result": result,
    }
    api.on("POST", VACUUM, done)
    api.on("GET", f"/api/operations/{OPERATION}", done)
    said = cli("db", "vacuum", "shop", "--full")
    assert said.code == 0
    assert "Nothing was rewritten" in said.err
    assert "✓" not in said.err
