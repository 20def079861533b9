"""One tenant's prepared statements, and the memory of the pooler that all share."""

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from clients import ask, eventually, hurry, login
from harness import Installation

MIB = 1024 * 1024
CEILING = 64  # MiB, the least that can be set


@pytest.fixture(scope="module")
def platform() -> Iterator[Installation]:
    installation = Installation({"TENANTRY_POOL_MEMORY_MB": str(CEILING)})
    try:
        installation.up()
        hurry(installation)
        yield installation
    finally:
        installation.remove()


def memory(platform: Installation) -> int:
    """What the pooler has now, in MiB."""
    pid = (platform.home / "run" / "pooler.pid").read_text().strip()
    (size,) = (
        line.split()[1]
        for line in Path(f"/proc/{pid}/status").read_text().splitlines()
        if line.startswith("VmRSS:")
    )
    return int(size) // 1024


def prepare(url: str, count: int, over: threading.Event | None = None) -> int:
    """Prepare statements of 1 MiB until there are so many, or the session is ended."""
    text = b"SELECT 1 --" + b"x" * MIB
    with contextlib.suppress(psycopg.OperationalError), login(url) as session:
        for number in range(count):
            done = session.pgconn.prepare(b"s%d" % number, text + b"%d" % number)
            if done.status != psycopg.pq.ExecStatus.COMMAND_OK or (over and over.is_set()):
                return number
    return count


def test_who_prepares_too_much_is_ended_and_the_others_go_on(platform: Installation) -> None:
    noisy, neighbour = platform.create(shadow=False), platform.create(shadow=False)
    over = threading.Event()
    most = 0
    threads = [
        threading.Thread(target=prepare, args=(noisy["connection_string_pooled"], 200, over))
        for _ in range(3)
    ]
    with login(neighbour["connection_string_pooled"]) as session:
        session.pgconn.prepare(b"mine", b"SELECT 17")
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            most = max(most, memory(platform))
            row = session.pgconn.exec_prepared(b"mine", [])
            assert row.get_value(0, 0) == b"17"
        assert most < 4 * CEILING, f"it had {most} MiB"
        eventually(lambda: memory(platform) < 2 * CEILING)
    assert ask(noisy["connection_string_pooled"]) == 1, "it may come back"


def test_without_the_watch_the_pooler_keeps_it_all(platform: Installation) -> None:
    """So the attempt is a real one, also after its client has left."""
    noisy = platform.create(shadow=False)
    worker = platform.pids()["worker"]
    os.kill(worker, signal.SIGSTOP)
    try:
        assert prepare(noisy["connection_string_pooled"], 3 * CEILING) == 3 * CEILING
        assert memory(platform) > 2 * CEILING
    finally:
        os.kill(worker, signal.SIGCONT)


def test_large_values_pass_and_larger_messages_do_not(platform: Installation) -> None:
    """50 MB in a parameter, in COPY and in a result, kept nowhere on the way."""
    database = platform.create(shadow=False)
    value = os.urandom(50_000_000)
    with login(database["connection_string_pooled"]) as session:
        session.execute("CREATE TABLE t (b bytea)")
        session.execute("ALTER TABLE t ALTER b SET STORAGE EXTERNAL")
        session.execute("INSERT INTO t VALUES (%b)", (value,), prepare=True)
        with session.cursor().copy("COPY t FROM STDIN (FORMAT binary)") as copy:
            copy.set_types(["bytea"])
            copy.write_row((value,))
            copy.write_row((value,))
        rows = session.execute("SELECT b FROM t", binary=True).fetchall()
        assert {row[0] == value for row in rows} == {True}
        assert len(rows) == 3
        assert memory(platform) < CEILING
        with pytest.raises(psycopg.OperationalError):
            session.execute("SELECT length(%b)", (value + value[: 20 * MIB],))
    with login(database["connection_string"]) as session:
        row = session.execute("SELECT length(%b)", (value + value[: 20 * MIB],)).fetchone()
        assert row == (50_000_000 + 20 * MIB,)
