"""One transaction in one context, by each driver, directly and through PgBouncer."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, LiteralString

import asyncpg
import psycopg
import pytest
import sqlalchemy as sa
from rls_servers import APP, OWNER, Servers, runner
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column
from sqlalchemy.pool import NullPool

from tenantry_rls import NestedContext, TenantContext, tenant_transaction

ANN, BOB = TenantContext(1), TenantContext(2)
ADMINISTRATOR = TenantContext(user_role="administrator")

SEEN: LiteralString = "SELECT customer_id FROM sites ORDER BY id"
MOVE: LiteralString = "INSERT INTO sites (customer_id, name) VALUES (2, 'stolen')"
SETTINGS: LiteralString = (
    "SELECT coalesce(current_setting('app.current_customer_id', true), '')"
    " || coalesce(current_setting('app.current_user_role', true), '')"
)


class Base(DeclarativeBase):
    pass


class Site(Base):
    __tablename__ = "sites"
    id: Mapped[int] = mapped_column(primary_key=True)
    customer_id: Mapped[int]
    name: Mapped[str]


@pytest.fixture(scope="module")
def database(servers: Servers) -> Iterator[str]:
    with servers.database() as name:
        runner(servers.dsn(name, user=OWNER))(
            "CREATE TABLE sites (id bigserial PRIMARY KEY, customer_id bigint NOT NULL, name text)",
            "INSERT INTO sites (customer_id, name) VALUES (1, 'a'), (1, 'b'), (2, 'c')",
            "ALTER TABLE sites ENABLE ROW LEVEL SECURITY",
            "ALTER TABLE sites FORCE ROW LEVEL SECURITY",
            "CREATE POLICY tenant ON sites USING (customer_id ="
            " (SELECT nullif(current_setting('app.current_customer_id', true), '')::bigint))",
            "CREATE POLICY administrator ON sites USING"
            " ((SELECT current_setting('app.current_user_role', true)) = 'administrator')",
            f"GRANT SELECT, INSERT, UPDATE, DELETE ON sites TO {APP}",
            f"GRANT USAGE ON SEQUENCE sites_id_seq TO {APP}",
        )
        yield name


@pytest.fixture(params=["direct", "pooled"])
def dsn(request: pytest.FixtureRequest, servers: Servers, database: str) -> str:
    pooled: bool = request.param == "pooled"
    return servers.pooled(database) if pooled else servers.dsn(database, user=APP)


def url_of(dsn: str) -> Callable[[str], sa.URL]:
    """SQLAlchemy's URL of the same, for a driver."""
    known = psycopg.conninfo.conninfo_to_dict(dsn)
    query = {"host": str(known["host"]), "port": str(known.get("port") or 5432)}
    return lambda driver: sa.URL.create(
        f"postgresql+{driver}", username=APP, database=str(known["dbname"]), query=query
    )


# What every driver does is written once, on one small face for all of them.

Query = Callable[[LiteralString], Any]  # the first column of all rows, awaited


class Face:
    """A driver's connection: ``begin`` gives a transaction in a context, ``query`` asks."""

    def __init__(self, begin: Callable[..., Any], query: Query) -> None:
        self.begin = begin
        self.query = query


@asynccontextmanager
async def psycopg_sync(dsn: str) -> AsyncIterator[Face]:
    with psycopg.connect(dsn) as conn:

        async def query(text: LiteralString) -> list[Any]:
            cursor = conn.execute(text)
            return [row[0] for row in cursor] if cursor.description else []

        def begin(context: TenantContext) -> Any:
            return asynchronous(tenant_transaction(conn, context))

        yield Face(begin, query)


@asynccontextmanager
async def psycopg_autocommit(dsn: str) -> AsyncIterator[Face]:
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as conn:

        async def query(text: LiteralString) -> list[Any]:
            cursor = await conn.execute(text)
            return [row[0] async for row in cursor] if cursor.description else []

        yield Face(lambda context: tenant_transaction(conn, context), query)


