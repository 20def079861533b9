"""What sites hold, and what takes a site's memory and time: a sample of its keys, the slow log."""

import datetime as dt
import uuid
from collections import Counter
from collections.abc import Sequence
from typing import Any

import redis.asyncio as redis
from redis.exceptions import ResponseError

from tenantry.base.errors import InvalidInput
from tenantry.services.sites import plan, redis_client
from tenantry.services.sites.model import (
    BigKey,
    Inspection,
    KeyPage,
    KindUse,
    Site,
    SiteKey,
    SiteStats,
    SlowCommand,
    key_prefix,
    tenant_user,
)

_MOST_KEYS = 5000  # that are read: some tens of milliseconds of the site's Redis
_AT_ONCE = 250
_MOST_ROUNDS = 200  # of SCAN, which may return nothing
_BIG, _SLOW = 10, 100
_LONGEST_KEY = 200
OWN_KEYS = "own keys"  # those of the site's programs


async def stats(client: redis.Redis, sites: Sequence[Site]) -> dict[uuid.UUID, SiteStats]:
    """Return what the sites of one process hold and have done: one, or some of the shared process.

    Raises what ``client`` raises.
    """
    info: dict[str, Any] = await client.info("everything")
    if sites[0].isolation == "dedicated":
        keys, own = await client.dbsize(), info
        return {site.id: _stats(site, info, own, (keys, info["used_memory"])) for site in sites}
    measured = await redis_client.measure(client, sites[0].id if len(sites) == 1 else None)
    users = Counter(each["user"] for each in await client.client_list())
    return {
        site.id: _stats(
            site,
            info,
            {"connected_clients": users[tenant_user(site.id, site.isolation)]},
            measured.get(site.id, (0, 0)),
        )
        for site in sites
    }


def _stats(
    site: Site, info: dict[str, Any], own: dict[str, Any], measured: tuple[int, int]
) -> SiteStats:
    """Return the statistics of a site: ``own`` is what counts itself only, of ``info``."""
    return SiteStats(
        server=str(redis_client.version_in(info)),
        uptime_seconds=info["uptime_in_seconds"],
        memory_bytes=measured[1],
        memory_limit_bytes=site.memory_mb * plan.MIB,
        process_bytes=info["used_memory_rss"],
        keys=measured[0],
        clients=own["connected_clients"],
        max_clients=site.max_clients,
        commands=own.get("total_commands_processed"),
        hits=own.get("keyspace_hits"),
        misses=own.get("keyspace_misses"),
        evicted_keys=own.get("evicted_keys"),
        expired_keys=own.get("expired_keys"),
    )


async def keys(
    client: redis.Redis, site: Site, *, match: str, cursor: str | None, limit: int
) -> KeyPage:
    """Return about ``limit`` keys of a site; see ``Sites.keys``."""
    if cursor is not None and not (cursor.isascii() and cursor.isdecimal()):
        raise _no_cursor()
    pattern = f"{site.key_prefix}{match}"
    try:
        following, names = await redis_client.some_keys(client, int(cursor or 0), pattern, limit)
    except ResponseError:
        raise _no_cursor() from None
    batch = client.pipeline(transaction=False)
    for name in names:
        batch.type(name)
        batch.ttl(name)
        batch.memory_usage(name)
    found = await batch.execute()
    rows = [
        SiteKey(shown(name), kind, None if ttl < 0 else ttl, size or 0)
        for name, kind, ttl, size in zip(names, found[::3], found[1::3], found[2::3], strict=True)
        if kind != "none"  # it has expired meanwhile
    ]
    return KeyPage(rows, str(following) if following else None)


def _no_cursor() -> InvalidInput:
    return InvalidInput.of("cursor", "is not a next_cursor of this list")


async def inspect(client: redis.Redis, site: Site) -> Inspection:
    """Read a sample of a site's keys, and its slow log. Raises what ``client`` raises."""
    site_id = site.id
    own, of_cache = key_prefix(site_id), f"cache:{site_id}:"
    used = (await stats(client, [site]))[site_id]
    slow = await client.slowlog_get(_SLOW)  # first: what follows here could be in it
    sizes: dict[str, int] = {}
    cursor, rounds = 0, 0
    while len(sizes) < _MOST_KEYS and rounds < _MOST_ROUNDS:
        cursor, some = await client.scan(cursor, match=f"*{site_id}*", count=_AT_ONCE)
        names = [name for name in map(str, some) if name.startswith((own, of_cache))]
        batch = client.pipeline(transaction=False)
        for name in names:
            batch.memory_usage(name)
        found = await batch.execute()
        sizes |= {name: size for name, size in zip(names, found, strict=True) if size}
        rounds += 1
        if not cursor:
            break
    keys = used.keys if cursor else len(sizes)
    largest = sorted(sizes, key=lambda name: -sizes[name])[:_BIG]
    batch = client.pipeline(transaction=False)
    for name in largest:
        batch.type(name)
    types = await batch.execute()
    return Inspection(
        memory_bytes=used.memory_bytes,
        memory_limit_bytes=used.memory_limit_bytes,
        evicted_keys=used.evicted_keys,
        keys=keys,
        sampled=len(sizes),
        kinds=_kinds(sizes, of_cache, keys),
        big_keys=[
            BigKey(shown(name), str(kind), sizes[name])
            for name, kind in zip(largest, types, strict=True)
        ],
        slow_commands=[
            each for entry in slow if (each := _slow(entry, (own, of_cache))) is not None
        ],
    )


def shown(name: str) -> str:
    """Return a key's name with escapes for what is no UTF-8."""
    return name.encode(errors="surrogateescape").decode(errors="backslashreplace")


def _kinds(sizes: dict[str, int], of_cache: str, keys: int) -> list[KindUse]:
    """Return what each kind takes, if the other keys are as those that were read."""
    counts: Counter[str] = Counter()
    taken: Counter[str] = Counter()
    for name, size in sizes.items():
        is_of_cache = name.startswith(of_cache)
        kind = name.removeprefix(of_cache).partition(":")[0] if is_of_cache else OWN_KEYS
        counts[kind] += 1
        taken[kind] += size
    factor = keys / len(sizes) if sizes else 0
    return [
        KindUse(kind, round(counts[kind] * factor), round(size * factor))
        for kind, size in taken.most_common()
    ]


def _slow(entry: dict[str, Any], prefixes: tuple[str, str]) -> SlowCommand | None:
    """Return an entry of the slow log that has a key of the site; None for any other.

    Arguments have what a program stores, and are left out.
    """
    raw = entry["command"]
    words = str(raw.decode(errors="surrogateescape") if isinstance(raw, bytes) else raw).split(" ")
    key = next((word for word in words[1:] if word.startswith(prefixes)), None)
    if key is None:
        return None
    at = dt.datetime.fromtimestamp(entry["start_time"], dt.UTC)
    return SlowCommand(at, entry["duration"] / 1000, words[0].upper(), shown(key)[:_LONGEST_KEY])
