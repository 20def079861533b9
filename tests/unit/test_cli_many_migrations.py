"""``tenantry migrate up`` over many databases: which are meant, and how it ends if some failed."""

from collections.abc import Iterator
from typing import Any

import pytest
from cli_support import OPERATION, SHOP, Cli, FakeApi, database, installed, on_a_terminal

BLOG = "4d1c1c39-0f27-4a4e-8a86-9b8d3a1e4c22"
TARGETS = [
    {"database_id": SHOP, "name": "shop", "friendly_name": None, "database_name": "tenant_a",
     "environment": "production", "owner_email": "ann@example.com", "blueprint": None},
    {"database_id": BLOG, "name": "blog", "friendly_name": None, "database_name": "tenant_b",
     "environment": "production", "owner_email": "bob@example.com", "blueprint": "hosting"},
]  # fmt: skip


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeApi]:
    with installed(monkeypatch) as api:
        yield api


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    return Cli(monkeypatch, capsys)


def many(api: FakeApi, *more: str) -> tuple[str, ...]:
    (api.home / "1_a.up.sql").write_text("SELECT 1;")
    return ("migrate", "up", "--path", str(api.home), *more)


def result(name: str, status: str, **more: Any) -> dict[str, Any]:
    usual = {"environment": "production", "version": None, "steps": None, "error": None}
    return {"name": name, "database_name": f"tenant_{name}", "status": status} | usual | more


def ends(api: FakeApi, *rows: dict[str, Any], status: str = "succeeded") -> None:
    operation: dict[str, Any] = {
        "id": OPERATION, "status": status, "step": None, "progress": 1.0, "result": {},
        "error": None, "done_bytes": None, "total_bytes": None, "bytes_per_second": None,
        "seconds_left": None, "finished_at": "2026-01-02T03:04:05+00:00"}  # fmt: skip
    api.on("POST", "/api/migrations", operation, status=202)
    api.on("GET", f"/api/operations/{OPERATION}", operation)
    api.on("GET", f"/api/migrations/{OPERATION}", list(rows))


def test_a_failure_within_the_budget_is_no_success(api: FakeApi, cli: Cli) -> None:
    why = {"detail": "It has the blueprint hosting."}
    rows = [result("shop", "succeeded", version=1, steps=1), result("blog", "failed", error=why)]
    ends(api, *rows)
    ended = cli(*many(api, "--all", "--selector", "environment=production", "--max-failures", "1"))
    assert ended.code == 1
    assert "✗ 1 of 2 databases migrated, 1 failed" in ended.err
    assert "are migrated" not in ended.err
    assert "It has the blueprint hosting." in ended.out
    api.scripts.clear()
    ends(api, rows[0], result("gone", "skipped"))
    ended = cli(*many(api, "--all", "--selector", "environment=production"))
    assert (ended.code, ended.err.splitlines()[-1]) == (
        0,
        "✓ 1 database is migrated; 1 had been deleted",
    )


def test_it_is_aimed_by_names_and_without_a_blueprint(api: FakeApi, cli: Cli) -> None:
    rows = [database(), database(id=BLOG, name="blog", database_name="tenant_b")]
    for _ in range(2):
        api.on("GET", "/api/databases", rows)
    said = ("--all", "--selector", "blueprint=none", "--database", "shop", "--exclude", "blog")
    api.on("POST", "/api/migrations", {"count": 1, "databases": TARGETS[:1]})
    assert cli(*many(api, *said, "--dry-run")).code == 0
    (asked,) = api.asked("POST", "/api/migrations")
    assert asked.body == {
        "without_blueprint": True,
        "database_ids": [SHOP],
        "exclude_ids": [BLOG],
        "dry_run": True,
    }


def test_it_is_aimed_by_tags(api: FakeApi, cli: Cli) -> None:
    said = ("--selector", "tag=wordpress", "--selector", "tag=team-a")
    api.on("POST", "/api/migrations", {"count": 1, "databases": TARGETS[:1]})
    assert cli(*many(api, "--all", *said, "--dry-run")).code == 0
    (asked,) = api.asked("POST", "/api/migrations")
    assert asked.body == {"tags": ["wordpress", "team-a"], "dry_run": True}
    ended = cli(*many(api, "--all", "--selector", "tag=", "--dry-run"))
    assert "or tag=…" in ended.err


def test_a_dry_run_shows_which_are_meant(api: FakeApi, cli: Cli) -> None:
    api.on("POST", "/api/migrations", {"count": 2, "databases": TARGETS})
    ended = cli(*many(api, "--all", "--dry-run"))
    assert ended.code == 0
    assert "2 databases would be migrated; nothing was run." in ended.err
    assert "bob@example.com" in ended.out
    assert "hosting" in ended.out
    assert len(api.asked("POST", "/api/migrations")) == 1


def test_several_names_are_a_run_over_them(api: FakeApi, cli: Cli) -> None:
    ended = cli(*many(api, "--database", "postgresql://x@y/z", "--database", "shop"))
    assert "each is named by its name, not by its string" in ended.err
    ended = cli(*many(api, "2", "--database", "shop", "--database", "blog"))
    assert "N is for one database" in ended.err
    ended = cli(*many(api, "--database", "shop", "--exclude", "blog"))
    assert "go with --all" in ended.err
    assert api.asked("POST", "/api/migrations") == []


def test_it_asks_with_numbers_and_names(api: FakeApi) -> None:
    api.on("POST", "/api/migrations", {"count": 2, "databases": TARGETS})
    code, seen = on_a_terminal(*many(api, "--all", "--selector", "owner=a@b.org"), typed="n\n")
    said = " ".join(seen.split())
    assert code == 1
    assert "2 databases of 2 customers: shop (production), blog (production)." in said
    assert "Migrate them all?" in said
    assert len(api.asked("POST", "/api/migrations")) == 1