@asynccontextmanager
async def by_asyncpg(dsn: str) -> AsyncIterator[Face]:
    known = psycopg.conninfo.conninfo_to_dict(dsn)
    async with (
        asyncpg.create_pool(
            host=str(known["host"]),
            port=int(known.get("port") or 5432),
            user=APP,
            database=str(known["dbname"]),
            min_size=1,
            max_size=1,
        ) as pool,
        pool.acquire() as conn,
    ):

        async def query(text: LiteralString) -> list[Any]:
            return [row[0] for row in await conn.fetch(text)]

        yield Face(lambda context: tenant_transaction(conn, context), query)


@asynccontextmanager
async def sqlalchemy_sync(dsn: str) -> AsyncIterator[Face]:
    engine = sa.create_engine(url_of(dsn)("psycopg"), poolclass=NullPool)
    with engine.connect() as conn:

        async def query(text: LiteralString) -> list[Any]:
            result = conn.execute(sa.text(text))
            return list(result.scalars()) if result.returns_rows else []

        yield Face(lambda context: asynchronous(tenant_transaction(conn, context)), query)


@asynccontextmanager
async def sqlalchemy_async(dsn: str) -> AsyncIterator[Face]:
    engine = create_async_engine(url_of(dsn)("psycopg"), poolclass=NullPool)
    async with engine.connect() as conn:

        async def query(text: LiteralString) -> list[Any]:
            result = await conn.execute(sa.text(text))
            return list(result.scalars()) if result.returns_rows else []

        yield Face(lambda context: tenant_transaction(conn, context), query)


@asynccontextmanager
async def asynchronous(manager: Any) -> AsyncIterator[Any]:
    with manager as entered:
        yield entered


Open = Callable[[str], AbstractAsyncContextManager[Face]]
FACES = [psycopg_sync, psycopg_autocommit, by_asyncpg, sqlalchemy_sync, sqlalchemy_async]
every_driver = pytest.mark.parametrize("face", FACES, ids=lambda face: face.__name__)
REFUSED = (
    psycopg.errors.InsufficientPrivilege,
    asyncpg.InsufficientPrivilegeError,
    sa.exc.DBAPIError,
)


@every_driver
async def test_each_sees_its_own_and_the_administrator_all(face: Open, dsn: str) -> None:
    async with face(dsn) as conn:
        for context, expected in ((ANN, [1, 1]), (BOB, [2]), (ADMINISTRATOR, [1, 1, 2])):
            async with conn.begin(context):
                assert await conn.query(SEEN) == expected


@every_driver
async def test_nothing_is_left_after_the_transaction(face: Open, dsn: str) -> None:
    async with face(dsn) as conn:
        async with conn.begin(ADMINISTRATOR):
            pass
        assert await conn.query(SEEN) == []
        assert await conn.query(SETTINGS) == [""]


@every_driver
async def test_an_error_rolls_back_and_leaves_nothing(face: Open, dsn: str) -> None:
    async with face(dsn) as conn:
        with pytest.raises(REFUSED):
            async with conn.begin(ANN):
                await conn.query(MOVE)
        with contextlib.suppress(KeyError):
            async with conn.begin(ANN):
                await conn.query("DELETE FROM sites")
                raise KeyError
        assert await conn.query(SETTINGS) == [""]
    async with face(dsn) as conn, conn.begin(ANN):
        assert await conn.query(SEEN) == [1, 1]


@every_driver
async def test_a_context_within_another_is_put_back(face: Open, dsn: str) -> None:
    async with face(dsn) as conn:
        async with conn.begin(ANN):
            async with conn.begin(BOB):
                assert await conn.query(SEEN) == [2]
                async with conn.begin(ADMINISTRATOR):
                    assert await conn.query(SEEN) == [1, 1, 2]
                assert await conn.query(SEEN) == [2]
            assert await conn.query(SEEN) == [1, 1]
            with pytest.raises(REFUSED):
                async with conn.begin(ADMINISTRATOR), conn.begin(ANN):
                    await conn.query(MOVE)
            assert await conn.query(SEEN) == [1, 1]
        assert await conn.query(SETTINGS) == [""]


def test_in_a_transaction_that_is_open_it_is_a_savepoint(dsn: str) -> None:
    with psycopg.connect(dsn) as conn:
        conn.execute("SELECT 1")
        with tenant_transaction(conn, ANN):
            assert conn.execute(SEEN).fetchall() == [(1,), (1,)]
        assert conn.execute(SEEN).fetchall() == []


