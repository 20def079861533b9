"""Who wrote how much of what no quota counts, from files as servers write them."""

import asyncio
import json
import os
import struct
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from database_rows import database_row
from tenantry.base.errors import Conflict, TooManyRequests
from tenantry.host import log_files
from tenantry.pg import writing
from tenantry.pg.names import database_of
from tenantry.services.databases.plan import wanted_state
from tenantry.services.imports.uploads import MOST_OF_A_CUSTOMER, Uploads, UploadTooSlow, paced
from tenantry.services.overuse import plan

MIB = 2**20


def test_records_of_the_write_ahead_log_belong_to_databases() -> None:
    text = b"""\
rmgr: Heap        len (rec/tot):     59/  8135, tx:        733, lsn: 0/01533A08, prev 0/015339D0, \
desc: INSERT off 4 flags 0x00, blkref #0: rel 1663/16385/2619 blk 12 FPW
rmgr: Transaction len (rec/tot):     34/    34, tx:        733, lsn: 0/01535A08, prev 0/01533A08, \
desc: COMMIT 2026-11-28 22:00:00.000000 UTC
rmgr: Btree       len (rec/tot):     72/    72, tx:        734, lsn: 0/01535A30, prev 0/01535A08, \
desc: INSERT_LEAF off 7, blkref #0: rel 1664/0/2677 blk 1
"""
    found = writing.count_records(text)
    assert found.databases == {16385: 8135}
    assert found.shared == {(2677, 734): 72}
    assert found.seen == {733: 16385}
    assert found.total == 8135 + 72 + 34
    assert writing.lsn(0x1_0153_3A08) == "1/1533A08"


def test_records_of_shared_catalogs_belong_to_who_wrote_them() -> None:
    def shares(shared: dict[tuple[int, int], int], *holders: str) -> Counter[str]:
        return plan.share_out(shared, writers={7: "a", 8: "b"}, holders=holders)

    assert shares({(1, 7): 60, (1, 8): 20, (1, 0): 20}, "c") == {"a": 75, "b": 25}
    # A session that commits again and again is known by its last transaction.
    assert shares({(1, 5): 50, (1, 6): 50, (1, 7): 1}) == {"a": 101}
    # Whoever is known for another relation has not written this one.
    assert shares({(1, 7): 10, (2, 9): 100}, "c", "c", "d", "d") == {"a": 10, "c": 50, "d": 50}
    assert shares({(1, 7): 10, (2, 9): 100}) == {"a": 10}


def test_the_size_of_shared_catalogs(tmp_path: Path) -> None:
    (tmp_path / "global").mkdir()
    for name, size in (("1214", 10), ("1214_vm", 1), ("pg_control", 100)):
        (tmp_path / "global" / name).write_bytes(b"x" * size)
    assert writing.shared_catalogs_bytes(tmp_path) == 11


def test_notifications_belong_to_databases(tmp_path: Path) -> None:
    entry = struct.pack("=iIIi", 100, 16385, 7, 99) + b"n\0x\0".ljust(84, b"\0")
    filler = struct.pack("=iIIi", 8192 - 200, 0, 0, 0)
    page = (entry + entry + filler).ljust(8192, b"\0")
    (tmp_path / "0000").write_bytes(page + entry.ljust(8192, b"\0"))
    assert writing.queue_shares(tmp_path) == {16385: 300}


def test_lines_of_the_log_count_for_logins_that_had_proved_who_they_are() -> None:
    def line(**reported: object) -> bytes:
        return json.dumps({"timestamp": "2026-11-28 22:00:00.000 UTC", **reported}).encode() + b"\n"

    refused = line(user="user_a_x", dbname="tenant_b", ps="startup", message="denied\nand more")
    forged = line(user="user_v", dbname="tenant_v", ps="startup", message="forged")
    text = (
        forged[10:]  # where a sample begins
        + refused
        + line(user="user_v", dbname="tenant_v", ps="authentication", message="no password")
        + line(message="checkpoint starting")
        # Somebody who has not logged in, whose name is an entry.
        + line(user=f"x\n{forged.decode()}", ps="authentication", message="no password")
        + line(user="tenantry_admin", dbname="postgres", ps="startup", message="no")
    ).replace(b'": "', b'":"')  # as PostgreSQL writes it
    refused = refused.replace(b'": "', b'":"')
    assert writing.log_shares(text) == {"user_a_x": len(refused)}
    assert database_of("user_a_x") == "tenant_a"


def test_temporary_files_belong_to_sessions(tmp_path: Path) -> None:
    folder = tmp_path / "base" / "pgsql_tmp"
    shared = folder / "pgsql_tmp77.0.fileset"
    shared.mkdir(parents=True)
    for path in (folder / "pgsql_tmp77.1", shared / "i0of8.p0.0", folder / "pgsql_tmp8.0"):
        path.write_bytes(b"x" * 8192)
    found = writing.temporary_bytes(tmp_path)
    assert found[77] == 2 * found[8] >= 2 * 8192
    assert writing.temporary_bytes(tmp_path / "nowhere") == {}


