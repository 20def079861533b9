"""The history of statements in a real control database: exact after a kill, and bounded."""

import datetime as dt
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, cast

import psycopg
import pytest
from psycopg import sql

from tenantry.base.ids import new_suffix
from tenantry.control import audit, query_history
from tenantry.control import databases as rows
from tenantry.control.audit import Actor
from tenantry.control.query_history import MOST_IN_PRESENT_HOUR, MOST_KEPT, MOST_TEXTS, WHOLE
from tenantry.control.store import ControlStore
from tenantry.pg import names, statement_counters, statement_statistics
from tenantry.pg.statement_counters import Counters, Entry
from tenantry.pg.statement_statistics import Counting
from tenantry.services.clusters.pools import ClusterPools
from tenantry.services.insights.history import MOST_TEXT, QueryHistory

SINCE = dt.datetime(2026, 11, 1, tzinfo=dt.UTC)


class Cluster:
    """A cluster that has counted what the test says."""

    def __init__(self, store: ControlStore, monkeypatch: pytest.MonkeyPatch) -> None:
        self.store = store
        self.id = uuid.uuid4()
        self.evictions = 0
        self.counted: dict[tuple[str, int], int] = {}  # calls, by database and query ID
        self.reads = 0
        self.own: set[int] = set()  # query IDs of the platform's own
        self.history = QueryHistory(store, cast(ClusterPools, self))
        monkeypatch.setattr(statement_statistics, "counting", self._counting)
        monkeypatch.setattr(statement_counters, "entries", self._entries)
        monkeypatch.setattr(statement_counters, "texts", self._texts)

    @asynccontextmanager
    async def connection(self, _: uuid.UUID) -> AsyncIterator[None]:
        yield

    async def _counting(self, _: object) -> Counting:
        return Counting(SINCE, self.evictions)

    async def _entries(self, _: object) -> list[Entry]:
        self.reads += 1
        return [
            Entry(
                (hash(suffix) % 2**31, 1, query_id),
                names.main(suffix),
                names.owner(suffix),
                Counters(calls, float(calls), 0, 0, 0, 0, 0),
            )
            for (suffix, query_id), calls in self.counted.items()
        ]

    async def _texts(
        self, _: object, wanted: Sequence[tuple[int, int]], *, most: int
    ) -> dict[tuple[int, int], tuple[str, bool]]:
        texts = {key: f"SELECT 'secret', {'x' * most} /* {key[1]} */"[:most] for key in wanted}
        return {key: (text, key[1] in self.own) for key, text in texts.items()}

    async def database(self) -> tuple[str, uuid.UUID]:
        """A new database's suffix and ID."""
        suffix = new_suffix()
        async with self.store.transaction(audit.PLATFORM) as tx:
            made = await rows.insert_creating(tx, cluster_id=self.id, suffix=suffix)
            await tx.execute(
                "UPDATE databases SET status = 'active', friendly_name = 'X' WHERE id = %s",
                (made,),
            )
        return suffix, made

    async def take(self, *, killed: bool = False) -> None:
        with pytest.raises(KeyboardInterrupt) if killed else _nothing():
            async with self.store.transaction(audit.PLATFORM) as tx:
                await query_history.roll(tx)
                await self.history.take_of(tx, self.id)
                if killed:
                    raise KeyboardInterrupt

    async def stored(self, database_id: uuid.UUID) -> dict[int, int]:
        """The calls in the history, by query ID."""
        async with self.store.transaction(audit.PLATFORM) as tx:
            found = await tx.execute(
                "SELECT query_id, sum(calls)::int FROM query_history WHERE database_id = %s"
                " GROUP BY query_id",
                (database_id,),
            )
            return dict(await found.fetchall())

    async def value(self, query: Any, *parameters: object) -> Any:
        async with self.store.transaction(audit.PLATFORM) as tx:
            row = await (await tx.execute(query, parameters)).fetchone()
            assert row
            return row[0]


class _nothing:  # noqa: N801
    def __enter__(self) -> None: ...
    def __exit__(self, *_: object) -> None: ...


@pytest.fixture
async def cluster(store: ControlStore, monkeypatch: pytest.MonkeyPatch) -> Cluster:
    made = Cluster(store, monkeypatch)
    async with store.transaction(audit.PLATFORM) as tx:
        await tx.execute(
            "INSERT INTO clusters (id, name, kind, driver, version, socket_dir, port)"
            " VALUES (%s, 'shared-9', 'shared', 'process', 15, '/x', 1)",
            (made.id,),
        )
    return made


