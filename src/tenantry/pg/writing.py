"""Which databases wrote what a server cannot limit, read from outside them.

PostgreSQL counts neither write-ahead log, nor notifications, nor lines of its own log, nor
temporary files by database while a statement runs. All are files of the platform's own user, so
that they are read as files, in samples; no function here enters a tenant's database.
"""

import asyncio
import contextlib
import re
import struct
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from tenantry.host import commands
from tenantry.pg import names, server_log

_PAGE = 8192  # BLCKSZ, of which a page of the notification queue is one
_ENTRY = struct.Struct("=iIIi")  # length, database, transaction, pid: AsyncQueueEntry (async.c)
_QUEUE_FILES = 8
_DUMP_SECONDS = 5
_RECORD = re.compile(rb"len \(rec/tot\): +\d+/ *(\d+), tx: +(\d+),(?:.*? rel \d+/(\d+)/(\d+))?")
_TEMPORARY = re.compile(r"pgsql_tmp(\d+)\.")


def lsn(position: int) -> str:
    """Return a position in the write-ahead log as PostgreSQL writes it."""
    return f"{position >> 32:X}/{position & 0xFFFFFFFF:X}"


@dataclass(slots=True)
class Records:
    """The bytes of records of the write-ahead log.

    ``databases`` has those that change a database's relations, by its OID; ``shared`` those that
    change a relation in ``global``, which name no database, by its file and by the transaction (0:
    none). ``seen`` is the database that other records of a transaction name; ``total`` is all.
    """

    databases: Counter[int] = field(default_factory=Counter)
    shared: Counter[tuple[int, int]] = field(default_factory=Counter)
    seen: dict[int, int] = field(default_factory=dict)
    total: int = 0


async def wal_records(
    program: Path, folder: Path, *, timeline: int, start: int, end: int
) -> Records:
    """Return the bytes of the records in a part of the write-ahead log.

    ``program`` is pg_waldump. Empty if the part cannot be read.
    """
    words: list[str | Path] = [
        program, f"--path={folder}", f"--timeline={timeline}",
        f"--start={lsn(start)}", f"--end={lsn(end)}",
    ]  # fmt: skip
    with contextlib.suppress(commands.CommandFailed):
        # Its exit code is 1 where the part ends within a record.
        done = await commands.run(words, deadline=_DUMP_SECONDS, check=False)
        return count_records(done.stdout.encode())
    return Records()


def count_records(text: bytes) -> Records:
    """Return the same from the output of pg_waldump."""
    found = Records()
    for line in text.splitlines():
        if record := _RECORD.search(line):
            size, transaction = int(record[1]), int(record[2])
            found.total += size
            if record[3] is None:
                continue  # a commit, for instance
            if database := int(record[3]):
                found.databases[database] += size
                found.seen[transaction] = database
            else:
                found.shared[int(record[4]), transaction] += size
    return found


def shared_catalogs_bytes(folder: Path) -> int:
    """Return the size of the relations that all databases share; ``folder`` is the data folder."""
    sizes = 0
    for path in (folder / "global").glob("[0-9]*"):
        with contextlib.suppress(FileNotFoundError):
            sizes += path.stat().st_size
    return sizes


def queue_shares(folder: Path) -> Counter[int]:
    """Return the bytes of the newest notifications in the queue, by the OID of their database.

    ``folder`` is pg_notify; some of its newest files are read.
    """
    found: Counter[int] = Counter()
    for path in _newest(folder.glob("*"), _QUEUE_FILES):
        with contextlib.suppress(OSError):
            for length, database in _entries(path.read_bytes()):
                found[database] += length
    return found


def _newest(paths: Iterable[Path], count: int) -> list[Path]:
    dated = []
    for path in paths:
        with contextlib.suppress(OSError):
            dated.append((path.stat().st_mtime_ns, path))
    return [path for _, path in sorted(dated)[-count:]]


