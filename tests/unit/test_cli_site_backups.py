"""``tenantry cache backup`` and ``restore`` against an API that answers what a test scripts."""

from collections.abc import Iterator
from typing import Any

import pytest
from cli_support import OPERATION, SHOP, Cli, FakeApi, installed, on_a_terminal
from test_cli_sites import site

PATH = f"/api/sites/{SHOP}"
BACKUP = "0b7c1a52-f3aa-4c8d-a021-3b0daf01c7d5"
LISTED = {
    "id": BACKUP,
    "site_id": SHOP,
    "site_name": "shop",
    "origin": "scheduled",
    "status": "ready",
    "size_bytes": 2048,
    "memory_bytes": 4096,
    "keys": 7,
    "server": "Redis 7.0.15",
    "sha256": "ab",
    "created_at": "2026-01-02T03:04:05.678901+00:00",
    "finished_at": "2026-01-02T03:04:06.678901+00:00",
}


@pytest.fixture
def shop(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeApi]:
    with installed(monkeypatch) as fake:
        fake.on("GET", "/api/sites", [site(persistence="aof")])
        yield fake


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    return Cli(monkeypatch, capsys)


def ends(fake: FakeApi, path: str, **result: Any) -> None:
    """Let a request begin an operation that succeeds with this result."""
    row: dict[str, Any] = {"id": OPERATION, "kind": "site.backup", "step": "keep", "progress": 1.0}
    row |= dict.fromkeys(("done_bytes", "total_bytes", "bytes_per_second", "seconds_left", "error"))
    fake.on("POST", path, row | {"status": "queued", "result": None})
    fake.on("GET", f"/api/operations/{OPERATION}", row | {"status": "succeeded", "result": result})


def test_a_site_is_backed_up_and_where_that_is_missing(shop: FakeApi, cli: Cli) -> None:
    lacking = {"https://s3.example.com/b/tenantry": "it does not answer"}
    ends(shop, f"{PATH}/backups", backup_id=BACKUP, size_bytes=2048, keys=7, lacking=lacking)
    ended = cli("cache", "backup", "shop")
    assert (ended.code, ended.out.strip()) == (0, BACKUP)
    assert "The site shop is backed up, 2 KiB" in ended.err
    assert "It is not in https://s3.example.com/b/tenantry: it does not answer" in ended.err


def test_backups_are_listed_and_deleted_also_of_a_deleted_site(shop: FakeApi, cli: Cli) -> None:
    shop.on("GET", f"{PATH}/backups", [LISTED])
    for named in ("shop", SHOP):
        listed = cli("cache", "backups", named).out
        assert BACKUP in listed
        assert "2 KiB" in listed
    shop.on("DELETE", f"{PATH}/backups/{BACKUP}", {"id": BACKUP, "status": "deleted"})
    assert cli("cache", "delete-backup", SHOP, BACKUP).code == 1  # nobody was asked
    assert not shop.asked("DELETE", f"{PATH}/backups/{BACKUP}")
    assert cli("cache", "delete-backup", SHOP, BACKUP, "--yes").code == 0
    wrong = cli("cache", "delete-backup", SHOP, "../x", "--yes")
    assert (wrong.code, "not the id of a backup" in wrong.err) == (1, True)


@pytest.mark.parametrize(
    ("words", "body"), [((), {}), (("--backup", BACKUP), {"backup_id": BACKUP})]
)
def test_a_restore_is_confirmed(
    shop: FakeApi, cli: Cli, words: tuple[str, ...], body: dict[str, str]
) -> None:
    ends(shop, f"{PATH}/restore", backup_id=BACKUP, keys=1234)
    assert cli("cache", "restore", "shop", *words, "--json").code == 1
    code, said = on_a_terminal("cache", "restore", "shop", *words, typed="n\n")
    assert code == 1
    assert "What it has now is lost" in " ".join(said.split())
    assert not shop.asked("POST", f"{PATH}/restore")
    ended = cli("cache", "restore", "shop", *words, "--yes")
    assert "The site shop is restored, 1,234 keys" in ended.err
    assert [each.body for each in shop.asked("POST", f"{PATH}/restore")] == [body]