async def test_a_killed_snapshot_is_repeated_and_counts_once(cluster: Cluster) -> None:
    suffix, made = await cluster.database()
    cluster.counted[suffix, 1] = 100
    await cluster.take()
    assert await cluster.stored(made) == {}  # when these were is unknown
    cluster.counted[suffix, 1] = 130
    for _ in range(2):
        await cluster.take(killed=True)
        assert await cluster.stored(made) == {}
    for _ in range(3):
        await cluster.take()
        assert await cluster.stored(made) == {1: 30, WHOLE: 30}
    cluster.counted[suffix, 1] = 150
    await cluster.take(killed=True)
    cluster.counted[suffix, 1] = 160
    await cluster.take()
    assert await cluster.stored(made) == {1: 60, WHOLE: 60}


async def test_resets_and_evictions_subtract_nothing(cluster: Cluster) -> None:
    suffix, made = await cluster.database()
    cluster.counted[suffix, 1] = 100
    await cluster.take()
    cluster.counted[suffix, 1] = 7  # reset, and executed 7 times
    await cluster.take()
    assert await cluster.stored(made) == {1: 7, WHOLE: 7}
    del cluster.counted[suffix, 1]
    cluster.evictions = 3
    await cluster.take()
    cluster.counted[suffix, 1] = 20  # evicted, and executed 20 times
    await cluster.take()
    assert await cluster.stored(made) == {1: 27, WHOLE: 27}
    assert await cluster.value("SELECT sum(evictions)::int FROM query_hours") == 3
    assert await cluster.value("SELECT count(*)::int FROM query_counters") == 1


async def test_endless_statements_neither_grow_it_nor_push_others_out(cluster: Cluster) -> None:
    endless, churner = await cluster.database()
    quiet, other = await cluster.database()
    await cluster.take()
    cluster.counted[quiet, 1] = 1
    for number in range(3):
        cluster.counted |= {(endless, 1 + number * 1000 + n): 100 + n for n in range(1000)}
        await cluster.take()
    assert len(await cluster.stored(churner)) == MOST_IN_PRESENT_HOUR + 1
    whole = await cluster.stored(churner)
    assert whole[WHOLE] == 3 * sum(range(100, 1100))
    assert await cluster.stored(other) == {1: 1, WHOLE: 1}
    # As if the hour were over.
    async with cluster.store.transaction(audit.PLATFORM) as tx:
        for statement in (
            "UPDATE query_history SET hour = hour - interval '1 hour'",
            "UPDATE query_snapshots SET taken_at = taken_at - interval '1 hour'",
        ):
            await tx.execute(statement)
    await cluster.take()
    assert len(await cluster.stored(churner)) == MOST_KEPT + 1
    assert await cluster.stored(other) == {1: 1, WHOLE: 1}
    assert await cluster.value("SELECT count(*)::int FROM query_texts") <= 3 * MOST_KEPT + 1
    longest = "SELECT max(length(query)) FROM query_texts"
    assert await cluster.value(longest) <= MOST_TEXT
    secrets = "SELECT count(*)::int FROM query_texts WHERE query LIKE '%%secret%%'"
    assert await cluster.value(secrets) == 0