def _entries(data: bytes) -> Iterator[tuple[int, int]]:
    """Yield length and database of each notification; entries do not cross pages (async.c)."""
    for start in range(0, len(data), _PAGE):
        at, end = start, min(start + _PAGE, len(data))
        while at + _ENTRY.size <= end:
            length, database, _, _ = _ENTRY.unpack_from(data, at)
            if length < _ENTRY.size:
                break  # nothing was written here yet
            if database:  # 0 fills the rest of a page
                yield length, database
            at += length


def log_shares(text: bytes) -> Counter[str]:
    """Return the bytes that sessions wrote to a server's log, by role.

    Only authenticated sessions count: before that, a client can name any role.
    """
    found: Counter[str] = Counter()
    for line in text.splitlines(keepends=True):
        # Inside a text every quote has a backslash before it.
        if b'"ps":"startup"' in line and (record := server_log.read(line)):
            role = str(record.get("user"))
            if names.parse_role(role) is not None:
                found[role] += len(line)
    return found


def temporary_bytes(folder: Path) -> Counter[int]:
    """Return the bytes of each session's temporary files, by pid; ``folder`` is the data folder."""
    found: Counter[int] = Counter()
    for path in (folder / "base" / "pgsql_tmp").glob("pgsql_tmp*"):
        if name := _TEMPORARY.match(path.name):
            with contextlib.suppress(OSError):
                # A shared fileset is a folder of the session that leads the query.
                files = path.glob("*") if path.is_dir() else [path]
                found[int(name[1])] += sum(each.stat().st_blocks * 512 for each in files)
    return found


async def names_of(connection: AsyncConnection[TupleRow], oids: Iterable[int]) -> dict[int, str]:
    """Return the names of these databases, by OID; without those that are gone."""
    cursor = await connection.execute(
        "SELECT oid::bigint, datname FROM pg_database WHERE oid::bigint = ANY (%s::bigint[])",
        (list(oids),),
    )
    return dict(await cursor.fetchall())


async def writing_now(connection: AsyncConnection[TupleRow]) -> dict[int, str]:
    """Return the databases of the transactions that write now, by transaction ID."""
    cursor = await connection.execute(
        """
        SELECT backend_xid::text::bigint, datname FROM pg_stat_activity
        WHERE backend_xid IS NOT NULL AND datname IS NOT NULL
        """
    )
    return dict(await cursor.fetchall())


async def holding_shared_catalogs(connection: AsyncConnection[TupleRow]) -> list[str]:
    """Return the databases of the sessions that change a shared catalog, one for each."""
    cursor = await connection.execute(
        """
        SELECT a.datname FROM pg_stat_activity a WHERE a.datname IS NOT NULL AND a.pid IN (
            SELECT l.pid FROM pg_locks l WHERE l.locktype = 'relation' AND l.database = 0
            AND l.granted AND l.mode = 'RowExclusiveLock') AND a.state = 'active'
        """
    )
    return [name for (name,) in await cursor.fetchall()]


async def databases_of(
    connection: AsyncConnection[TupleRow], pids: Iterable[int]
) -> dict[int, str]:
    """Return the databases that these sessions are in, by pid."""
    cursor = await connection.execute(
        "SELECT pid, datname FROM pg_stat_activity WHERE datname IS NOT NULL AND pid = ANY (%s)",
        (list(pids),),
    )
    return dict(await cursor.fetchall())


async def temporary_by_database(
    connection: AsyncConnection[TupleRow], folder: Path
) -> Counter[str]:
    """Return the bytes of temporary files of each database's sessions, by its name.

    A shadow's count for its main database.
    """
    by_pid = await asyncio.to_thread(temporary_bytes, folder)
    found: Counter[str] = Counter()
    for pid, name in (await databases_of(connection, by_pid)).items() if by_pid else ():
        found[names.main_of(name)] += by_pid[pid]
    return found
