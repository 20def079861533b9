"""Archiving of the write-ahead log into the repositories: its progress, and what waits."""

import contextlib
import datetime as dt
import re
import struct
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from psycopg import AsyncConnection
from psycopg.rows import TupleRow, class_row

from tenantry.host import files
from tenantry.pg import timelines
from tenantry.pg.connections import fetch_value

_SEGMENT = re.compile("[0-9A-F]{24}")
_PAGE_HEADER = struct.Struct("=HHIQ")  # magic, flags, timeline, address (xlog_internal.h)
SEGMENT_BYTES = 16 * 1024 * 1024  # initdb's default
# How pgBackRest names the file of a segment, with its hash, and that of a timeline's history.
_ARCHIVED = re.compile(r"([0-9A-F]{24})-[0-9a-f]{40}(\.\w+)?|([0-9A-F]{8}\.history)")


@dataclass(frozen=True, slots=True)
class Waiting:
    """The segments that are not archived yet; the oldest waits for ``seconds``.

    ``free_bytes`` is the free space where they are.
    """

    segments: int
    seconds: float
    free_bytes: int

    @property
    def size_bytes(self) -> int:
        return self.segments * SEGMENT_BYTES


def waiting(data: Path) -> Waiting:
    """Return what waits in a cluster's data folder. Raises OSError if it cannot be read."""
    since: list[float] = []
    for ready in (data / "pg_wal" / "archive_status").glob("*.ready"):
        with contextlib.suppress(FileNotFoundError):  # it has just been archived
            since.append(ready.stat().st_mtime)
    oldest = max(0.0, time.time() - min(since)) if since else 0.0
    return Waiting(len(since), oldest, files.free_bytes(data / "pg_wal"))


def part_of(name: str) -> str:
    """Return the series that a file of the log is in: a timeline's segments, or the histories."""
    return "history" if name.endswith(".history") else name[:8]


def archived(folder: Path, *, after: Mapping[str, str]) -> dict[str, Path]:
    """Return the files of the log that a local repository has of a stanza, by name, in order.

    ``folder`` is the stanza's, and ``after`` has the last known name of each series (``part_of``);
    only later files are returned. An older timeline may still grow when a newer one has begun. A
    timeline's history comes before its segments. Raises OSError if the folder cannot be read.
    """
    # One folder for each identity that the cluster has had, such as 15-1; the last one counts.
    logs = sorted(folder.glob("*-*/"), key=lambda log: int(log.name.rpartition("-")[2]))
    found: dict[str, Path] = {}
    for place in [logs[-1], *logs[-1].glob("*/")] if logs else []:
        if place == logs[-1] or place.name >= after.get(place.name[:8], "")[:16]:
            for file in place.iterdir():
                known = _ARCHIVED.fullmatch(file.name)
                name = "" if known is None else known[1] or known[3]
                if name > after.get(part_of(name), ""):
                    found[name] = file
    return dict(sorted(found.items()))


@dataclass(frozen=True, slots=True)
class Archiver:
    """What a server reports of its archiver since its statistics began.

    ``last_archived`` and ``last_failed`` are names of files of the log, "" where there was none.
    ``enabled`` is whether the server was started with archiving on.
    """

    last_archived: str
    last_archived_at: dt.datetime | None
    last_failed: str
    last_failed_at: dt.datetime | None
    failures: int
    enabled: bool = True

    @property
    def fails(self) -> bool:
        """Whether the last try failed."""
        if self.last_failed_at is None:
            return False
        return self.last_archived_at is None or self.last_archived_at < self.last_failed_at


def unarchived(data: Path) -> list[Path]:
    """Return the segments that a stopped cluster has written, and that may not be archived yet."""
    folder = data / "pg_wal"
    return sorted(
        path
        for path in folder.glob("?" * 24)
        if not (folder / "archive_status" / f"{path.name}.done").exists() and _is_its_own(path)
    )


def have_archived(old: Path, recovered: Path, *, timeline: int) -> list[str]:
    """Make a recovered cluster archive the unarchived segments that it read. Return their names.

    ``old`` is the stopped cluster whose ``pg_wal`` it also read, ``timeline`` the one that the
    recovered cluster switched to. PostgreSQL takes all that it reads in an archive recovery for
    archived, and removes it with the checkpoint at the end (XLogArchiveCheckDone in xlog.c). A
    later recovery from an older backup would lack these segments, and so all that comes after them.
    """
    log = recovered / "pg_wal"
    left_at = timelines.forks((log / f"{timeline:08X}.history").read_text())
    end = timelines.segment_of(left_at[max(left_at)], SEGMENT_BYTES)
    waiting = [
        segment
        for segment in unarchived(old)
        if int(segment.name[:8], 16) < timeline and segment.name[8:] < end
    ]
    for segment in waiting:
        if not (log / segment.name).exists():
            files.write_atomically(log / segment.name, segment.read_bytes())
        (log / "archive_status" / f"{segment.name}.ready").touch(0o600)
    return [segment.name for segment in waiting]


def _is_its_own(segment: Path) -> bool:
    # A segment recycled for later use already has its name, and the contents of an older one.
    with segment.open("rb") as file:
        start = file.read(_PAGE_HEADER.size)
    if len(start) < _PAGE_HEADER.size or _SEGMENT.fullmatch(segment.name) is None:
        return False
    _, _, _, address = _PAGE_HEADER.unpack(start)
    log, number = int(segment.name[8:16], 16), int(segment.name[16:], 16)
    return bool(address == (log << 32) + number * SEGMENT_BYTES)


async def archiver(connection: AsyncConnection[TupleRow]) -> Archiver:
    """Return the state of archiving."""
    async with connection.cursor(row_factory=class_row(Archiver)) as cursor:
        await cursor.execute(
            """
            SELECT coalesce(last_archived_wal, '') AS last_archived,
                last_archived_time AS last_archived_at,
                coalesce(last_failed_wal, '') AS last_failed,
                last_failed_time AS last_failed_at, failed_count AS failures,
                current_setting('archive_mode') <> 'off' AS enabled
            FROM pg_stat_archiver
            """
        )
        found = await cursor.fetchone()
    assert found is not None  # noqa: S101 (the view has one row)
    return found


def closed_at(data: Path, segment: str) -> dt.datetime | None:
    """Return when an archived segment was ended: earlier commits are in it, or in one before.

    None if the server no longer knows it.
    """
    # The file is made as .ready when the segment ends, and renamed when that is archived.
    with contextlib.suppress(OSError):
        ended = (data / "pg_wal" / "archive_status" / f"{segment}.done").stat().st_mtime
        return dt.datetime.fromtimestamp(ended, dt.UTC)
    return None


async def close_segment(connection: AsyncConnection[TupleRow]) -> tuple[dt.datetime, str]:
    """End the current segment, so that it can be archived now.

    Returns a moment before which everything committed is in that segment or an earlier one, and the
    segment's name. For a superuser.
    """
    moment = await fetch_value(connection, "SELECT clock_timestamp()")
    # Recovery to a moment ends at the first commit after it: without one it would fail.
    await connection.execute("SELECT pg_current_xact_id()")
    segment = await fetch_value(connection, "SELECT pg_walfile_name(pg_switch_wal())")
    if not isinstance(moment, dt.datetime):
        raise TypeError(moment)
    return moment, str(segment)
