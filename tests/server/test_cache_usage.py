"""What the AI cache counts, in a real control database, and what takes memory in a real Redis."""

import asyncio
import datetime as dt
import uuid
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from cache_service import PASSWORD, Redis
from psycopg import sql
from redis.asyncio import Redis as Client

from database_rows import site_row
from tenantry.base.ids import new_id
from tenantry.control import audit, cache_prices, cache_usage, sites
from tenantry.control.cache_prices import PriceRow
from tenantry.control.store import ControlStore
from tenantry.services.cache_usage.counting import Counts, Writing
from tenantry.services.sites import inspection, redis_client
from tenantry.services.sites.model import Site

NOW = dt.datetime.now(dt.UTC).replace(minute=30, second=10, microsecond=0)
MINUTE, HOUR, DAY = dt.timedelta(minutes=1), dt.timedelta(hours=1), dt.timedelta(days=1)


async def made(store: ControlStore, customer: uuid.UUID | None = None) -> uuid.UUID:
    """Create a site's row."""
    site = new_id()
    async with store.transaction(audit.PLATFORM) as tx:
        if customer is not None:
            await tx.execute(
                "INSERT INTO customers (id, email) VALUES (%s, %s) ON CONFLICT DO NOTHING",
                (customer, f"{customer}@example.com"),
            )
        port = 1024 + site.int % 60_000
        await sites.insert(
            tx,
            site_row(
                site,
                customer_id=customer,
                name=f"s{site.hex[-8:]}",
                port=port,
                key_hash=site.bytes,
            ),
        )
    return site


async def rows(
    store: ControlStore,
    site: uuid.UUID,
    resolution: cache_usage.Resolution,
    *,
    model: str | None = None,
) -> list[cache_usage.UsageRow]:
    start, end = NOW - 100 * DAY, NOW + DAY
    async with store.transaction(audit.PLATFORM) as tx:
        return await cache_usage.in_steps(
            tx, site, resolution, start=start, end=end, step=HOUR, model=model
        )


async def test_what_is_counted_is_in_minutes_hours_and_totals(store: ControlStore) -> None:
    site, gone = await made(store), new_id()
    moments = [NOW]
    counts = Counts(lambda: moments[-1])
    writing = Writing(store, counts, lambda: moments[-1])
    expected: Counter[str] = Counter()
    for number in range(6):
        moments.append(NOW + number * 15 * MINUTE)
        counts.of(site).looked_up("m" if number % 2 else "n", 0.001, misses=number, saved_in=2)
        counts.of(gone).add("m", misses=1)
        expected.update({"misses": number, "saved_in": 2, "lookup:1": 1, "lookup_us": 1000})
        assert await writing.write()
        assert await writing.write()  # nothing new
    for resolution in ("minute", "hour"):
        found: Counter[str] = Counter()
        for row in await rows(store, site, resolution):
            found[row.name] += row.number
        assert found == expected
    in_hours = await rows(store, site, "hour", model="m")
    assert {row.step for row in in_hours} == {
        NOW.replace(minute=0, second=0) + number * HOUR for number in (0, 1)
    }
    assert sum(row.number for row in in_hours if row.name == "misses") == 1 + 3 + 5
    async with store.transaction(audit.PLATFORM) as tx:
        assert await cache_usage.totals(tx) == {site: dict(expected)}


async def test_old_rows_are_deleted_and_totals_stay(store: ControlStore) -> None:
    site = await made(store)
    moments = [NOW - 91 * DAY]
    counts = Counts(lambda: moments[-1])
    writing = Writing(store, counts, lambda: NOW)
    for age in (91 * DAY, 2 * DAY, MINUTE):
        moments.append(NOW - age)
        counts.of(site).add("m", misses=1)
    assert await writing.write(drops=True)
    assert len(await rows(store, site, "minute")) == 1
    assert len(await rows(store, site, "hour")) == 2
    async with store.transaction(audit.PLATFORM) as tx:
        assert await cache_usage.totals(tx) == {site: {"misses": 3}}
        await sites.remove(tx, site)
        assert await cache_usage.totals(tx) == {}


async def test_a_customer_sees_the_counts_of_its_own_sites(store: ControlStore) -> None:
    ann, bob = new_id(), new_id()
    hers, his = await made(store, ann), await made(store, bob)
    counts = Counts()
    for site in (hers, his):
        counts.of(site).add("m", misses=1)
    assert await Writing(store, counts).write()
    actor = replace(audit.PLATFORM, kind="user", customer_id=ann)
    async with store.transaction(actor) as tx:
        assert set(await cache_usage.totals(tx)) == {hers}
        for table in ("cache_minutes", "cache_hours"):
            cursor = await tx.execute(f"SELECT site_id FROM {table}")  # noqa: S608 (of ours)
            assert await cursor.fetchall() == [(hers,)]


