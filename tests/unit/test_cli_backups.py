"""``tenantry backup`` against an API that answers what a test scripts."""

import fcntl
import hashlib
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


DOWNLOAD = f"{PATH}/{ID}/download"
NAME = "shop-20260131-020000.dump"


def test_a_file_that_is_not_what_was_sent_is_not_kept(
    api: FakeApi, cli: Cli, tmp_path: Path
) -> None:
    api.text(DOWNLOAD, "54321")
    done = cli("backup", "download", "shop", "--output", str(tmp_path / "a.dump"))
    assert done.code == 1
    assert "SHA-256" in done.err
    assert list(tmp_path.iterdir()) == []


def test_the_latest_whole_one_is_fetched(api: FakeApi, cli: Cli, tmp_path: Path) -> None:
    api.text(DOWNLOAD, "12345")
    target = tmp_path / "a.dump"
    done = cli("backup", "download", "shop", "-o", str(target))
    assert (done.code, done.out) == (0, f"{target}\n")
    assert target.read_bytes() == b"12345"
    assert target.stat().st_mode & 0o777 == 0o600
    target.write_bytes(b"mine")
    assert cli("backup", "download", "shop", "-o", str(target)).code == 1
    assert target.read_bytes() == b"mine"
    assert list(tmp_path.iterdir()) == [target]


def test_one_that_is_there_is_not_fetched_again(api: FakeApi, cli: Cli, tmp_path: Path) -> None:
    api.text(DOWNLOAD, "12345")
    for said in ("as they were sent", "were there already"):  # by a timer that runs too often
        done = cli("backup", "download", "shop", "--into", str(tmp_path))
        assert (done.code, done.out) == (0, f"{tmp_path / NAME}\n")
        assert said in done.err
        assert len(api.asked("GET", DOWNLOAD)) == 1
    assert [file.name for file in tmp_path.iterdir()] == [NAME]


@pytest.mark.parametrize(
    ("there", "first_byte"),
    [("123", 3), ("12345", 4), ("123456789", 4)],
    ids=["some of it", "all of it", "too much"],
)
def test_one_that_broke_off_goes_on(
    api: FakeApi, cli: Cli, tmp_path: Path, there: str, first_byte: int
) -> None:
    part = tmp_path / f"{NAME}.part"
    part.write_text(there)
    part.chmod(0o666)
    api.add("GET", DOWNLOAD, 206, b"12345"[first_byte:], "application/octet-stream")
    assert cli("backup", "download", "shop", "--into", str(tmp_path)).code == 0
    (request,) = api.asked("GET", DOWNLOAD)
    assert request.headers["range"] == f"bytes={first_byte}-"
    assert request.headers["if-range"] == f'"{hashlib.sha256(b"12345").hexdigest()}"'
    (file,) = tmp_path.iterdir()
    assert (file.name, file.read_bytes()) == (NAME, b"12345")
    assert file.stat().st_mode & 0o777 == 0o600


def test_what_is_sent_from_its_beginning_replaces_what_had_come(
    api: FakeApi, cli: Cli, tmp_path: Path
) -> None:
    (tmp_path / f"{NAME}.part").write_text("xxxx")
    api.text(DOWNLOAD, "12345")  # status 200: no range
    assert cli("backup", "download", "shop", "--into", str(tmp_path)).code == 0
    assert [file.read_bytes() for file in tmp_path.iterdir()] == [b"12345"]


def test_a_wrong_beginning_is_not_gone_on_with_twice(
    api: FakeApi, cli: Cli, tmp_path: Path
) -> None:
    (tmp_path / f"{NAME}.part").write_text("xxx")
    api.add("GET", DOWNLOAD, 206, b"45", "application/octet-stream")
    api.text(DOWNLOAD, "12345")
    assert "SHA-256" in cli("backup", "download", "shop", "--into", str(tmp_path)).err
    assert list(tmp_path.iterdir()) == []
    assert cli("backup", "download", "shop", "--into", str(tmp_path)).code == 0


