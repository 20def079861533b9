"""A context costs no round trip, and a beginning that fails or is interrupted leaves nothing."""

import asyncio
from collections.abc import Iterator
from typing import Any

import asyncpg
import psycopg
import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st
from psycopg.pq import TransactionStatus
from rls_servers import APP, Servers
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session
from wire import Wire, wire

from tenantry_rls import TenantContext, tenant_transaction
from tenantry_rls.adapters import statements

ANN = TenantContext("ann")
WHO = "SELECT current_setting('app.current_customer_id', true)"
BEGIN_READ_COMMIT = 3


@pytest.fixture(scope="module")
def watched(servers: Servers) -> Iterator[tuple[Servers, Wire]]:
    """The server itself, and all that is said to it through another socket."""
    folder = servers.folder / "watched"
    folder.mkdir()
    with wire(folder, servers.folder / ".s.PGSQL.5432", 5432) as counted:
        yield Servers(folder), counted


def url(here: Servers, driver: str) -> sa.URL:
    return sa.URL.create(
        f"postgresql+{driver}",
        username=APP,
        database="postgres",
        query={"host": str(here.folder), "port": "5432"},
    )


# Each gives the round trips of its second transaction, and whom it ran as: in the first one
# drivers prepare what they keep.

Seen = tuple[int, object]


def by_psycopg(here: Servers, counted: Wire, *, autocommit: bool) -> Seen:
    with psycopg.connect(here.dsn(user=APP), autocommit=autocommit) as conn:

        def once() -> object:
            with tenant_transaction(conn, ANN):
                return conn.execute(WHO).fetchone()

        once()
        return counted.during(once)


async def by_async_psycopg(here: Servers, counted: Wire) -> Seen:
    async with await psycopg.AsyncConnection.connect(here.dsn(user=APP)) as conn:

        async def once() -> object:
            async with tenant_transaction(conn, ANN):
                return await (await conn.execute(WHO)).fetchone()

        await once()
        return await counted.during_async(once)


async def by_asyncpg(here: Servers, counted: Wire) -> Seen:
    conn = await asyncpg.connect(host=str(here.folder), user=APP, database="postgres")

    async def once() -> object:
        async with tenant_transaction(conn, ANN):
            return tuple(await conn.fetchrow(WHO) or ())

    await once()
    seen = await counted.during_async(once)
    await conn.close()
    return seen


def by_sqlalchemy(here: Servers, counted: Wire, *, session: bool) -> Seen:
    engine = sa.create_engine(url(here, "psycopg"))
    with Session(engine) if session else engine.connect() as conn:

        def once() -> object:
            with tenant_transaction(conn, ANN):
                return tuple(conn.execute(sa.text(WHO)).one())

        once()
        seen = counted.during(once)
    engine.dispose()
    return seen


async def by_async_sqlalchemy(
    here: Servers, counted: Wire, driver: str, *, session: bool = False
) -> Seen:
    engine = create_async_engine(url(here, driver))
    async with AsyncSession(engine) if session else engine.connect() as conn:

        async def once() -> object:
            async with tenant_transaction(conn, ANN):
                return tuple((await conn.execute(sa.text(WHO))).one())

        await once()
        seen = await counted.during_async(once)
    await engine.dispose()
    return seen


def test_synchronous_ones_begin_in_one_round_trip(watched: tuple[Servers, Wire]) -> None:
    expected = (BEGIN_READ_COMMIT, ("ann",))
    assert by_psycopg(*watched, autocommit=True) == expected
    assert by_psycopg(*watched, autocommit=False) == expected
    assert by_sqlalchemy(*watched, session=False) == expected
    assert by_sqlalchemy(*watched, session=True) == expected


async def test_asynchronous_ones_begin_in_one_round_trip(watched: tuple[Servers, Wire]) -> None:
    expected = (BEGIN_READ_COMMIT, ("ann",))
    assert await by_async_psycopg(*watched) == expected
    assert await by_asyncpg(*watched) == expected
    assert await by_async_sqlalchemy(*watched, "psycopg") == expected
    assert await by_async_sqlalchemy(*watched, "psycopg", session=True) == expected
    # SQLAlchemy has asyncpg send BEGIN by itself.
    assert await by_async_sqlalchemy(*watched, "asyncpg") == (
        BEGIN_READ_COMMIT + 1,
        ("ann",),
    )


# ── what is said is what was meant ───────────────────────────────────────────────


@pytest.fixture(scope="module")
def talking(servers: Servers) -> Iterator["psycopg.Connection[tuple[Any, ...]]"]:
    with psycopg.connect(servers.dsn(user=APP), autocommit=True) as conn:
        yield conn


NASTY = st.text(st.characters(exclude_categories=("C", "Z"), exclude_characters="\0"), min_size=1)


