"""Which backups are of a cluster's past, which segments are its own, and who may log in after."""

import datetime as dt
import struct
from pathlib import Path

import pytest

from database_rows import database_row
from tenantry.base.home import Home
from tenantry.pg import timelines
from tenantry.pg.archiving import have_archived, unarchived
from tenantry.pg.catalog import Login
from tenantry.pg.clusters import Cluster
from tenantry.pg.connections import Address
from tenantry.pg.drivers import ProcessDriver
from tenantry.services.cluster_restores import plan
from tenantry.services.cluster_restores.folders import Folders
from tenantry.services.cluster_restores.model import Reached, Report

HISTORY = "1\t0/5000100\tbefore 2026-11-21\n\n2\t1/2A000160\tno recovery target specified\n"
NOW = dt.datetime(2026, 11, 21, 12, 30, 5, tzinfo=dt.UTC)
LOCKED = Login(can_login=False, max_connections=0, verifier=None)


def login(verifier: str | None = "then", *, can_login: bool = True) -> Login:
    return Login(can_login, 20, verifier)


@pytest.mark.parametrize(
    ("timeline", "stop", "left"),
    [
        (1, "0/5000100", False),
        (1, "0/5000101", True),
        (2, "1/2A000160", False),
        (2, "2/0", True),
        (3, "9/0", False),
        (4, "0/1", True),  # of a future that this one does not know
    ],
)
def test_a_backup_is_left_if_the_log_went_on_from_before_it(
    timeline: int, stop: str, left: bool
) -> None:
    reported = timelines.is_left(
        timeline, timelines.read_lsn(stop), current=3, left_at=timelines.forks(HISTORY)
    )
    assert reported is left


def test_everybody_gets_the_login_of_now() -> None:
    then = {"user_same": login(), "user_new_password": login(), "user_gone": login()}
    then |= {"user_closed": login(), "user_warm": login(None, can_login=False)}
    now = {"user_same": login(), "user_new_password": login("now"), "user_closed": LOCKED}
    todo = plan.agree(then, now, known=set(then), rotated=set())
    assert todo.changes == {
        "user_new_password": login("now"),
        "user_gone": LOCKED,
        "user_closed": LOCKED,
    }
    assert todo.locked == ["user_closed", "user_gone"]


def test_without_the_old_cluster_what_is_not_known_to_hold_is_shut() -> None:
    then = {"user_same": login(), "user_rotated": login(), "user_gone": login()}
    todo = plan.agree(then, None, known={"user_same", "user_rotated"}, rotated={"user_rotated"})
    assert todo.changes == {"user_rotated": LOCKED, "user_gone": LOCKED}
    assert todo.locked == ["user_gone", "user_rotated"]


def test_what_waited_for_an_owner_at_the_moment_is_reported_from_what_was_somebodys() -> None:
    locked = login(None, can_login=False)
    after, before = (NOW + n * dt.timedelta(seconds=1) for n in (1, -1))
    rows = [
        database_row("aaaaaaaaaaaa", created_at=after),
        database_row("bbbbbbbbbbbb", created_at=before),  # its owner has taken the password away
        database_row("cccccccccccc", created_at=after),
        database_row("dddddddddddd", created_at=after, status="warm"),
    ]
    then = {rows[0].username: locked, rows[1].username: locked, rows[3].username: locked}
    assert plan.never_owned(rows, then, NOW) == [rows[0]]
    assert plan.never_owned(rows, then, None) == []


def test_a_verifier_is_not_shown() -> None:
    assert "secret" not in repr(login("secret"))


def segment(folder: Path, name: str, address: int) -> None:
    (folder / name).write_bytes(struct.pack("=HHIQ", 0xD110, 0, 1, address) + bytes(16))


def test_only_segments_that_were_written_and_not_archived_are_taken(tmp_path: Path) -> None:
    wal = tmp_path / "pg_wal"
    (wal / "archive_status").mkdir(parents=True)
    segment(wal, "000000010000000100000002", 0x1_02000000)
    segment(wal, "000000010000000100000003", 0x1_03000000)
    segment(wal, "000000010000000100000004", 0x0_FF000000)  # recycled: its contents are old
    (wal / "000000010000000100000005").write_bytes(b"")
    (wal / "00000002.history").write_text("")
    (wal / "archive_status/000000010000000100000002.done").touch()
    (wal / "archive_status/000000010000000100000003.ready").touch()
    assert [path.name for path in unarchived(tmp_path)] == ["000000010000000100000003"]


def test_what_only_the_old_cluster_has_of_the_log_is_archived_by_the_new_one(
    tmp_path: Path,
) -> None:
    """All that the new timeline goes on from; not where both have the same segment."""
    old, new = tmp_path / "old", tmp_path / "new"
    for each in (old, new):
        (each / "pg_wal/archive_status").mkdir(parents=True)
    for number in (2, 3, 4):
        segment(old / "pg_wal", f"00000001000000010000000{number}", 2**32 + number * 2**24)
    (old / "pg_wal/archive_status/000000010000000100000002.done").touch()
    (new / "pg_wal/00000002.history").write_text("1\t1/4000128\tno recovery target specified\n")
    for _ in "12":
        assert have_archived(old, new, timeline=2) == ["000000010000000100000003"]
        assert [each.name for each in (new / "pg_wal/archive_status").iterdir()] == [
            "000000010000000100000003.ready"
        ]
    name = "pg_wal/000000010000000100000003"
    assert (new / name).read_bytes() == (old / name).read_bytes()


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    cluster = Cluster(
        "shared-1",
        tmp_path / "shared-1",
        Address(tmp_path, 5432),
        tmp_path,
        tmp_path,
        ProcessDriver(),
    )
    found = Folders(Home(tmp_path), cluster)
    for folder, said in ((cluster.data, "old"), (found.restored.data, "new")):
        folder.mkdir(parents=True)
        (folder / "said").write_text(said)
    return found


def report(retained: str | None) -> Report:
    reached = Reached(
        cluster="shared-1", backup="F", last_commit=NOW, timeline=2, ended_early=False, unread=None
    )
    return Report(cluster="shared-1", to=None, reached=reached, retained=retained)


def test_without_a_decision_the_old_folder_stays(folders: Folders) -> None:
    folders.finish()
    assert (folders.cluster.data / "said").read_text() == "old"
    assert folders.restored.data.exists()


@pytest.mark.parametrize("already", [0, 1, 2])
def test_a_decision_is_completed_wherever_it_was_cut_off(folders: Folders, already: int) -> None:
    name = folders.new_name(NOW)
    assert name == "before-20261121T123005Z"
    folders.decide(report(name))
    if already > 0:
        folders.cluster.data.rename(folders.cluster.folder / name)
    if already > 1:
        folders.restored.data.rename(folders.cluster.data)
    folders.finish()
    folders.finish()
    assert (folders.cluster.data / "said").read_text() == "new"
    (retained,) = folders.retained()
    assert (retained.path / "said").read_text() == "old"
    assert retained.since == NOW
    assert not folders.restored.folder.exists()
    folders.complete()
    assert folders.decided() is None
    folders.discard(retained)
    assert {each.name for each in folders.cluster.folder.iterdir()} == {"data"}


def test_a_folder_that_is_gone_altogether_is_none_to_keep(folders: Folders) -> None:
    (folders.cluster.data / "said").unlink()
    folders.cluster.data.rmdir()
    assert folders.new_name(NOW) is None
    folders.decide(report(None))
    folders.finish()
    assert (folders.cluster.data / "said").read_text() == "new"
    assert folders.retained() == []
