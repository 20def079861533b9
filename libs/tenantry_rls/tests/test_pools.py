"""Pool and connection settings by their variables."""

import asyncpg
import psycopg
import pytest
import sqlalchemy
from psycopg_pool import ConnectionPool
from rls_servers import APP, Servers
from sqlalchemy.ext.asyncio import create_async_engine

from tenantry_rls import ConnectionSettings, InvalidSettings, PoolSettings

NEEDED = {"DB_HOST": "db.internal", "DB_NAME": "shop", "DB_USER": "app"}


def test_the_defaults_without_an_environment() -> None:
    settings = PoolSettings()
    assert (settings.max_open_conns, settings.max_idle_conns) == (25, 5)
    assert (settings.conn_max_lifetime, settings.conn_max_idle_time) == (300, 600)


def test_the_defaults_of_the_environment() -> None:
    assert PoolSettings.from_environment({}) == PoolSettings(
        max_open_conns=50, conn_max_idle_time=600, connection_timeout=30
    )


def test_the_variables_are_in_milliseconds() -> None:
    settings = PoolSettings.from_environment(
        {
            "DB_POOL_MAX": "3",
            "DB_POOL_IDLE_TIMEOUT": "90000",
            "DB_POOL_CONNECTION_TIMEOUT": "1500",
        }
    )
    assert settings == PoolSettings(
        max_open_conns=3, max_idle_conns=3, conn_max_idle_time=90, connection_timeout=1.5
    )


@pytest.mark.parametrize("wrong", ["0", "-1", "ten", "1.5", "1_0", "٣"])
@pytest.mark.parametrize(
    "name", ["DB_POOL_MAX", "DB_POOL_IDLE_TIMEOUT", "DB_POOL_CONNECTION_TIMEOUT"]
)
def test_what_is_no_number_is_refused_by_name(name: str, wrong: str) -> None:
    with pytest.raises(InvalidSettings, match=name):
        PoolSettings.from_environment({name: wrong})


async def test_each_library_takes_its_arguments() -> None:
    settings = PoolSettings.from_environment({"DB_POOL_MAX": "7"})
    pool = ConnectionPool("", open=False, **settings.for_psycopg())
    assert (pool.min_size, pool.max_size, pool.timeout) == (5, 7, 30)
    assert asyncpg.create_pool("postgresql://", **settings.for_asyncpg()).get_max_size() == 7
    engine = sqlalchemy.create_engine("postgresql+psycopg://", **settings.for_sqlalchemy())
    assert "size: 5" in engine.pool.status()
    assert PoolSettings(max_idle_conns=0).for_sqlalchemy()["max_overflow"] == 24


def test_a_connection_by_its_variables() -> None:
    settings = ConnectionSettings.from_environment({**NEEDED, "DB_PASSWORD": "s3cret"})
    assert settings.for_libpq() == {
        "host": "db.internal",
        "port": 5432,
        "dbname": "shop",
        "user": "app",
        "password": "s3cret",
        "sslmode": "require",
    }
    assert "s3cret" not in repr(settings)


async def test_each_library_connects_by_them(servers: Servers) -> None:
    settings = ConnectionSettings.from_environment(
        {"DB_HOST": str(servers.folder), "DB_NAME": "postgres", "DB_USER": APP}
        | {"DB_SSLMODE": "prefer", "DB_PASSWORD": "p@ss/w:rd"}
    )
    asked = "SELECT current_user"
    async with asyncpg.create_pool(
        **settings.for_asyncpg(), **PoolSettings(max_idle_conns=1).for_asyncpg()
    ) as pool:
        assert await pool.fetchval(asked) == APP
    with psycopg.connect(**settings.for_libpq()) as conn:
        assert conn.execute(asked).fetchone() == (APP,)
    engine = sqlalchemy.create_engine(
        sqlalchemy.URL.create(**settings.for_sqlalchemy()), **PoolSettings().for_sqlalchemy()
    )
    with engine.connect() as connection:
        assert connection.scalar(sqlalchemy.text(asked)) == APP
    engine.dispose()
    url = sqlalchemy.URL.create(**settings.for_sqlalchemy("asyncpg"))
    engine_of_asyncpg = create_async_engine(url)
    async with engine_of_asyncpg.connect() as conn_of_asyncpg:
        assert await conn_of_asyncpg.scalar(sqlalchemy.text(asked)) == APP
    await engine_of_asyncpg.dispose()


@pytest.mark.parametrize("name", ["DB_SSL_MODE", "DB_SSLMODE"])
def test_both_spellings_of_the_tls_mode(name: str) -> None:
    assert ConnectionSettings.from_environment({**NEEDED, name: "disable"}).sslmode == "disable"


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"DB_HOST": ""}, "DB_HOST"),
        ({"DB_NAME": " "}, "DB_NAME"),
        ({"DB_USER": ""}, "DB_USER"),
        ({"DB_PORT": "70000"}, "DB_PORT"),
        ({"DB_SSL_MODE": "on"}, "DB_SSL_MODE"),
        ({"DB_SSL_MODE": "require", "DB_SSLMODE": "disable"}, "differ"),
        ({"DB_TYPE": "mysql"}, "DB_TYPE"),
    ],
)
def test_what_cannot_be_is_refused_by_name(variables: dict[str, str], said: str) -> None:
    with pytest.raises(InvalidSettings, match=said):
        ConnectionSettings.from_environment({**NEEDED, **variables})
