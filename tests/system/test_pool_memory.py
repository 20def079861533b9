"""One tenant's prepared statements, and the memory of the pooler that all share."""

import os
import threading
import time
from contextlib import ExitStack, suppress
from pathlib import Path

import psycopg
import pytest

from attempts_shared import prepare
from clients import ask, eventually, login
from flooding import asked_for_proof, send_large_proof
from harness import Installation
from tenantry.services.pooling.plan import LOGIN_SECONDS

MIB = 1024 * 1024


@pytest.fixture(scope="module")
def ceiling(platform: Installation) -> int:
    """What the pooler may have, in MiB."""
    return int(platform.env["TENANTRY_POOL_MEMORY_MB"])


def memory(platform: Installation) -> int:
    """What the pooler has now, in MiB."""
    pid = (platform.home / "run" / "pooler.pid").read_text().strip()
    (size,) = (
        line.split()[1]
        for line in Path(f"/proc/{pid}/status").read_text().splitlines()
        if line.startswith("VmRSS:")
    )
    return int(size) // 1024


def test_who_prepares_too_much_is_ended_and_the_others_go_on(
    platform: Installation, ceiling: int
) -> None:
    noisy, neighbour = platform.create(shadow=False), platform.create(shadow=False)
    most = 0
    threads = [
        threading.Thread(target=prepare, args=(noisy["connection_string_pooled"], ceiling))
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
        assert most < 4 * ceiling, f"it had {most} MiB"
        eventually(lambda: memory(platform) < 2 * ceiling)
    assert ask(noisy["connection_string_pooled"]) == 1, "it may come back"


def test_what_unfinished_logins_send_is_charged_to_nobody_who_is_logged_in(
    platform: Installation, ceiling: int
) -> None:
    """They send seven times the ceiling, for which nobody needs a password, and are ended."""
    named, neighbour = platform.create(shadow=False), platform.create(shadow=False)
    began = time.monotonic()
    with ExitStack() as stack, login(neighbour["connection_string_pooled"]) as session:
        opened = [stack.enter_context(asked_for_proof(platform.pool_port, named)) for _ in range(8)]
        threads = [
            threading.Thread(target=send_large_proof, args=(each, 59 * MIB)) for each in opened
        ]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            assert session.execute("SELECT %s", (17,)).fetchone() == (17,)
        for each in opened:
            with suppress(OSError):  # ended while it sent
                while each.recv(1024):
                    pass
        assert time.monotonic() - began < LOGIN_SECONDS, "they ended by themselves"
        eventually(lambda: memory(platform) < ceiling)
        assert session.execute("SELECT %s", (17,)).fetchone() == (17,)


def test_large_values_pass_and_larger_messages_do_not(platform: Installation, ceiling: int) -> None:
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
        assert memory(platform) < 2 * ceiling
        with pytest.raises(psycopg.OperationalError):
            session.execute("SELECT length(%b)", (value + value[: 20 * MIB],))
    with login(database["connection_string"]) as session:
        row = session.execute("SELECT length(%b)", (value + value[: 20 * MIB],)).fetchone()
        assert row == (50_000_000 + 20 * MIB,)
