"""What is left of the disk, what takes the rest, and the space that is held in reserve."""

import json
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest

from database_rows import database_row
from tenantry.base.errors import Unavailable
from tenantry.base.settings import Settings
from tenantry.cli import findings, platform
from tenantry.host import files
from tenantry.host.reserve import PIECE, Reserve
from tenantry.services import disk_areas, health, supervisor
from tenantry.services import status as statuses
from tenantry.services.disk_areas import Stored
from tenantry.services.status import PartStatus, State

MIB, GIB = 2**20, 2**30
ROOM = 100 * GIB


class Usage(NamedTuple):
    total: int
    free: int


Disk = Callable[[int, int], None]


@pytest.fixture
def home() -> Iterator[Path]:
    """A folder with a short name, as Unix sockets need it."""
    with tempfile.TemporaryDirectory(prefix="tnt-") as folder:
        yield Path(folder)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    """Have a disk of this size, of which so much is free."""

    def use(total: int, free: int) -> None:
        monkeypatch.setattr(shutil, "disk_usage", lambda _place: Usage(total, free))

    return use


@pytest.fixture
def reserve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Reserve:
    """A reserve that takes no space: its files are sparse."""
    monkeypatch.setattr(os, "posix_fallocate", lambda fd, _start, size: os.truncate(fd, size))
    return Reserve(tmp_path / "reserve")


def names(reserve: Reserve) -> list[str]:
    return [path.name for path in reserve.pieces()]


# ── the reserve ──────────────────────────────────────────────────────────────


def test_the_reserve_is_what_is_wanted_and_at_most_a_part_of_the_disk(
    reserve: Reserve, disk: Disk
) -> None:
    disk(100 * GIB, ROOM)
    reserve.keep(3 * PIECE + 1)
    assert names(reserve) == ["piece-1", "piece-2", "piece-3"]
    assert [path.stat().st_size for path in reserve.pieces()] == [PIECE] * 3
    assert [path.stat().st_mode & 0o777 for path in reserve.pieces()] == [0o600] * 3
    reserve.keep(12 * PIECE)
    assert len(names(reserve)) == 12
    disk(2 * GIB, GIB)
    reserve.keep(12 * PIECE)
    assert names(reserve) == ["piece-1", "piece-2"]  # 4 % of 2 GiB
    reserve.keep(0)
    assert names(reserve) == []


def test_with_all_of_the_reserve_freed_the_disk_still_counts_as_nearly_full(
    tmp_path: Path, disk: Disk, reserve: Reserve
) -> None:
    for total in (GIB, 3 * GIB, 10 * GIB):
        disk(total, total)
        reserve.keep(ROOM)
        freed = len(reserve.pieces()) * PIECE
        disk(total, freed)
        assert files.is_nearly_full(tmp_path)
        disk(total, total)
        reserve.keep(0)


def test_no_reserve_is_made_of_what_others_need(reserve: Reserve, disk: Disk) -> None:
    disk(100 * GIB, 10 * GIB)
    reserve.keep(PIECE)
    assert names(reserve) == []
    disk(100 * GIB, 10 * GIB + PIECE)
    reserve.keep(PIECE)
    assert names(reserve) == ["piece-1"]


def test_a_start_on_a_full_disk_takes_one_piece_at_a_time(reserve: Reserve, disk: Disk) -> None:
    disk(100 * GIB, ROOM)
    reserve.keep(2 * PIECE)
    disk(100 * GIB, PIECE)
    assert not reserve.make_room()
    disk(100 * GIB, PIECE - 1)
    assert reserve.make_room()
    assert names(reserve) == ["piece-1"]
    assert reserve.make_room()
    assert not reserve.make_room()
    assert names(reserve) == []


def test_only_files_of_the_reserve_are_deleted(reserve: Reserve, disk: Disk) -> None:
    reserve.folder.mkdir()
    data = reserve.folder.parent / "data"
    data.write_text("kept")
    others = ["piece-0", "piece-x", "piece-1.bak", "pg_wal"]
    for name in others:
        (reserve.folder / name).write_text("kept")
    (reserve.folder / "piece-7").symlink_to(data)
    disk(100 * GIB, 0)
    while reserve.make_room():
        pass
    reserve.keep(0)
    assert sorted(path.name for path in reserve.folder.iterdir()) == sorted(others)
    assert data.read_text() == "kept"


