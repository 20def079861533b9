"""The history of samples in a real control database, and counters of a real server."""

import asyncio
import datetime as dt
import os
import random
import shutil
import signal
import tempfile
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from conftest import Server, started
from tenantry.base.ids import new_id
from tenantry.control import audit, sample_history, samples
from tenantry.control.sample_history import SUMS, Period
from tenantry.control.samples import GAUGES
from tenantry.control.store import ControlStore
from tenantry.pg import database_activity
from tenantry.pg.database_activity import Connections, DatabaseActivity
from tenantry.services.samples import resolutions
from tenantry.services.samples.history import History

NOW = dt.datetime.now(dt.UTC).replace(minute=0, second=0, microsecond=0)
MINUTE, HOUR = dt.timedelta(minutes=1), dt.timedelta(hours=1)


async def databases(store: ControlStore, count: int) -> list[uuid.UUID]:
    made = [new_id() for _ in range(count)]
    async with store.transaction(audit.PLATFORM) as tx:
        cluster = new_id()
        await tx.execute(
            "INSERT INTO clusters (id, name, kind, driver, version, socket_dir, port)"
            " VALUES (%s, 'shared-1', 'shared', 'process', 15, '/nowhere', 5432)",
            (cluster,),
        )
        for number, each in enumerate(made):
            await tx.execute(
                "INSERT INTO databases (id, cluster_id, database_name, username, status,"
                " friendly_name) VALUES (%s, %s, %s, %s, 'active', 'x')",
                (each, cluster, f"tenant_x{number}", f"user_x{number}"),
            )
    return made


def period(database: uuid.UUID, at: dt.datetime, commits: int | None, **gauges: int) -> Period:
    """A period of 15 seconds with so many commits; unknown ones with None."""
    sums: dict[str, float | None] = dict.fromkeys(SUMS)
    if commits is not None:
        sums |= {"seconds": 15.0, "commits": commits, "rollbacks": 0, "cpu_seconds": 0.1}
    known: dict[str, float | None] = {**dict.fromkeys(GAUGES), **gauges}
    return Period(database, at, list(sums.values()), [known[name] for name in GAUGES])


async def add(store: ControlStore, periods: list[Period]) -> None:
    async with store.transaction(audit.PLATFORM) as tx:
        await sample_history.add(tx, periods)


async def rows(store: ControlStore, table: str) -> dict[tuple[uuid.UUID, dt.datetime], Any]:
    async with store.transaction(audit.PLATFORM) as tx:
        cursor = await tx.execute(
            sql.SQL("SELECT database_id, at, commits, seconds, size_bytes FROM {}").format(
                sql.Identifier(table)
            )
        )
        return {(row[0], row[1]): row[2:] for row in await cursor.fetchall()}


async def prepared(store: ControlStore, *moments: dt.datetime) -> History:
    for at in moments:
        await History(store).prepare(at)
    return History(store)


@pytest.mark.parametrize("seed", range(2))
async def test_coarser_rows_are_sums_and_maxima_whatever_the_split(
    store: ControlStore, seed: int
) -> None:
    chance = random.Random(seed)  # noqa: S311 (no secret)
    made = await databases(store, 3)
    start = NOW - 4 * HOUR
    history = await prepared(store, start, NOW)
    sums: defaultdict[Any, int] = defaultdict(int)
    sizes: defaultdict[Any, int] = defaultdict(int)
    at = start
    while at < NOW:
        batch = []
        for _ in range(chance.randrange(1, 40)):
            at += dt.timedelta(seconds=chance.choice((1, 15, 16, 300)))
            for database in chance.sample(made, 2):
                commits = chance.choice((None, 0, chance.randrange(10**9)))
                size = chance.randrange(10**12)
                batch.append(period(database, at, commits, size_bytes=size))
                for length in (MINUTE, HOUR):
                    key = (length, database, resolutions.floor(at, length))
                    sums[key] += commits or 0
                    sizes[key] = max(sizes[key], size)
        await add(store, batch)
        await history.roll_up(at + dt.timedelta(seconds=1))
    await history.roll_up(at + HOUR)
    for table, length in (("samples_minute", MINUTE), ("samples_hour", HOUR)):
        found = await rows(store, table)
        expected = {key[1:]: key for key in sums if key[0] == length}
        assert found.keys() == expected.keys()
        for row, (commits, _, size) in found.items():
            assert (commits or 0, size) == (sums[expected[row]], sizes[expected[row]])
    # After a crash before the commit the same is computed again.
    before = await rows(store, "samples_minute"), await rows(store, "samples_hour")
    async with store.transaction(audit.PLATFORM) as tx:
        await tx.execute("DELETE FROM sample_rollups")
    await history.roll_up(at + HOUR)
    assert (await rows(store, "samples_minute"), await rows(store, "samples_hour")) == before