@given(NASTY.filter(lambda text: text.isprintable()))
def test_any_id_arrives_as_it_is(
    talking: "psycopg.Connection[tuple[Any, ...]]", customer: str
) -> None:
    context = TenantContext(customer[:128])
    with tenant_transaction(talking, context):
        assert talking.execute(WHO).fetchone() == (context.customer_id,)
    text = statements.set_local(context.settings)
    assert text.isascii()
    assert text.count("'") == 4
    assert not set(text) & set('%:"$`')


@pytest.mark.parametrize(
    "server", ["standard_conforming_strings = off", "client_encoding = 'SJIS'"]
)
def test_it_does_not_depend_on_how_strings_are_read(servers: Servers, server: str) -> None:
    tricky = r"\'; DROP TABLE x; -- é"
    with psycopg.connect(servers.dsn(user=APP), autocommit=True) as conn:
        conn.execute(f"SET {server}".encode())
        with tenant_transaction(conn, TenantContext(tricky)):
            row = conn.execute(
                "SELECT encode(convert_to(current_setting("
                "'app.current_customer_id'), 'UTF8'), 'hex')"
            ).fetchone()
    assert row == (tricky.encode().hex(),)


def test_a_connections_own_isolation_level_is_kept(servers: Servers) -> None:
    with psycopg.connect(servers.dsn(user=APP)) as conn:
        conn.isolation_level = psycopg.IsolationLevel.SERIALIZABLE
        conn.read_only = True
        with tenant_transaction(conn, ANN):
            assert conn.execute("SHOW transaction_isolation").fetchone() == ("serializable",)
            assert conn.execute("SHOW transaction_read_only").fetchone() == ("on",)
            with pytest.raises(psycopg.ProgrammingError, match="forbidden"):
                conn.commit()


def test_it_works_in_a_pipeline(servers: Servers) -> None:
    with psycopg.connect(servers.dsn(user=APP), autocommit=True) as conn:
        with conn.pipeline(), tenant_transaction(conn, ANN):
            cursor = conn.execute(WHO)
        assert cursor.fetchone() == ("ann",)
        assert conn.execute(WHO).fetchone() == ("",)


# ── failures ─────────────────────────────────────────────────────────────────────


async def test_a_first_statement_that_fails_leaves_the_connection_usable(servers: Servers) -> None:
    with psycopg.connect(servers.pooled("postgres"), autocommit=True) as conn:
        for _ in range(2):
            with pytest.raises(psycopg.errors.UndefinedTable), tenant_transaction(conn, ANN):
                conn.execute("SELECT FROM nowhere")
            assert conn.info.transaction_status == TransactionStatus.IDLE
        with tenant_transaction(conn, ANN), conn.transaction():
            assert conn.execute(WHO).fetchone() == ("ann",)
    known = psycopg.conninfo.conninfo_to_dict(servers.pooled("postgres"))
    pool = asyncpg.create_pool(
        host=str(known["host"]), port=6432, user=APP, database="postgres", min_size=1, max_size=1
    )
    async with pool, pool.acquire() as lent:
        for _ in range(2):
            with pytest.raises(asyncpg.UndefinedTableError):
                async with tenant_transaction(lent, ANN):
                    await lent.execute("SELECT FROM nowhere")
            assert not lent.is_in_transaction()
        async with tenant_transaction(lent, ANN):
            with pytest.raises(asyncpg.UndefinedTableError):
                async with lent.transaction():  # a savepoint, as in any transaction of asyncpg's
                    await lent.execute("SELECT FROM nowhere")
            assert await lent.fetchval(WHO) == "ann"


async def test_a_task_that_is_cancelled_at_any_moment_leaves_nothing(servers: Servers) -> None:
    conn = await psycopg.AsyncConnection.connect(servers.dsn(user=APP), autocommit=True)
    other = await asyncpg.connect(host=str(servers.folder), user=APP, database="postgres")

    async def one() -> None:
        async with tenant_transaction(conn, ANN):
            await conn.execute("SELECT pg_sleep(0.0002)")

    async def two() -> None:
        async with tenant_transaction(other, ANN):
            await other.execute("SELECT pg_sleep(0.0002)")

    cancelled = 0
    for turn in range(60):
        for work in (one, two):
            task = asyncio.create_task(work())
            await asyncio.sleep(turn * 0.00002)
            task.cancel()
            [outcome] = await asyncio.gather(task, return_exceptions=True)
            cancelled += isinstance(outcome, asyncio.CancelledError)
        row = await (await conn.execute(WHO)).fetchone()
        assert row in {(None,), ("",)}
        assert conn.info.transaction_status == TransactionStatus.IDLE
        assert await other.fetchval(WHO) in {None, ""}
        assert not other.is_in_transaction()
        async with tenant_transaction(other, ANN):
            assert await other.fetchval(WHO) == "ann"
    assert cancelled
    await conn.close()
    await other.close()
