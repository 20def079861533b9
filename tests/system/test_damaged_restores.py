"""What can be in the way of a restore, or of a branch at a moment: each is reported in words.

Nothing is lost by it, nothing is left behind, and the neighbours are in service all the time.
"""

import contextlib
import datetime as dt
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from clients import VISITORS, ask, do, eventually, hurry
from damage import flipped_byte, without
from harness import SERVICE_USER, Installation
from inside import inside
from tenantry.services.repository.service import Repositories

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to mount a small disk")

Row = dict[str, Any]
CHECKSUM = "SELECT md5(string_agg(md5(photo), '' ORDER BY n)) FROM photos"
MIB = 1024**2


@dataclass
class Scenario:
    platform: Installation
    database: Row
    neighbour: Row
    moment: str
    segment: Path  # a part of the log that is between the backup and the moment
    checksum: object

    @property
    def repository(self) -> Path:
        return self.platform.home / "backups" / "repository"

    @property
    def photos(self) -> Path:
        """The file of the photos in the newest backup."""
        with self.platform.superuser() as server:
            row = server.execute(
                "SELECT oid FROM pg_database WHERE datname = %s", (self.database["database_name"],)
            ).fetchone()
        assert row is not None
        files = self.repository.glob(f"backup/shared-1/*F/pg_data/base/{row[0]}/*")
        return max(files, key=lambda path: path.stat().st_size)

    def wanted(self, what: str, **asked: str) -> httpx.Response:
        """What is answered to the wish for a restore or a branch, of the moment by default."""
        bodies = {
            "restore": {"to": self.moment, "as": "in_place"},
            "branches": {"at": self.moment, "name": "then"},
        }
        with self.platform.client() as api:
            return api.post(
                f"/api/databases/{self.database['id']}/{what}", json=bodies[what] | asked
            )

    def ended(self, answer: httpx.Response) -> Row:
        assert answer.status_code == 202, answer.text
        data = answer.json()["data"]
        found: Row = {}

        def has_ended() -> bool:
            with self.platform.client() as api:
                path = f"/api/operations/{data.get('operation', data)['id']}"
                found.update(api.get(path).json()["data"])
            return found["finished_at"] is not None

        eventually(has_ended)
        return found

    def problem(self, what: str, **asked: str) -> Row:
        """How a restore or a branch is refused or fails; all else is as it was."""
        answer = self.wanted(what, **asked)
        reported: Row = answer.json()
        if answer.status_code == 202:
            done = self.ended(answer)
            assert done["status"] == "failed", done
            reported = done["error"]
        assert reported["hint"] or reported["errors"], reported
        self.is_as_it_was()
        return reported

    def is_as_it_was(self) -> None:
        for database in (self.database, self.neighbour):
            assert ask(database["connection_string_pooled"], CHECKSUM) == self.checksum
        home = self.platform.home
        roles, databases = self.platform.inventory()
        rows = self.platform.rows()
        assert roles == {row["username"] for row in rows}
        assert databases == {row["database_name"] + end for row in rows for end in ("", "_shadow")}
        assert len(rows) == 2
        with self.platform.superuser() as server:
            assert server.execute(VISITORS).fetchall() == []
        assert not list((home / "scratch").iterdir())
        assert not list((home / "run").glob("side-*"))


@pytest.fixture(scope="module")
def made() -> Iterator[Scenario]:
    """A platform with a backup, and a moment after it with a part of the log in between."""
    installation = Installation({"TENANTRY_BACKUPS": "on", "TENANTRY_WARM_POOL": "0"})
    try:
        installation.up()
        hurry(installation)
        database, neighbour = (installation.create(friendlyName=name) for name in ("one", "other"))
        installation.back_up("shared-1", "--type", "full")  # without what comes now
        for each in (database, neighbour):
            # Of one file of its own in the backup, that nothing makes smaller.
            do(
                each["connection_string"],
                "SELECT setseed(0.5); CREATE TABLE photos AS"
                " SELECT n, decode(string_agg(md5(random()::text), ''), 'hex') AS photo"
                " FROM generate_series(1, 800) n, generate_series(1, 256) GROUP BY n",
            )
        installation.back_up("shared-1", "--type", "full")
        for _ in "123":
            do(neighbour["connection_string"], "CREATE TABLE t (n int); DROP TABLE t")
            with installation.superuser() as server:
                server.execute("SELECT pg_switch_wal()")
        moment = ask(database["connection_string"], "SELECT clock_timestamp()")
        assert isinstance(moment, dt.datetime)
        inside(installation, secure)
        checksum = ask(database["connection_string"], CHECKSUM)
        archive = installation.home / "backups" / "repository" / "archive" / "shared-1"
        segment = sorted(archive.glob("*/*/0*"))[-3]
        yield Scenario(installation, database, neighbour, moment.isoformat(), segment, checksum)
    finally:
        installation.remove()