async def test_a_clusters_activity_is_that_of_its_databases_together(store: ControlStore) -> None:
    made = await databases(store, 2)
    start = NOW - 3 * HOUR
    history = await prepared(store, start, NOW)
    moments = [start + number * MINUTE for number in (1, 30, 61, 62)]
    await add(store, [period(each, at, 3600) for at in moments for each in made])
    await history.roll_up(start + 2 * HOUR)
    async with store.transaction(audit.PLATFORM) as tx:
        found = await sample_history.transactions_of_clusters(
            tx, start=start - HOUR, step=HOUR, steps=4
        )
    assert list(found.values()) == [[None, 4.0, 4.0, None]]


async def test_what_is_unknown_stays_unknown(store: ControlStore) -> None:
    (database,) = await databases(store, 1)
    history = await prepared(store, NOW)
    await add(
        store,
        [
            period(database, NOW + dt.timedelta(seconds=15), None, size_bytes=7),
            period(database, NOW + dt.timedelta(seconds=30), 30, size_bytes=5),
            period(database, NOW + dt.timedelta(seconds=75), None),
        ],
    )
    await history.roll_up(NOW + 2 * MINUTE)
    found = await rows(store, "samples_minute")
    assert found == {(database, NOW): (30, 15.0, 7), (database, NOW + MINUTE): (None, None, None)}


async def test_a_series_goes_on_where_coarser_rows_end(store: ControlStore) -> None:
    (database, other) = await databases(store, 2)
    start = NOW - 2 * HOUR
    history = await prepared(store, start, NOW)
    moments = [start + dt.timedelta(seconds=15 * number) for number in range(1, 600)]
    await add(store, [period(each, at, 15) for at in moments for each in (database, other)])
    await history.roll_up(moments[-1])
    async with store.transaction(audit.PLATFORM) as tx:
        until = await sample_history.rolled_up(tx)
        assert until["hour"] < until["minute"] < moments[-1]
        for resolution, step in (("raw", MINUTE), ("minute", MINUTE), ("hour", HOUR)):
            found = await sample_history.in_steps(
                tx,
                [database],
                resolution,  # type: ignore[arg-type]
                start=start,
                end=NOW + HOUR,
                step=step,
            )
            assert {row["database_id"] for row in found} == {database}
            assert sum(row["commits"] for row in found) == 15 * len(moments)
            assert all(row["commits"] == row["seconds"] for row in found)
        assert await sample_history.largest_since(tx, database, start) == 0


async def test_rows_are_dropped_with_their_partition_once_they_are_not_kept(
    store: ControlStore,
) -> None:
    (database,) = await databases(store, 1)
    then = NOW - dt.timedelta(days=8)
    history = await prepared(store, then)
    await add(store, [period(database, then + MINUTE, 1, size_bytes=9)])
    await history.prepare(NOW)
    async with store.transaction(audit.PLATFORM) as tx:
        before = await sample_history.partitions(tx)
    await history.roll_up(then + 2 * HOUR)
    await history.roll_up(NOW)
    async with store.transaction(audit.PLATFORM) as tx:
        left = await sample_history.partitions(tx)
        assert await sample_history.largest_since(tx, database, then) == 9
    gone = {str(resolutions.Partition(resolutions.RAW, resolutions.RAW.start_of_partition(then)))}
    assert gone <= before - left
    assert not await rows(store, "samples_raw")
    assert len(await rows(store, "samples_hour")) == 1


async def test_deleted_databases_are_not_carried_on(store: ControlStore) -> None:
    kept, deleted = await databases(store, 2)
    history = await prepared(store, NOW)
    await add(store, [period(each, NOW + MINUTE, 1) for each in (kept, deleted)])
    async with store.transaction(audit.PLATFORM) as tx:
        await tx.execute("DELETE FROM databases WHERE id = %s", (deleted,))
        assert await samples.databases(tx)
        await samples.forget_deleted(tx)
    await history.roll_up(NOW + HOUR)
    assert {database for database, _ in await rows(store, "samples_minute")} == {kept}


async def test_a_clock_that_is_set_back_is_followed(store: ControlStore) -> None:
    (database,) = await databases(store, 1)
    history = await prepared(store, NOW)
    await add(store, [period(database, NOW + 10 * MINUTE, 1)])
    await history.roll_up(NOW + 30 * MINUTE)
    await history.roll_up(NOW + 5 * MINUTE)
    await add(store, [period(database, NOW + 6 * MINUTE, 2)])
    await history.roll_up(NOW + 20 * MINUTE)
    found = await rows(store, "samples_minute")
    assert {at - NOW: row[0] for (_, at), row in found.items()} == {6 * MINUTE: 2, 10 * MINUTE: 1}