def test_a_meter_leaks_an_allowance_in_an_hour() -> None:
    meter = plan.Meter(least=100)
    assert meter.add({"a": 90, "b": 10}, now=0) == []
    assert meter.add({"a": 20}, now=0) == ["a"]
    assert not meter.exceeds("a", 200)  # its own allowance is larger
    assert meter.add({"a": 100}, now=0) == ["a"]
    assert meter.exceeds("a", 200)
    assert meter.add({}, now=1800) == []  # 210 less half of 200
    assert not meter.exceeds("a", 200)
    assert meter.left("a", 200, now=1800) == 200 - 110
    assert meter.left("nobody", 200, now=1800) == 200
    assert meter.exceeds("a", 100)
    assert not meter.exceeds("nobody", 100)


def test_what_may_be_written_follows_from_the_limits() -> None:
    assert plan.most_wal(10 * 2**30) == 20 * 2**30
    assert plan.most_wal(64 * MIB) == 256 * MIB
    assert plan.most_temporary(2**30, 2**31) == 2**31


def test_a_queue_is_filled_or_long() -> None:
    small, large = 10 * MIB, 60 * MIB
    assert plan.queue_is_filled(small, large)
    assert plan.queue_is_long(large)
    assert not plan.queue_is_filled(large, large)
    assert not plan.queue_is_filled(0, small)
    assert not plan.queue_is_long(small)
    assert plan.who_fills(Counter({"a": 70, "b": 25, "c": 5})) == ["a", "b"]


def test_a_meter_goes_on_from_what_another_had_counted() -> None:
    before, after = plan.Meter(100), plan.Meter(100)
    before.add({"a": 90.0, "b": 50.0}, 1000.0)
    assert before.exceeds("b", 40)
    levels = before.levels(1000.0 + 1800)
    assert levels == {"a": (40.0, 100), "b": (30.0, 40)}
    after.go_on_from(levels, 5000.0)  # by another clock
    assert after.add({"a": 61.0}, 5000.0) == ["a"]
    assert after.levels(5000.0 + 1800) == {"a": (51.0, 100), "b": (10.0, 40)}


def test_nobody_connects_to_a_paused_database() -> None:
    row = database_row("a")
    assert wanted_state(row).connection_limit == row.max_connections
    paused = database_row("a", paused_until=row.created_at, paused_for="wal")
    assert wanted_state(paused).connection_limit == 0


def test_the_oldest_files_of_a_log_go_first(tmp_path: Path) -> None:
    paths = [tmp_path / f"{number}.log" for number in range(4)]
    for number, path in enumerate(paths):
        path.write_bytes(b"x" * 10)
        os.utime(path, (number, number))
    assert log_files.delete_oldest([*paths, tmp_path / "gone"], 25) == 2
    assert [path.exists() for path in paths] == [False, False, True, True]
    assert log_files.delete_oldest(paths, 0) == 1  # the newest is being written
    assert paths[3].exists()


def test_a_log_that_stays_open_is_cut(tmp_path: Path) -> None:
    path = tmp_path / "pooler.log"
    assert not log_files.cut(path, 10)
    with path.open("ab", buffering=0) as writer:
        writer.write(b"0123456789")
        assert not log_files.cut(path, 10)
        writer.write(b"ab")
        assert log_files.cut(path, 10)
        writer.write(b"new")
    assert path.read_bytes() == b"new"
    assert (tmp_path / "pooler.log.1").read_bytes() == b"23456789ab"


async def _chunks(pauses: list[float]) -> AsyncIterator[bytes]:
    for pause in pauses:
        await asyncio.sleep(pause)
        yield b"x"


async def _receive(pauses: list[float], *, stall: float, slowest: float) -> int:
    return len([c async for c in paced(_chunks(pauses), stall=stall, slowest=slowest)])


def test_an_upload_that_stalls_or_crawls_is_ended() -> None:
    assert asyncio.run(_receive([0.0] * 50, stall=5, slowest=1)) == 50
    with pytest.raises(UploadTooSlow, match="after 1 bytes"):
        asyncio.run(_receive([0.0, 60.0], stall=0.05, slowest=0.001))
    with pytest.raises(UploadTooSlow):
        asyncio.run(_receive([0.01] * 10_000, stall=0.2, slowest=1000))


def test_what_is_left_of_an_ended_upload_is_nothing(tmp_path: Path) -> None:
    uploads = Uploads(tmp_path, tmp_path / "engines")

    async def broken() -> AsyncIterator[bytes]:
        yield b"PGDMP" + b"\0" * 1000
        raise UploadTooSlow("it stalled")

    with pytest.raises(UploadTooSlow):
        asyncio.run(uploads.receive(broken(), most=10_000))
    with pytest.raises(Conflict, match="larger than"):
        asyncio.run(uploads.receive(broken(), most=10))
    assert list(tmp_path.iterdir()) == []


def test_a_database_takes_one_upload_and_a_customer_sends_few(tmp_path: Path) -> None:
    uploads = Uploads(tmp_path, tmp_path / "engines")
    customer = database_row("customer").id
    rows = [database_row(f"d{number}").id for number in range(MOST_OF_A_CUSTOMER + 1)]
    with uploads.only_one(rows[0], customer):
        with pytest.raises(Conflict), uploads.only_one(rows[0], customer):
            pass
        with ExitStack() as stack:
            for row in rows[1:MOST_OF_A_CUSTOMER]:
                stack.enter_context(uploads.only_one(row, customer))
            with pytest.raises(TooManyRequests), uploads.only_one(rows[-1], customer):
                pass
            with uploads.only_one(rows[-1], None):
                pass
    with uploads.only_one(rows[0], customer):
        pass
