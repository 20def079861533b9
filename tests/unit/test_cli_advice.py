"""``tenantry db advice``, ``vacuum``, ``reindex``, ``create-index``: what they send and show."""

from collections.abc import Iterator
from typing import Any

import pytest
from cli_support import OPERATION, SHOP, Cli, FakeApi, database, installed

PATH = f"/api/databases/{SHOP}"
FINDING = {
    "code": "no_primary_key",
    "severity": "info",
    "object": "public.events",
    "detail": "Nothing distinguishes its 7 rows.",
    "statement": 'ALTER TABLE "public"."events" ADD PRIMARY KEY USING INDEX "by id";',
    "risk": "Locks the table for a moment.",
    "muted_at": None,
}


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeApi]:
    with installed(monkeypatch) as fake:
        fake.on("GET", "/api/databases", [database()])
        yield fake


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    return Cli(monkeypatch, capsys)


def test_findings_are_shown_with_their_statements(api: FakeApi, cli: Cli) -> None:
    muted = FINDING | {"object": "public.more", "statement": None, "muted_at": "2026-11-30"}
    api.on("GET", f"{PATH}/advice", [FINDING, muted])
    shown = cli("db", "advice", "shop", "--all").out.splitlines()
    assert shown[:4] == [
        "info  no_primary_key:public.events",
        "  Nothing distinguishes its 7 rows.",
        f"  {FINDING['statement']}",
        "  Risk: Locks the table for a moment.",
    ]
    assert shown[4] == "info  no_primary_key:public.more (muted)"
    assert len(shown) == 7
    (asked,) = api.asked("GET", f"{PATH}/advice")
    assert asked.query["muted"].lower() == "true"


def test_that_nothing_is_wrong_is_said(api: FakeApi, cli: Cli) -> None:
    api.on("GET", f"{PATH}/advice", [])
    assert "Nothing is known to be wrong with shop" in cli("db", "advice", "shop").err


def test_a_finding_is_muted_by_what_is_shown(api: FakeApi, cli: Cli) -> None:
    api.on("POST", f"{PATH}/advice/mutes", {})
    api.on("DELETE", f"{PATH}/advice/mutes", {})
    finding = "no_primary_key:public.a: b"
    assert cli("db", "advice", "shop", "--mute", finding).code == 0
    (asked,) = api.asked("POST", f"{PATH}/advice/mutes")
    assert asked.body == {"code": "no_primary_key", "object": "public.a: b"}
    assert cli("db", "advice", "shop", "--unmute", finding).code == 0
    (asked,) = api.asked("DELETE", f"{PATH}/advice/mutes")
    assert asked.query == {"code": "no_primary_key", "object": "public.a: b"}
    failed = cli("db", "advice", "shop", "--mute", "public.events")
    assert failed.code == 1
    assert "CODE:OBJECT" in failed.err


def done(kind: str, **result: Any) -> dict[str, Any]:
    return {
        "id": OPERATION,
        "status": "succeeded",
        "progress": 1.0,
        "done_bytes": None,
        "bytes_per_second": None,
        "seconds_left": None,
        "kind": f"database.{kind}",
        "step": None,
        "error": None,
        "result": {"skipped": [], "returned_bytes": 0, **result},
    }


@pytest.mark.parametrize(
    ("words", "verb", "body"),
    [
        (["vacuum", "shop"], "vacuum", {"tables": []}),
        (["vacuum", "shop", "--analyze"], "vacuum", {"tables": [], "analyze": True}),
        (["vacuum", "shop", "--full", "--analyze"], "vacuum-full", {"tables": []}),
        (["analyze", "shop", "--table", "public.t"], "analyze", {"tables": ["public.t"]}),
        (
            ["reindex", "shop", "--index", "public.i", "--lock-timeout", "2s"],
            "reindex",
            {"indexes": ["public.i"], "tables": [], "lock_timeout_seconds": 2.0},
        ),
        (
            ["create-index", "shop", "--table", "public.t", "--column", "b", "--column", "a"],
            "indexes",
            {"table": "public.t", "columns": ["b", "a"]},
        ),
        (
            [
                "create-index",
                "shop",
                "--table",
                "public.t",
                "--column",
                "a",
                "--unique",
                "--name",
                "i",
                "--method",
                "btree",
                "--lock-timeout",
                "2s",
            ],
            "indexes",
            {"table": "public.t", "columns": ["a"], "name": "i", "method": "btree", "unique": True}
            | {"lock_timeout_seconds": 2.0},
        ),
    ],
)
def test_what_is_asked_for(
    api: FakeApi, cli: Cli, words: list[str], verb: str, body: dict[str, object]
) -> None:
    api.on("POST", f"{PATH}/{verb}", done(verb.replace("-", "_"), tables=[], indexes=[]))
    assert cli("db", *words, "--no-wait").code == 0
    (asked,) = api.asked("POST", f"{PATH}/{verb}")
    assert asked.body == body


def test_what_was_skipped_fails_the_command(api: FakeApi, cli: Cli) -> None:
    rebuilt = {"index": "public.i", "before_bytes": 8192, "after_bytes": 4096}
    skipped = {"index": "public.j", "reason": "Open transactions were in its way."}
    operation = done("reindex", indexes=[rebuilt], skipped=[skipped])
    api.on("POST", f"{PATH}/reindex", operation)
    api.on("GET", f"/api/operations/{OPERATION}", operation)
    said = cli("db", "reindex", "shop", "--table", "public.t")
    assert said.code == 1
    assert "public.i: 8 KiB, now 4 KiB" in said.err
    assert "public.j is as it was. Open transactions were in its way." in said.err
    assert "1 index rebuilt" in said.err


@pytest.mark.usefixtures("api")
def test_options_that_mean_nothing_are_refused(cli: Cli) -> None:
    assert "--full" in cli("db", "vacuum", "shop", "--dry-run").err
    assert "name an index" in cli("db", "reindex", "shop").err