async def test_counts_wait_for_the_control_database(
    store: ControlStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = await made(store)
    counts = Counts(lambda: NOW)
    writing = Writing(store, counts)
    counts.of(site).add("m", misses=1)
    with monkeypatch.context() as broken:
        broken.setattr(cache_usage, "_SUM", sql.SQL("no_such_function()"))
        assert not await writing.write()
    counts.of(site).add("m", misses=2)
    assert await writing.write()
    (row,) = await rows(store, site, "minute")
    assert (row.name, row.number) == ("misses", 3)


async def test_prices_that_are_replaced_twice_at_once_are_those_of_one(store: ControlStore) -> None:
    async def replace_all(amount: int) -> None:
        async with store.transaction(audit.PLATFORM) as tx:
            some = [f"m{number}" for number in range(50)]
            prices = [
                PriceRow(each, NOW.date(), "EUR", Decimal(amount), Decimal(amount)) for each in some
            ]
            await cache_prices.replace(tx, prices)

    await asyncio.gather(*map(replace_all, range(5)))
    async with store.transaction(audit.PLATFORM) as tx:
        found = await cache_prices.every(tx)
        await cache_prices.replace(tx, [])
    assert (len(found), len({each.input for each in found})) == (50, 1)


# ── what takes memory ────────────────────────────────────────────────────────


def a_site(site: uuid.UUID, isolation: sites.Isolation = "dedicated") -> Site:
    return Site(
        id=site,
        customer_id=None,
        name="shop",
        status="active",
        port=6379,
        memory_mb=8,
        max_clients=10,
        eviction="volatile-lru",
        persistence="none",
        semantic="exact",
        isolation=isolation,
        networks=None,
        created_at=NOW,
        updated_at=NOW,
    )


@asynccontextmanager
async def a_redis(folder: Path) -> AsyncIterator[Any]:
    """Start a Redis; yield a client of it that may do everything."""
    redis = Redis(folder)
    redis.start()
    client = Client(
        unix_socket_path=str(redis.socket),
        username="platform",
        password=PASSWORD.reveal(),
        decode_responses=True,
        encoding_errors="surrogateescape",
    )
    try:
        yield client
    finally:
        await client.aclose()
        redis.kill()


async def test_sites_that_share_a_redis_are_measured_in_one_pass(tmp_path: Path) -> None:
    one, other, empty = (a_site(new_id(), "shared") for _ in range(3))
    async with a_redis(tmp_path) as client:
        async with client.pipeline(transaction=False) as batch:
            for number in range(3000):
                batch.set(f"cache:{one.id}:entry:{number}", "x" * 100)
                batch.set(f"site:{other.id}:{number}:{one.id}:", "y")
            batch.set(f"site:{one.id}:\udcff", "z" * 100_000)
            batch.set("neither", "z")
            await batch.execute()
        await client.config_resetstat()
        found = await inspection.stats(client, [one, other, empty])
        commands = (await client.info("commandstats"))["cmdstat_eval"]["calls"]
        assert 12 <= commands < 100
        assert {key: each.keys for key, each in found.items()} == {
            one.id: 3001,
            other.id: 3000,
            empty.id: 0,
        }
        assert 400_000 < found[one.id].memory_bytes < 1_000_000
        assert 200_000 < found[other.id].memory_bytes < 700_000
        assert (found[empty.id].memory_bytes, found[one.id].evicted_keys) == (0, None)
        for each in (one, other, empty):
            alone = await inspection.stats(client, [each])
            assert alone[each.id].keys == found[each.id].keys
            assert alone[each.id].memory_bytes == found[each.id].memory_bytes
        # A page has keys although those of others are between them.
        pattern, cursor, listed = f"site:{one.id}:*", 0, list[str]()
        for _ in range(2):
            cursor, some = await redis_client.some_keys(client, cursor, pattern, 50)
            listed += some
            if not cursor:
                break
        assert (cursor, listed) == (0, [f"site:{one.id}:\udcff"])
        _, some = await redis_client.some_keys(client, 0, f"cache:{one.id}:*", 50)
        assert 50 <= len(some) < 70
        inspected = await inspection.inspect(client, one)
        assert (inspected.keys, inspected.evicted_keys) == (3001, None)


async def test_a_site_is_inspected_by_a_sample(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site, other = uuid.uuid4(), uuid.uuid4()
    whole = a_site(site)
    async with a_redis(tmp_path) as client:
        await client.config_set("slowlog-log-slower-than", 0)
        for number in range(300):
            await client.set(f"cache:{site}:entry:{number}", "x" * 100)
        await client.hset(f"site:{site}:big", mapping={str(each): "y" for each in range(2000)})
        await client.set(f"site:{site}:\udcff", "a secret value")
        await client.set(f"site:{other}:theirs", "z" * 10_000)
        found = await inspection.inspect(client, whole)
        assert (found.keys, found.sampled) == (302, 302)
        kinds = {each.kind: each.keys for each in found.kinds}
        assert kinds == {"entry": 300, "own keys": 2}
        assert found.big_keys[0].key == f"site:{site}:big"
        assert found.big_keys[0].type == "hash"
        assert found.slow_commands
        shown = " ".join(f"{each.command} {each.key}" for each in found.slow_commands)
        assert "secret" not in shown
        assert str(other) not in shown
        assert "\\xff" in shown
        assert found.slow_commands[0].at > NOW - DAY
        # Of many keys some are read.
        monkeypatch.setattr(inspection, "_MOST_KEYS", 50)
        monkeypatch.setattr(inspection, "_AT_ONCE", 20)
        sample = await inspection.inspect(client, whole)
        assert 50 <= sample.sampled < 300
        assert sample.keys == 303
        assert abs(sum(each.keys for each in sample.kinds) - 303) <= len(sample.kinds)