def test_nothing_is_written_into_what_is_there(reserve: Reserve, disk: Disk) -> None:
    reserve.folder.mkdir()
    data = reserve.folder.parent / "data"
    data.write_text("kept")
    (reserve.folder / "piece-1").symlink_to(data)
    (reserve.folder / "piece-2").hardlink_to(data)
    disk(100 * GIB, ROOM)
    reserve.keep(2 * PIECE)
    assert [path.stat().st_size for path in reserve.pieces()] == [PIECE, PIECE]
    assert not any(path.is_symlink() for path in reserve.pieces())
    assert data.read_text() == "kept"


@pytest.mark.parametrize("left", [0, 1, PIECE - 1])
def test_a_piece_whose_creation_was_interrupted_is_created_again(
    reserve: Reserve, disk: Disk, left: int
) -> None:
    reserve.folder.mkdir()
    with (reserve.folder / "piece-1").open("wb") as file:
        file.truncate(left)
    disk(100 * GIB, ROOM)
    reserve.keep(2 * PIECE)
    assert [path.stat().st_size for path in reserve.pieces()] == [PIECE, PIECE]


def test_one_that_was_interrupted_is_used_as_any_other(reserve: Reserve, disk: Disk) -> None:
    reserve.folder.mkdir()
    (reserve.folder / "piece-1").touch()
    disk(100 * GIB, 0)
    assert reserve.make_room()
    assert names(reserve) == []


def test_a_disk_that_is_too_small_has_no_reserve(reserve: Reserve, disk: Disk) -> None:
    disk(799 * MIB, 799 * MIB)
    reserve.keep(8 * PIECE)
    assert not reserve.folder.exists()
    disk(801 * MIB, 801 * MIB)
    reserve.keep(8 * PIECE)
    assert names(reserve) == ["piece-1"]


def test_a_piece_for_which_there_is_no_space_leaves_nothing(
    reserve: Reserve, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, files.NO_SPACE)

    monkeypatch.setattr(os, "posix_fallocate", full)
    disk(100 * GIB, ROOM)
    with pytest.raises(OSError, match=files.NO_SPACE):
        reserve.keep(PIECE)
    assert names(reserve) == []


def test_a_reserve_that_was_never_made_takes_nothing(reserve: Reserve, disk: Disk) -> None:
    disk(100 * GIB, 0)
    assert not reserve.make_room()
    assert not reserve.folder.exists()


async def test_a_reserve_that_cannot_be_made_ends_nothing(home: Path, disk: Disk) -> None:
    disk(100 * GIB, ROOM)
    (home / "reserve").write_text("not a folder")
    await disk_areas.keep_reserve(Settings(home=home, disk_reserve_mb=32))
    assert (home / "reserve").read_text() == "not a folder"


async def test_the_reserve_is_off_with_0(home: Path, disk: Disk) -> None:
    disk(100 * GIB, ROOM)
    reserve = Reserve(home / "reserve")
    reserve.folder.mkdir()
    (reserve.folder / "piece-1").touch()
    await disk_areas.keep_reserve(Settings(home=home, disk_reserve_mb=0))
    assert names(reserve) == []


# ── in words ─────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("percent", "level"), [(4, "critical"), (5, "warning"), (14, "warning"), (15, "ok")]
)
async def test_the_disk_is_warned_of_before_it_is_critical(
    home: Path, disk: Disk, percent: int, level: str
) -> None:
    disk(100 * GIB, percent * GIB)
    assert await disk_areas.left(Settings(home=home)) == (percent * GIB, level)
    assert files.is_nearly_full(home) == (level == "critical")


STORED = Stored(
    1200 * MIB,
    100 * MIB,
    [
        database_row("a", name="blog", used_bytes=900 * MIB),
        database_row("b", name=None, used_bytes=100 * MIB),
    ],
)


def cluster(home: Path) -> SimpleNamespace:
    """A cluster with a segment of 3 MiB."""
    data = home / "clusters" / "shared-1" / "data"
    (data / "pg_wal").mkdir(parents=True)
    with (data / "pg_wal" / "000000010000000000000001").open("wb") as file:
        file.truncate(3 * MIB)
    return SimpleNamespace(data=data)