async def test_the_texts_of_a_database_are_bounded(cluster: Cluster) -> None:
    _, made = await cluster.database()
    hour = dt.datetime.now(dt.UTC)
    for number in range(4):
        async with cluster.store.transaction(audit.PLATFORM) as tx:
            places = [(made, 1000 * number + n) for n in range(MOST_TEXTS // 2)]
            texts = dict.fromkeys(places, ("SELECT $1", False))
            await query_history.add_texts(tx, hour + dt.timedelta(hours=number), texts)
    assert await cluster.value("SELECT count(*)::int FROM query_texts") == MOST_TEXTS
    assert await cluster.value("SELECT min(query_id)::int FROM query_texts") == 2000


PARTITIONS = "SELECT count(*)::int FROM pg_inherits WHERE inhparent = 'query_history'::regclass"


async def test_old_partitions_are_dropped_whole(cluster: Cluster, conn_admin: Any) -> None:
    await cluster.take()
    expected = query_history.KEPT_DAYS + 2  # tomorrow's too
    assert await cluster.value(PARTITIONS) == expected
    await conn_admin.execute(
        "CREATE TABLE query_history_20200101 PARTITION OF query_history"
        " FOR VALUES FROM ('2020-01-01Z') TO ('2020-01-02Z')"
    )
    await cluster.take()
    assert await cluster.value(PARTITIONS) == expected
    assert await cluster.value("SELECT to_regclass('query_history_20200101')::text") is None


@pytest.fixture
async def conn_admin(cluster: Cluster, server: Any) -> AsyncIterator[Any]:  # noqa: ARG001
    """The control database, as a superuser."""
    dsn = server.dsn("tenantry_control")
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
        yield connection


async def test_a_customer_finds_its_own_history_only(cluster: Cluster) -> None:
    customers = [uuid.uuid4(), uuid.uuid4()]
    await cluster.take()
    made = []
    for customer in customers:
        suffix, database = await cluster.database()
        made.append(database)
        async with cluster.store.transaction(audit.PLATFORM) as tx:
            await tx.execute(
                "INSERT INTO customers (id, email) VALUES (%s, %s)",
                (customer, f"{customer}@example.com"),
            )
            await tx.execute(
                "UPDATE databases SET customer_id = %s, name = %s WHERE id = %s",
                (customer, suffix, database),
            )
        cluster.counted[suffix, 1] = 5
    await cluster.take()
    for customer, database in zip(customers, made, strict=True):
        actor = Actor("user", "x", id=uuid.uuid4(), customer_id=customer)
        async with cluster.store.transaction(actor) as tx:
            for table in ("query_history", "query_texts"):
                found = await tx.execute(
                    sql.SQL("SELECT DISTINCT database_id FROM {}").format(sql.Identifier(table))
                )
                assert await found.fetchall() == [(database,)]
            hour = query_history.hour_of(dt.datetime.now(dt.UTC) - dt.timedelta(hours=1))
            for asked, expected in ((database, 1), (made[0], customer == customers[0])):
                past = await query_history.since(
                    tx, asked, hour, order="total_ms", search=None, limit=10
                )
                assert len(past) == expected
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                await tx.execute("SELECT FROM query_counters")


async def test_the_history_has_shares_and_is_searched(cluster: Cluster) -> None:
    suffix, made = await cluster.database()
    await cluster.take()
    cluster.counted |= {(suffix, n): n for n in range(1, 101)}
    cluster.own = {99}
    await cluster.take()
    async with cluster.store.transaction(audit.PLATFORM) as tx:
        now = dt.datetime.now(dt.UTC)
        past = await query_history.since(
            tx, made, now - dt.timedelta(hours=1), order="calls", search="SELECT", limit=3
        )
        every = await query_history.since(
            tx, made, now - dt.timedelta(hours=1), order="calls", search=None, limit=2, own=True
        )
        none = await query_history.since(
            tx, made, now - dt.timedelta(hours=1), order="calls", search="nowhere", limit=3
        )
    assert [each.query_id for each in past] == [100, 98, 97]
    assert [(each.query_id, each.own) for each in every] == [(100, False), (99, True)]
    # Of all, also of those whose text is not stored.
    assert past[0].share == pytest.approx(100 / sum(range(101)))
    assert none == []


async def test_paces_are_those_of_the_same_statements_a_week_before(cluster: Cluster) -> None:
    _, made = await cluster.database()
    _, without_past = await cluster.database()
    await cluster.take()
    hour = query_history.hour_of(dt.datetime.now(dt.UTC))
    before = hour - dt.timedelta(days=7)

    def counted(calls: int, total_ms: float) -> Counters:
        return Counters(calls, total_ms, 0, 0, 0, 0, 0)

    async with cluster.store.transaction(audit.PLATFORM) as tx:
        past = {
            (False, 1): counted(2, 10.0),
            (False, 2): counted(1, 1.0),
            (True, 4): counted(1, 1.0),
        }
        now = {
            (False, 1): counted(6, 90.0), (False, 3): counted(9, 900.0), (True, 4): counted(1, 7.0),
            (False, WHOLE): counted(16, 997.0),
        }  # fmt: skip
        await query_history.add(tx, before, {made: past | {(False, WHOLE): counted(4, 12.0)}})
        await query_history.add(tx, hour, {made: now, without_past: now})
        assert await query_history.paces(tx, cluster.id, hour) == {
            made: query_history.Pace(6, 90.0, 30.0)
        }
