"""A real PostgreSQL to test against: one throw-away cluster per test process, on a Unix socket."""

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from cache_service import Redis
from catalogued import NAMES, Blueprints, keep, let_go
from psycopg import sql
from site_redis import site_redis, url_of
from tenants import Connection, Tenant, make, unmake

from postgres_server import Server, bin_dir, control_database, hardened, started
from tenantry.control.store import ControlStore
from tenantry.pg.connections import PLATFORM, Address, connect

__all__ = ["Server", "started"]  # test modules have them from here


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    # Directly below /tmp: PostgreSQL's user cannot enter pytest's own directories.
    home = Path(tempfile.mkdtemp(prefix="tenantry-test-"))
    try:
        with started(home, bin_dir()) as running:
            yield running
    finally:
        shutil.rmtree(home)


@pytest.fixture
def fresh_database(server: Server) -> Iterator[str]:
    """The DSN of an empty database, which is dropped after the test."""
    name = f"test_{uuid4().hex[:12]}"
    server.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    yield server.dsn(name)
    server.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.fixture
async def conn(fresh_database: str) -> AsyncIterator[psycopg.AsyncConnection[Any]]:
    """A superuser's connection to an empty database, in autocommit mode."""
    async with await psycopg.AsyncConnection.connect(fresh_database, autocommit=True) as connection:
        yield connection


@pytest.fixture(scope="session")
def address(server: Server) -> Address:
    """The server, hardened."""
    return asyncio.run(hardened(server))


@pytest.fixture
async def platform(address: Address) -> AsyncIterator[Connection]:
    """The control plane's connection."""
    async with connect(address, user=PLATFORM) as connection:
        yield connection


@pytest.fixture
async def tenant(platform: Connection, address: Address) -> AsyncIterator[Tenant]:
    made = await make(platform, address)
    yield made
    await unmake(platform, made)


@pytest.fixture(scope="session")
def blueprints(address: Address) -> Iterator[Blueprints]:
    """A database of each blueprint, for tests that leave it with the rows that it has."""
    kept = {name: asyncio.run(keep(address, name)) for name in NAMES}
    yield kept
    for each in kept.values():
        asyncio.run(let_go(address, each))


@pytest.fixture(scope="module")
def redis() -> Iterator[Redis]:
    """A Redis that a site's programs may use as on the platform."""
    with site_redis() as found:
        yield found


@pytest.fixture
def admin(redis: Redis) -> Iterator[Any]:
    """A client of that Redis that may do everything; there is nothing in it."""
    with redis.client() as client:
        client.flushall()
        yield client


@pytest.fixture
def url(redis: Redis, admin: Any) -> str:
    """How a site's programs reach that Redis."""
    del admin  # which has emptied it
    return url_of(redis)


@pytest.fixture
async def store(server: Server, address: Address) -> AsyncIterator[ControlStore]:
    """An empty control database."""
    async with control_database(server, address) as opened:
        yield opened
