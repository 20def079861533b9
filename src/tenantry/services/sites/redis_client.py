"""Connections to the Redis of a site, as its platform user, over its Unix socket."""

import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import redis.asyncio as redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError, ResponseError

from tenantry.base.errors import Unavailable
from tenantry.base.home import Home
from tenantry.base.ids import parse_id
from tenantry.control.sites import SiteRow
from tenantry.host.redis_engines import RedisVersion
from tenantry.services.sites import plan
from tenantry.services.sites.model import (
    PLATFORM_USER,
    cache_prefix,
    key_prefix,
    socket_of,
)
from tenantry.services.sites.process import SiteProcess

_SECONDS = 2.0  # for each command
_FOLDER = "appenddirname"
_AT_ONCE = 500  # keys
_MOST_ROUNDS = 200  # of SCAN, for a page
_SAMPLES = 5  # of the values in a key
# The keys and bytes of each site in a part of all keys: [cursor, site, keys, bytes, …]. A command
# for each key takes far longer, also here.
_MEASURE = """
local part = redis.call('SCAN', ARGV[1], 'MATCH', ARGV[2], 'COUNT', ARGV[3])
local keys, bytes, found = {}, {}, {part[1]}
for _, key in ipairs(part[2]) do
    local site = string.match(key, '^site:([^:]+):') or string.match(key, '^cache:([^:]+):')
    if site then
        local size = redis.call('MEMORY', 'USAGE', key, 'SAMPLES', ARGV[4]) or 0
        keys[site] = (keys[site] or 0) + 1
        bytes[site] = (bytes[site] or 0) + size
    end
end
for site, count in pairs(keys) do
    found[#found + 1] = site
    found[#found + 1] = count
    found[#found + 1] = bytes[site]
end
return found
"""
_MEASURED = (str(_AT_ONCE), str(_SAMPLES))


class OtherData(Unavailable):
    """A process has the data of another folder than its site's row names."""


def client_of(process: SiteProcess, port: int) -> redis.Redis:
    """Return a client of a site's Redis with one connection, which it opens when it is used."""
    return redis.Redis(
        unix_socket_path=str(socket_of(process.home, port)),
        username=PLATFORM_USER,
        password=process.password.reveal(),
        decode_responses=True,
        encoding_errors="surrogateescape",  # the name of a key is any bytes
        retry=Retry(NoBackoff(), 0),
        socket_timeout=_SECONDS,
        single_connection_client=True,
    )


@asynccontextmanager
async def connected(process: SiteProcess, port: int) -> AsyncIterator[redis.Redis]:
    """Open one connection to a site's Redis. Raises Unavailable if it, or a command, fails."""
    try:
        async with client_of(process, port) as client:
            yield client
    except (RedisError, OSError) as error:
        # What it answered; other errors have paths of this machine in them.
        reason = str(error) if isinstance(error, ResponseError) else type(error).__name__
        raise Unavailable(
            f"The site's Redis does not answer: {reason}.", hint="Try again in a moment."
        ) from error


