"""The room on a disk, and sizes as people read them."""

import asyncio
import errno
import os
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tenantry.base.errors import Conflict, MachineError
from tenantry.base.sizes import readable
from tenantry.host import files


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (1023, "1,023 B"),
        (1024, "1 KiB"),
        (1023.99 * 1024, "1,024 KiB"),
        (13_002_342, "12.4 MiB"),
        (10 * 2**30, "10 GiB"),
        (3000 * 2**50, "3,000 PiB"),
    ],
)
def test_a_size_is_reported_to_four_digits(count: float, text: str) -> None:
    assert readable(count) == text


def test_the_room_is_that_of_the_nearest_folder_there_is(tmp_path: Path) -> None:
    total = shutil.disk_usage(tmp_path).total
    inside = files.free_bytes(tmp_path / "not" / "yet")
    assert inside == pytest.approx(shutil.disk_usage(tmp_path).free, rel=0.1)
    left = files.free_bytes(tmp_path, spare=0.5)
    assert left == pytest.approx(inside - total / 2, rel=0.1, abs=2**28)


def test_who_needs_more_than_there_is_hears_how_much_and_what_to_do(tmp_path: Path) -> None:
    files.require_room(tmp_path, 1, what="This", hint="Make room.")
    with pytest.raises(files.NotEnoughDisk) as reported:
        files.require_room(tmp_path / "later", 2**60, what="This", hint="Make room.")
    error = reported.value
    assert error.detail.startswith("This may take 1,024 PiB, and there is room for ")
    assert error.detail.endswith(f" on the disk of {tmp_path}/later.")
    assert (error.hint, error.code, error.status) == ("Make room.", "not_enough_disk", 507)


def test_what_is_kept_back_is_no_room(tmp_path: Path) -> None:
    with pytest.raises(files.NotEnoughDisk, match="there is room for 0 B on"):
        files.require_room(tmp_path, 0, what="This", hint="Make room.", spare=1.01)


def test_what_a_folder_uses_is_counted_while_its_folders_come_and_go(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.write_bytes(b"x" * 100_000)
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(2**30)
    over = threading.Event()

    def come_and_go() -> None:
        while not over.is_set():
            (tmp_path / "a" / "b" / "c").mkdir(parents=True)
            shutil.rmtree(tmp_path / "a")

    with ThreadPoolExecutor(1) as other:
        coming = other.submit(come_and_go)
        try:
            counted = {files.used_bytes(tmp_path) for _ in range(300)}
        finally:
            over.set()
        coming.result()
    assert counted == {kept.stat().st_blocks * 512}


def test_what_was_cut_off_is_owed_until_a_block_ends(tmp_path: Path) -> None:
    owed = tmp_path / "unread"
    with files.until_read(owed) as unread:
        assert not unread
    with pytest.raises(RuntimeError), files.until_read(owed):
        raise RuntimeError
    for expected in (True, False):
        with files.until_read(owed) as unread:
            assert unread is expected


def test_a_full_disk_is_reported_by_the_file_that_was_to_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def has_no_room(_: int) -> None:
        raise OSError(errno.ENOSPC, files.NO_SPACE)

    monkeypatch.setattr(os, "fsync", has_no_room)
    with pytest.raises(OSError, match=str(tmp_path / "note")):
        files.write_atomically(tmp_path / "note", "text")
    assert not list(tmp_path.iterdir())


async def test_who_gives_up_removing_a_folder_waits_until_nothing_goes_on(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    for each in range(20):
        inside = folder / str(each)
        inside.mkdir(parents=True)
        for number in range(200):
            (inside / str(number)).touch()
    removing = asyncio.create_task(files.remove_folder(folder))
    await asyncio.sleep(0)  # it has begun
    removing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await removing
    assert not folder.exists()
    await files.remove_folder(folder)  # which is no error


def test_a_remembered_file_is_read_again_once_it_changed(tmp_path: Path) -> None:
    path = tmp_path / "number"
    reads: list[bytes] = []

    def read(text: bytes) -> int:
        reads.append(text)
        return int(text)

    remembered = files.Remembered[int](path, read, missing=-1)
    assert remembered.value() == -1
    files.write_atomically(path, "1")
    assert [remembered.value(), remembered.value()] == [1, 1]
    files.write_atomically(path, "2")
    assert remembered.value() == 2
    before = path.stat()
    files.write_atomically(path, "3")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))  # as a copy that keeps times
    assert remembered.value() == 3
    path.write_text("x")
    for _ in range(2):
        with pytest.raises(ValueError, match="invalid literal"):
            remembered.value()
    path.unlink()
    assert remembered.value() == -1
    assert reads == [b"1", b"2", b"3", b"x", b"x"]


def test_a_users_file_is_read_unless_it_is_a_link_or_no_text(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    assert files.read_if_no_link(path) == ""
    path.write_bytes("é=1\r\n".encode())
    assert files.read_if_no_link(path) == "é=1\r\n"
    path.write_bytes(b"\xff")
    with pytest.raises(MachineError, match=r"\.env is no text in UTF-8"):
        files.read_if_no_link(path)
    path.unlink()
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(Conflict, match="is a link"):
        files.read_if_no_link(path)
    path.unlink()
    os.mkfifo(path)  # its reader would wait for somebody who writes
    with pytest.raises(Conflict, match="is no regular file"):
        files.read_if_no_link(path)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_what_root_writes_belongs_to_the_owner_of_the_folder(tmp_path: Path) -> None:
    owner, group, other = 65534, 65533, 65532
    folder = tmp_path / "theirs"
    folder.mkdir()
    os.chown(folder, owner, group)
    path = folder / ".env"
    assert files.owner_as_root(path) == (owner, group)
    path.touch()
    os.chown(path, owner, other)
    assert files.owner_as_root(path) == (owner, other)
    os.chown(path, other, other)  # who may be let into the folder, but owns nothing else there
    assert files.owner_as_root(path) == (owner, group)


def test_what_a_killed_writer_left_is_removed(tmp_path: Path) -> None:
    for name in ("users.ini", ".users.ini.e3hiyltl", ".users.ini.fresh_12", ".other.e3hiyltl"):
        (tmp_path / name).write_text("x")
    (tmp_path / ".users.ini.is_a_dir").mkdir()
    for each in tmp_path.iterdir():
        os.utime(each, (1, 1))
    os.utime(tmp_path / ".users.ini.fresh_12")
    files.remove_unfinished(tmp_path, seconds=30)
    files.remove_unfinished(tmp_path / "nowhere", seconds=30)
    assert {each.name for each in tmp_path.iterdir()} == {
        "users.ini",
        ".users.ini.fresh_12",
        ".other.e3hiyltl",
        ".users.ini.is_a_dir",
    }


def test_a_killed_writer_leaves_a_name_that_is_recognised(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "users.ini"
    file.write_text("before")
    monkeypatch.setattr(Path, "replace", lambda *_: os._exit(9))
    if (pid := os.fork()) == 0:
        files.write_atomically(file, "after")
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 9
    assert len(list(tmp_path.iterdir())) == 2
    files.remove_unfinished(tmp_path, seconds=0)
    assert [each.read_text() for each in tmp_path.iterdir()] == ["before"]