@pytest.fixture
def scenario(made: Scenario) -> Scenario:
    made.is_as_it_was()
    return made


async def secure(repositories: Repositories) -> object:
    return await repositories.secure("shared-1")


async def use_key(repositories: Repositories) -> object:
    return repositories.ensure_files()


@contextlib.contextmanager
def small_disk(folder: Path, size: int) -> Iterator[None]:
    """While this lasts, a folder is a disk of so many bytes."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], check=True)
    shutil.chown(folder, SERVICE_USER, SERVICE_USER)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


BOTH = pytest.mark.parametrize("what", ["restore", "branches"])


@BOTH
@pytest.mark.parametrize("damage", ["a flipped byte", "gone"])
def test_an_older_backup_does_as_well(scenario: Scenario, what: str, damage: str) -> None:
    file = scenario.photos
    newest = file.parents[3]
    with flipped_byte(file) if damage == "a flipped byte" else without(newest):
        done = scenario.ended(scenario.wanted(what, **({"as": "new"} if what == "restore" else {})))
    assert done["status"] == "succeeded", done
    assert done["result"]["unreadable_backups"] == [newest.name]
    with scenario.platform.control() as control:
        row = control.execute(
            "SELECT id, database_name FROM databases WHERE id = %s",
            (done["result"]["database_id"],),
        ).fetchone()
    assert row is not None
    with scenario.platform.superuser(dbname=row[1]) as server:
        assert server.execute(CHECKSUM).fetchone() == (scenario.checksum,)
    with scenario.platform.client() as api:
        api.delete(f"/api/databases/{row[0]}").raise_for_status()
    eventually(lambda: len(scenario.platform.rows()) == 2)
    scenario.is_as_it_was()


@BOTH
def test_no_backup_that_can_be_read(scenario: Scenario, what: str) -> None:
    file = scenario.photos
    newest = file.parents[3]
    with contextlib.ExitStack() as damaged:
        damaged.enter_context(flipped_byte(file))
        for backup in newest.parent.glob("2*"):
            if backup != newest:
                damaged.enter_context(without(backup))
        reported = scenario.problem(what)
    assert reported["code"] == "backup_damaged"
    assert f"base/{file.parent.name}/" in reported["detail"]
    assert "tenantry cluster verify" in reported["hint"]


@BOTH
def test_a_missing_segment_on_the_way(scenario: Scenario, what: str) -> None:
    with without(scenario.segment):
        reported = scenario.problem(what)
    assert reported["code"] == "wal_missing"
    assert scenario.segment.name[:24] in reported["detail"]


@BOTH
def test_another_key(scenario: Scenario, what: str) -> None:
    key = scenario.platform.home / "backup.key"
    right = key.read_text()
    try:
        key.write_text("0" * 64)
        inside(scenario.platform, use_key)
        reported = scenario.problem(what)
    finally:
        key.write_text(right)
        inside(scenario.platform, use_key)
    assert reported["code"] == "repository_error"
    assert "encrypted with another key" in reported["detail"]
    assert "0" * 64 not in str(reported)


@BOTH
def test_a_repository_that_is_gone_or_closed(scenario: Scenario, what: str) -> None:
    with without(scenario.repository):
        reported = scenario.problem(what)
    assert reported["code"] == "repository_error"
    assert str(scenario.repository) in reported["detail"]
    assert "is its disk mounted?" in reported["detail"]
    scenario.repository.chmod(0)
    try:
        reported = scenario.problem(what)
    finally:
        scenario.repository.chmod(0o700)
    assert reported["code"] == "repository_error"
    assert str(scenario.repository) in reported["detail"]


@BOTH
def test_too_little_disk(scenario: Scenario, what: str) -> None:
    with small_disk(scenario.platform.home / "scratch", 64 * MIB):
        reported = scenario.problem(what)
    assert reported["code"] == "not_enough_disk"
    assert "there is room for" in reported["detail"]


@BOTH
def test_a_disk_that_becomes_full_meanwhile(scenario: Scenario, what: str) -> None:
    scratch = scenario.platform.home / "scratch"
    with small_disk(scratch, 400 * MIB):
        answer = scenario.wanted(what)
        eventually(lambda: any(scratch.glob("*/cluster/data/base")))
        with (scratch / "filler").open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(bytes(65536))
        done = scenario.ended(answer)
        (scratch / "filler").unlink()
        assert (done["status"], done["error"]["code"]) == ("failed", "not_enough_disk")
        assert str(scratch) in done["error"]["detail"]
        scenario.is_as_it_was()


@BOTH
@pytest.mark.parametrize("moment", ["2020-01-01T00:00:00Z", "2099-01-01T00:00:00Z"])
def test_a_moment_outside_the_window(scenario: Scenario, what: str, moment: str) -> None:
    reported = scenario.problem(what, **{"to" if what == "restore" else "at": moment})
    assert (reported["status"], reported["code"]) == (422, "outside_window")
