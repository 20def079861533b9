"""``tenantry backup`` against an API that answers what a test scripts."""

import hashlib
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cli_support import SHOP, Cli, FakeApi, database, installed

PATH = f"/api/databases/{SHOP}/backups"
ID = "5f0c1b7e-6a54-4d0e-9d3f-2a6a2f0f7a11"


def backup(**changes: Any) -> dict[str, Any]:
    """A row of ``GET …/backups``."""
    return {
        "id": ID,
        "database_id": SHOP,
        "file_name": "shop-20260131-020000.dump",
        "format": "custom",
        "part": "all",
        "origin": "manual",
        "description": None,
        "status": "ready",
        "damage": None,
        "size_bytes": 5,
        "sha256": hashlib.sha256(b"12345").hexdigest(),
        "postgres_version": "15.14",
        "created_at": "2026-01-31T02:00:00+00:00",
        "finished_at": "2026-01-31T02:00:01+00:00",
        "verified_at": "2026-01-31T02:00:01+00:00",
        **changes,
    }


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeApi]:
    with installed(monkeypatch) as fake:
        fake.on("GET", "/api/databases", [database()])
        fake.on("GET", PATH, [backup(status="damaged", id=SHOP, damage="x"), backup()])
        yield fake


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    return Cli(monkeypatch, capsys)


def digest(body: bytes) -> str:
    return f"sha-256=:{b64encode(hashlib.sha256(body).digest()).decode()}:"


@pytest.mark.parametrize("announced", [None, digest(b"54321")])
def test_a_file_that_is_not_what_was_sent_is_not_kept(
    api: FakeApi, cli: Cli, tmp_path: Path, announced: str | None
) -> None:
    api.text(f"{PATH}/{ID}/download", "12345")
    if announced:
        api.headers["Repr-Digest"] = announced
    done = cli("backup", "download", "shop", "--output", str(tmp_path / "a.dump"))
    assert done.code == 1
    assert "SHA-256" in done.err
    assert list(tmp_path.iterdir()) == []


def test_the_latest_whole_one_is_fetched(api: FakeApi, cli: Cli, tmp_path: Path) -> None:
    api.text(f"{PATH}/{ID}/download", "12345")
    api.headers["Repr-Digest"] = digest(b"12345")
    target = tmp_path / "a.dump"
    done = cli("backup", "download", "shop", "-o", str(target))
    assert (done.code, done.out) == (0, f"{target}\n")
    assert target.read_bytes() == b"12345"
    assert target.stat().st_mode & 0o777 == 0o600
    target.write_bytes(b"mine")
    assert cli("backup", "download", "shop", "-o", str(target)).code == 1
    assert target.read_bytes() == b"mine"


def test_a_download_that_breaks_off_leaves_nothing(api: FakeApi, cli: Cli, tmp_path: Path) -> None:
    api.lose("GET", f"{PATH}/{ID}/download")
    assert cli("backup", "download", "shop", "-o", str(tmp_path / "a.dump")).code == 1
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_cannot_be_written_is_told(api: FakeApi, cli: Cli) -> None:
    api.text(f"{PATH}/{ID}/download", "12345")
    done = cli("backup", "download", "shop", "-o", "/nowhere/at/all")
    assert done.code == 1
    assert "cannot be written" in done.err


def test_a_schedule_is_changed_where_it_is_said(api: FakeApi, cli: Cli) -> None:
    before = {"every": "off", "hour": 2, "format": "custom", "keep_count": 7, "keep_days": 7}
    before["keep_manual_days"] = 9
    api.on("GET", f"{PATH}/schedule", before)
    api.on("PUT", f"{PATH}/schedule", before)
    assert cli("backup", "schedule", "shop").code == 0
    assert api.asked("PUT", f"{PATH}/schedule") == []
    words = ("--every", "day", "--hour", "0", "--keep-days", "0", "--keep-manual-days", "0")
    assert cli("backup", "schedule", "shop", *words).code == 0
    (put,) = api.asked("PUT", f"{PATH}/schedule")
    assert put.body == {
        **before,
        "every": "day",
        "hour": 0,
        "keep_days": 0,
        "keep_manual_days": None,
    }


def test_both_parts_alone_cannot_be_had(api: FakeApi, cli: Cli) -> None:
    assert cli("backup", "create", "shop", "--schema-only", "--data-only").code == 2
    assert api.requests == []


@pytest.mark.parametrize(
    ("restorable", "said"),
    [
        ("ok", "brings back every second from"),
        ("none", "can bring back no second of it: no backup reaches it yet"),
        ("unknown", "is not known: the repository cannot be read"),
        ("off", "physical backups are off"),
    ],
)
def test_a_list_tells_what_can_be_restored(
    monkeypatch: pytest.MonkeyPatch, cli: Cli, restorable: str, said: str
) -> None:
    moment = "2026-01-31T02:00:00+00:00" if restorable == "ok" else None
    with installed(monkeypatch) as api:
        api.on("GET", "/api/databases", [database()])
        told: dict[str, Any] = dict.fromkeys(("restorable_from", "restorable_until"), moment)
        told["restorable"] = restorable
        api.on("GET", PATH, [], **told)
        done = cli("backup", "list", "shop")
    assert done.code == 0
    assert said in " ".join(done.err.split())


def held(**repository: Any) -> dict[str, Any]:
    """What ``GET /api/clusters/{id}/backups`` tells of a repository without any backup."""
    usual = {"number": 1, "place": "/mnt/new", "restorable_from": None, "problem": None}
    return {"backups": [], "making": False, "repositories": [usual | repository]}


@pytest.mark.parametrize(
    ("told", "beside", "state"),
    [
        (held(state="none"), "in these repositories: nothing can be restored.", "no backup yet"),
        (held(state="none") | {"making": True}, "the first one is being made.", "no backup yet"),
        (
            held(state="unknown", problem="it is gone"),
            "Whether there are backups of shared-1 is not known.",
            "unknown: it is gone",
        ),
        (held(state="ok", problem="it is full"), "", "ok: it is full"),
    ],
)
def test_the_state_of_a_repository_is_never_taken_for_well(
    monkeypatch: pytest.MonkeyPatch, cli: Cli, told: dict[str, Any], beside: str, state: str
) -> None:
    with installed(monkeypatch) as api:
        api.on("GET", "/api/clusters", [{"id": SHOP, "name": "shared-1"}])
        api.on("GET", f"/api/clusters/{SHOP}/backups", told)
        done = cli("cluster", "backups", "shared-1")
    assert done.code == 0
    assert beside in " ".join(done.err.split())
    assert state in " ".join(done.out.split())