def test_two_do_not_write_to_one_file(api: FakeApi, cli: Cli, tmp_path: Path) -> None:
    part = tmp_path / f"{NAME}.part"
    part.write_text("123")
    with part.open("rb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        done = cli("backup", "download", "shop", "--into", str(tmp_path))
    assert (done.code, "another program" in done.err) == (1, True)
    assert api.asked("GET", DOWNLOAD) == []
    assert part.read_text() == "123"


def test_a_platform_chooses_no_other_folder(api: FakeApi, cli: Cli, tmp_path: Path) -> None:
    api.on("GET", PATH, [backup(file_name="../mine.dump")])
    api.scripts[("GET", PATH)].pop(0)
    api.text(DOWNLOAD, "12345")
    (folder := tmp_path / "copies").mkdir()
    done = cli("backup", "download", "shop", "--into", str(folder))
    assert (done.code, "no file's name" in done.err) == (1, True)
    assert list(tmp_path.iterdir()) == [folder]


def test_a_folder_that_is_not_there_is_not_made(api: FakeApi, cli: Cli, tmp_path: Path) -> None:
    """It may be the place of a disk that is not mounted."""
    done = cli("backup", "download", "shop", "--into", str(tmp_path / "away"))
    assert (done.code, "There is no folder" in done.err) == (1, True)
    assert cli("backup", "download", "shop", "--into", "/", "-o", "/x").code == 2
    assert list(tmp_path.iterdir()) == []
    assert api.requests == []


def test_a_download_that_breaks_off_at_once_leaves_nothing(
    api: FakeApi, cli: Cli, tmp_path: Path
) -> None:
    api.lose("GET", DOWNLOAD)
    assert cli("backup", "download", "shop", "-o", str(tmp_path / "a.dump")).code == 1
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_cannot_be_written_is_reported(api: FakeApi, cli: Cli) -> None:
    api.text(DOWNLOAD, "12345")
    done = cli("backup", "download", "shop", "-o", "/nowhere/at/all")
    assert done.code == 1
    assert "cannot be written" in done.err


def test_a_schedule_is_changed_where_it_is_said(api: FakeApi, cli: Cli) -> None:
    before = {"every": "off", "hour": 2, "format": "custom", "keep_count": 7, "keep_days": 7}
    before["keep_manual_days"] = 9
    reported = {**before, "source": "default", "next_at": None, "last_attempt": None}
    api.on("GET", f"{PATH}/schedule", reported)
    api.on("PUT", f"{PATH}/schedule", reported)
    api.on("DELETE", f"{PATH}/schedule", reported)
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
    assert cli("backup", "schedule", "shop", "--default", "--every", "day").code == 2
    assert api.asked("DELETE", f"{PATH}/schedule") == []
    assert cli("backup", "schedule", "shop", "--default").code == 0
    assert len(api.asked("DELETE", f"{PATH}/schedule")) == 1


def test_a_default_is_changed_where_it_is_said(api: FakeApi, cli: Cli) -> None:
    path = "/api/backup-defaults"
    wanted = {"every": "week", "hour": 1, "format": "custom", "keep_count": 4, "keep_days": 28}
    wanted["keep_manual_days"] = None
    rows = [{"environment": name, **wanted} for name in ("staging", "production")]
    api.on("GET", path, rows)
    api.on("PUT", f"{path}/staging", rows[0])
    assert "week" in cli("backup", "defaults").out
    assert cli("backup", "defaults", "--every", "day").code == 2
    assert cli("backup", "defaults", "staging", "--every", "day").code == 0
    (put,) = api.asked("PUT", f"{path}/staging")
    assert put.body == {**wanted, "every": "day"}


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
def test_a_list_shows_what_can_be_restored(
    monkeypatch: pytest.MonkeyPatch, cli: Cli, restorable: str, said: str
) -> None:
    moment = "2026-01-31T02:00:00+00:00" if restorable == "ok" else None
    with installed(monkeypatch) as api:
        api.on("GET", "/api/databases", [database()])
        reported: dict[str, Any] = dict.fromkeys(("restorable_from", "restorable_until"), moment)
        reported["restorable"] = restorable
        api.on("GET", PATH, [], **reported)
        done = cli("backup", "list", "shop")
    assert done.code == 0
    assert said in " ".join(done.err.split())


def held(**repository: Any) -> dict[str, Any]:
    """What ``GET /api/clusters/{id}/backups`` shows of a repository without any backup."""
    usual = {"number": 1, "place": "/mnt/new", "restorable_from": None, "problem": None}
    return {"backups": [], "in_progress": False, "repositories": [usual | repository]}


@pytest.mark.parametrize(
    ("reported", "beside", "state"),
    [
        (held(state="none"), "in these repositories: nothing can be restored.", "no backup yet"),
        (
            held(state="none") | {"in_progress": True},
            "the first one is being made.",
            "no backup yet",
        ),
        (
            held(state="unknown", problem="it is gone"),
            "Whether there are backups of shared-1 is not known.",
            "unknown: it is gone",
        ),
        (held(state="ok", problem="it is full"), "", "ok: it is full"),
    ],
)
def test_the_state_of_a_repository_is_never_taken_for_well(
    monkeypatch: pytest.MonkeyPatch, cli: Cli, reported: dict[str, Any], beside: str, state: str
) -> None:
    with installed(monkeypatch) as api:
        api.on("GET", "/api/clusters", [{"id": SHOP, "name": "shared-1"}])
        api.on("GET", f"/api/clusters/{SHOP}/backups", reported)
        done = cli("cluster", "backups", "shared-1")
    assert done.code == 0
    assert beside in " ".join(done.err.split())
    assert state in " ".join(done.out.split())