# ── counters of a server ─────────────────────────────────────────────────────


@pytest.fixture
def own(server: Server) -> Iterator[Server]:
    """A server of its own: it is restarted and crashed."""
    home = Path(tempfile.mkdtemp(prefix="tenantry-test-"))
    try:
        with started(home, server.bin_dir) as running:
            yield running
    finally:
        shutil.rmtree(home)


async def activity(server: Server) -> DatabaseActivity:
    async with await psycopg.AsyncConnection.connect(server.dsn(), autocommit=True) as connection:
        return (await database_activity.of_cluster(connection))["tenant_a"]


async def eventually(server: Server, holds: Callable[[DatabaseActivity], bool]) -> DatabaseActivity:
    """Wait until something holds, also through a crash of the server."""
    while True:
        with suppress(psycopg.OperationalError):
            if holds(found := await activity(server)):
                return found
        await asyncio.sleep(0.05)


async def test_counters_that_were_reset_have_another_epoch(own: Server) -> None:
    own.execute(sql.SQL("CREATE DATABASE tenant_a").format())
    first, second = await activity(own), await activity(own)
    assert first.epoch == second.epoch
    found = [second]
    with psycopg.connect(own.dsn("tenant_a"), autocommit=True) as session:
        session.execute("SELECT pg_stat_reset()")
    found.append(await activity(own))
    with psycopg.connect(own.dsn(), autocommit=True) as session:
        os.kill(session.info.backend_pid, signal.SIGKILL)  # as the kernel does without memory
        found.append(await eventually(own, lambda now: now.epoch != found[-1].epoch))
    own.execute(sql.SQL("DROP DATABASE tenant_a").format())
    own.execute(sql.SQL("CREATE DATABASE tenant_a").format())
    found.append(await activity(own))
    assert len({each.epoch for each in found}) == len(found) == 4


async def test_sessions_are_counted_by_port_and_state(own: Server) -> None:
    own.execute(sql.SQL("CREATE DATABASE tenant_a").format())
    own.execute(sql.SQL("CREATE ROLE user_a LOGIN").format())
    before = await activity(own)
    assert before.connections == (0,) * 6
    dsn = own.dsn("tenant_a", user="user_a")  # by the Unix socket, as the pooler
    with psycopg.connect(dsn) as one, psycopg.connect(dsn, autocommit=True) as other:
        one.execute("SELECT 1")
        found = await activity(own)
        assert found.connections == Connections(0, 0, 0, 0, pooled_idle=1, pooled_in_transaction=1)
        assert found.longest_transaction_seconds > 0
        assert set(found.pids) == {one.info.backend_pid, other.info.backend_pid}
    found = await eventually(own, lambda now: now.connections == (0,) * 6)
    assert found.sessions == before.sessions + 2
    assert (found.longest_transaction_seconds, found.pids) == (0, ())


async def test_the_newest_row_of_each_database_is_found(store: ControlStore) -> None:
    first, second, late, never = await databases(store, 4)
    at = dt.datetime.now(dt.UTC).replace(microsecond=123456)
    await prepared(store, at - HOUR, at)
    before = at - dt.timedelta(seconds=15)
    await add(store, [period(each, before, 1, direct_idle=1) for each in (first, second)])
    await add(store, [period(each, at, 30, direct_idle=2) for each in (first, second)])
    await add(store, [period(late, at - HOUR, 5)])
    counters = dict.fromkeys((*GAUGES, *samples.COUNTERS), 0)
    async with store.transaction(audit.PLATFORM) as tx:
        newest = ((first, at), (second, at), (late, at - HOUR))
        await samples.keep_newest(
            tx, [samples.Sample(database_id=each, at=when, **counters) for each, when in newest]
        )
        since = at - 10 * MINUTE
        found = await samples.latest(tx, None, since=since, customer_id=None)
        assert {each["database_id"] for each in found} == {first, second}
        for each in found:
            assert (each["at"], each["commits"], each["direct_idle"]) == (at, 30, 2)
            assert (each["friendly_name"], each["environment"]) == ("x", "production")
        found = await samples.latest(tx, [second, never], since=since, customer_id=None)
        assert [each["database_id"] for each in found] == [second]
        assert await samples.latest(tx, None, since=since, customer_id=new_id()) == []