async def test_what_takes_the_disk_is_named(home: Path, disk: Disk) -> None:
    disk(2 * GIB, 64 * MIB)
    clusters: Any = [cluster(home)]
    found = await disk_areas.measure(Settings(home=home), clusters, STORED)
    assert found.sentence() == (
        f"64 MiB of 2 GiB are free at {home}: databases 1.172 GiB (largest: blog 900 MiB, tenant_b"
        " 100 MiB), write-ahead log 3 MiB, backups of single databases 100 MiB, other files 681"
        " MiB, physical backups among them. See docs/how-to/when-the-disk-is-full.md."
    )


async def test_physical_backups_on_another_disk_take_none_of_this_one(
    home: Path, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk(2 * GIB, GIB)
    monkeypatch.setattr(disk_areas, "_elsewhere", lambda *_: (Path("/mnt/backups"), GIB))
    found = await disk_areas.measure(Settings(home=home), [], STORED)
    assert found.repository == (Path("/mnt/backups"), GIB)
    assert "physical backups" not in found.sentence()


async def test_what_takes_the_disk_is_named_while_the_control_database_is_down(
    home: Path, disk: Disk
) -> None:
    @asynccontextmanager
    async def transaction(_: object) -> AsyncIterator[None]:
        raise Unavailable("It does not answer.")
        yield

    disk(2 * GIB, 500 * MIB)
    store: Any = SimpleNamespace(transaction=transaction)
    clusters: Any = [cluster(home)]
    found = await disk_areas.look(Settings(home=home), store, clusters)
    assert found.sentence() == f"500 MiB of 2 GiB are free at {home}: write-ahead log 3 MiB."


def test_the_how_to_that_is_named_exists() -> None:
    assert (Path(__file__).parents[2] / disk_areas.HOW_TO).is_file()


# ── what doctor and status say ───────────────────────────────────────────────


def part(name: str, state: State) -> PartStatus:
    return PartStatus(name, state, "port 5432")


def test_a_part_that_the_supervisor_starts_again_has_its_reason() -> None:
    down = part("shared-1", "stopped")
    failing = findings._stopped(down, "No space.", supervised=True)
    assert (failing.level, failing.detail) == ("problem", "No space.")
    assert "./tenantry up" not in failing.hint
    starting = findings._stopped(down, None, supervised=True)
    assert (starting.level, starting.detail) == ("warning", "does not run.")
    alone = findings._stopped(down, None, supervised=False)
    assert (alone.level, alone.hint) == ("warning", "./tenantry up starts it.")


@pytest.mark.parametrize("supervised", [True, False])
def test_the_reason_is_that_of_an_incident_that_lasts(
    home: Path, monkeypatch: pytest.MonkeyPatch, supervised: bool
) -> None:
    monkeypatch.setattr(supervisor, "running_pid", lambda _: 1 if supervised else None)
    run = home / "run"
    run.mkdir()
    over = {"since": "2026-12-01T02:00:00Z", "until": "2026-12-01T02:01:00Z"}
    noted = {
        "incidents": {
            "shared-1": {"part": "shared-1", "detail": "No\n space.", **over, "until": None},
            "pooler": {"part": "pooler", "detail": "It ended.", **over},
            "worker": {"part": "worker", "detail": "It ended.", **over, "until": None},
        }
    }
    (run / "incidents.json").write_text(json.dumps(noted))
    states: dict[str, State] = {"shared-1": "stopped", "pooler": "stopped", "worker": "running"}
    parts = [part(name, state) for name, state in states.items()]
    found = {each.name: each.detail for each in statuses._explained(Settings(home=home), parts)}
    reason = ": No space." if supervised else ""
    assert found == {"shared-1": f"port 5432{reason}", "pooler": "port 5432", "worker": "port 5432"}


# ── what a start waits for ───────────────────────────────────────────────────


def test_a_start_waits_for_what_runs_not_for_what_needs_attention() -> None:
    assert health._PROBES.keys() - platform.CONDITIONS == {"control", "pooler", "worker"}

    def runs(*down: str) -> bool:
        names = ("control", "disk", "backups", "shared-1")
        parts = [{"name": each, "state": "down" if each in down else "up"} for each in names]
        return platform.is_running(parts)

    assert runs()
    assert runs("disk", "backups")
    assert not runs("shared-1", "disk")