def test_it_gives_the_connection(dsn: str) -> None:
    with psycopg.connect(dsn) as conn, tenant_transaction(conn, ANN) as same:
        assert same is conn


# ── sessions of SQLAlchemy ───────────────────────────────────────────────────────


def test_a_session_does_not_hand_on_what_it_has_read(dsn: str) -> None:
    engine = sa.create_engine(url_of(dsn)("psycopg"), poolclass=NullPool)
    with Session(engine, expire_on_commit=False) as session:
        with tenant_transaction(session, ANN):
            kept = session.get(Site, 1)
            assert kept is not None
        with tenant_transaction(session, BOB):
            assert session.get(Site, 1) is None
            assert [site.id for site in session.scalars(sa.select(Site))] == [3]


def test_a_session_refuses_another_context_and_nests_its_own(dsn: str) -> None:
    engine = sa.create_engine(url_of(dsn)("psycopg"), poolclass=NullPool)
    with Session(engine) as session:
        with tenant_transaction(session, ANN):
            with pytest.raises(NestedContext), tenant_transaction(session, BOB):
                pytest.fail("It went on as Bob.")
            with contextlib.suppress(KeyError), tenant_transaction(session, ANN):
                session.execute(sa.delete(Site))
                raise KeyError
            assert len(session.scalars(sa.select(Site)).all()) == 2
        session.execute(sa.text("SELECT 1"))
        with pytest.raises(NestedContext), tenant_transaction(session, ANN):
            pytest.fail("It went on in a transaction of nobody's.")
        session.rollback()
        session.add(Site(customer_id=1, name="before"))
        with pytest.raises(NestedContext), tenant_transaction(session, ANN):
            pytest.fail("What was added before is of no known customer.")


async def test_an_asynchronous_session(dsn: str) -> None:
    engine = create_async_engine(url_of(dsn)("psycopg"), poolclass=NullPool)
    async with AsyncSession(engine, expire_on_commit=False) as session:
        async with tenant_transaction(session, ANN):
            kept = await session.get(Site, 1)
            assert kept is not None
            with pytest.raises(NestedContext):
                async with tenant_transaction(session, BOB):
                    pytest.fail("It went on as Bob.")
            async with tenant_transaction(session, ANN):
                assert len((await session.scalars(sa.select(Site))).all()) == 2
        async with tenant_transaction(session, BOB):
            assert await session.get(Site, 1) is None


# ── through the pooler ───────────────────────────────────────────────────────────


async def test_no_row_crosses_with_more_customers_than_server_connections(
    servers: Servers, database: str
) -> None:
    """50 customers, 3 server connections: each has been everybody's, with and without a context."""
    dsn = servers.pooled(database)
    backends: Counter[int] = Counter()
    customers = range(100, 150)
    runner(servers.dsn(database))(
        "INSERT INTO sites (customer_id, name) SELECT c, 'x' FROM generate_series(100, 149) c"
    )

    async def work(customer: int) -> None:
        async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as conn:
            for turn in range(20):
                async with tenant_transaction(conn, TenantContext(customer)):
                    cursor = await conn.execute("SELECT customer_id, pg_backend_pid() FROM sites")
                    [(seen, backend)] = await cursor.fetchall()
                    assert seen == customer
                    backends[backend] += 1
                if turn % 5 == 0:
                    cursor = await conn.execute("SELECT count(*) FROM sites")
                    assert await cursor.fetchone() == (0,)

    try:
        await asyncio.gather(*map(work, customers))
    finally:
        runner(servers.dsn(database))("DELETE FROM sites WHERE customer_id >= 100")
    assert len(backends) <= 3
    assert sum(backends.values()) == 1000


def test_a_setting_for_the_session_would_have_leaked(servers: Servers, database: str) -> None:
    """What the toolkit does not do, and what the test above would then have seen."""
    with psycopg.connect(servers.pooled(database), autocommit=True) as careless:
        careless.execute("SELECT set_config('app.current_customer_id', '1', false)")
        try:
            with psycopg.connect(servers.pooled(database), autocommit=True) as anonymous:
                assert anonymous.execute(SEEN).fetchall() == [(1,), (1,)]
        finally:
            careless.execute("DISCARD ALL")