async def ensure_applied(
    process: SiteProcess, rows: Sequence[SiteRow], *, is_open: bool, interrupted: bool = False
) -> int:
    """Apply the parameters and users of sites to their running process, as its files have them.

    It listens on all addresses if it ``is_open``, whatever its file says. Whoever may not connect
    any more is disconnected; everybody if an earlier call was ``interrupted``, maybe before it did
    that. Return how many clients the allowlist does not admit any more. Raises OtherData,
    Unavailable.
    """
    wanted = plan.parameters(rows) | {"bind": plan.bind(is_open=is_open)}
    async with connected(process, rows[0].port) as client:
        present = await client.config_get(*wanted, _FOLDER)
        if present.get(_FOLDER) != rows[0].data_folder:
            raise OtherData("The site's Redis has to be started again, with other data.")
        differing = {name: value for name, value in wanted.items() if present.get(name) != value}
        if differing:
            pairs = [part for pair in differing.items() for part in pair]
            await _run(client, "CONFIG SET", *pairs)
        server = version_in(await client.info("server"))  # the package may be newer by now
        users = process.users(rows, server)
        there = set(map(str, await _run(client, "ACL USERS")))
        if gone := there - {"default", PLATFORM_USER, *users}:
            await _run(client, "ACL DELUSER", *gone)  # which disconnects them
        for name, rules in users.items():
            before = await _run(client, "ACL GETUSER", name)
            await _run(client, "ACL SETUSER", name, *rules)
            password_hash = next(each[1:] for each in rules if each.startswith("#"))
            is_rotated = password_hash not in str(before)
            if is_rotated or interrupted:
                await _run(client, "CLIENT KILL", "USER", name)
        networks = rows[0].networks
        if networks is None:
            return 0
        foreign = plan.foreign(await client.client_list(), networks, is_open=is_open)
        for identifier in foreign:
            await client.client_kill_filter(_id=identifier)
        return len(foreign)


async def some_keys(
    client: redis.Redis, cursor: int, pattern: str, most: int
) -> tuple[int, list[str]]:
    """Return the next cursor, 0 at the end, and about ``most`` keys that match a pattern.

    There are fewer if many others are between them, as in the shared process.
    """
    names: dict[str, None] = {}
    for _ in range(_MOST_ROUNDS):
        cursor, some = await client.scan(cursor, match=pattern, count=most - len(names))
        names |= dict.fromkeys(map(str, some))
        if not cursor or len(names) >= most:
            break
    return cursor, [*names]


async def every_key(client: redis.Redis, site_id: uuid.UUID) -> AsyncIterator[list[str]]:
    """Yield the keys of a site and of its AI cache, in parts; a key can come twice."""
    for prefix in (key_prefix(site_id), cache_prefix(site_id)):
        cursor = 0
        while True:
            cursor, names = await client.scan(cursor, match=f"{prefix}*", count=_AT_ONCE)
            yield [str(name) for name in names]
            if not cursor:
                break


async def delete_keys(client: redis.Redis, site_id: uuid.UUID) -> None:
    """Delete all keys of a site and of its AI cache, where others have keys, too."""
    async for names in every_key(client, site_id):
        if names:
            await client.unlink(*names)


async def measure(
    client: redis.Redis, site_id: uuid.UUID | None = None
) -> dict[uuid.UUID, tuple[int, int]]:
    """Return how many keys the sites of the shared process have, and their bytes.

    Without ``site_id`` of all. A site without keys is missing. All keys are passed once, in parts,
    between which others are served.
    """
    found: dict[uuid.UUID, tuple[int, int]] = {}
    cursor, pattern = "0", "*" if site_id is None else f"*:{site_id}:*"
    while True:
        part = await _run(client, "EVAL", _MEASURE, "0", cursor, pattern, *_MEASURED)
        cursor, *counted = part
        for name, keys, size in zip(counted[::3], counted[1::3], counted[2::3], strict=True):
            if (site := parse_id(name)) is not None and site_id in {None, site}:
                there = found.get(site, (0, 0))
                found[site] = there[0] + keys, there[1] + size
        if cursor == "0":
            return found


async def reload_certificate(home: Home, process: SiteProcess, port: int) -> None:
    """Make a site's process read its certificate again. Raises Unavailable."""
    async with connected(process, port) as client:
        await _run(
            client,
            "CONFIG SET",
            *("tls-cert-file", str(home.certificate), "tls-key-file", str(home.certificate)),
        )


async def _run(client: redis.Redis, *words: str) -> Any:
    return await client.execute_command(*words)  # type: ignore[no-untyped-call]


def version_in(info: Mapping[str, Any]) -> RedisVersion:
    """Return what a server is, by its answer to INFO."""
    if "valkey_version" in info:
        return RedisVersion.read("valkey", str(info["valkey_version"]))
    return RedisVersion.read("redis", str(info["redis_version"]))
