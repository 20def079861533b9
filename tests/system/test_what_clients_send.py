"""Each line of the table in docs/how-to/connect.md: what clients send and use, by both ports."""

import asyncio
import ssl
import struct
import subprocess
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import create_async_engine

from answers import data
from attempts_endpoints import handshake
from clients import CLOSED, ENDPOINTS, ask, changed, eventually, login, port_of, refusal
from harness import Installation
from tenantry.services.pooling.plan import IGNORED

Database = dict[str, Any]

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "connect.md"
DIRECT, POOLED = ENDPOINTS
IN_FORCE = {
    "application_name": "shop",
    "client_encoding": "LATIN1",
    "DateStyle": "German, DMY",
    "IntervalStyle": "iso_8601",
    "TimeZone": "Asia/Tokyo",
    "standard_conforming_strings": "off",
    "default_transaction_read_only": "on",
}
WITHOUT_EFFECT = {
    "client_connection_check_interval": "7s",
    "client_min_messages": "error",
    "extra_float_digits": "3",
    "geqo": "off",
    "jit": "off",
    "plan_cache_mode": "force_custom_plan",
    "tcp_keepalives_count": "3",
    "tcp_keepalives_idle": "33",
    "tcp_keepalives_interval": "5",
    "tcp_user_timeout": "7777",
}


@pytest.fixture(scope="module")
def database(platform: Installation) -> Database:
    return platform.create()


def options(url: str, parameters: dict[str, str]) -> str:
    """A string with parameters, in the form that libpq has for them."""
    words = (f"-c {name}={value.replace(' ', chr(92) + ' ')}" for name, value in parameters.items())
    return changed(url, options=" ".join(words))


def shown(url: str, names: Iterable[str]) -> dict[str, str]:
    """What a session has for parameters, each in a transaction of its own."""
    with login(url) as session:
        found = {}
        for name in names:
            row = session.execute("SELECT current_setting(%s)", (name,)).fetchone()
            assert row
            found[name] = row[0]
    return found


def _refused(url: str, name: str) -> None:
    reported = refusal(options(url, {name: "1"}))
    assert f"unsupported startup parameter in options: {name}" in reported


def _program(*words: str) -> str:
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode != 0
    return done.stderr


def in_force(database: Database, endpoint: str) -> None:
    assert shown(options(database[endpoint], IN_FORCE), IN_FORCE) == IN_FORCE


def without_effect(database: Database, endpoint: str) -> None:
    assert set(WITHOUT_EFFECT) == set(IGNORED)
    plain = shown(database[endpoint], WITHOUT_EFFECT)
    found = shown(options(database[endpoint], WITHOUT_EFFECT), WITHOUT_EFFECT)
    assert found == (plain if endpoint == POOLED else WITHOUT_EFFECT)


def _by_role_only(name: str, value: str) -> Callable[[Database, str], None]:
    def check(database: Database, endpoint: str) -> None:
        if endpoint == DIRECT:
            assert shown(options(database[endpoint], {name: value}), {name: value}) == {name: value}
        else:
            _refused(database[endpoint], name)

    return check


def timeouts(database: Database, endpoint: str) -> None:
    for name in ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout"):
        _by_role_only(name, "7s")(database, endpoint)


def any_other(database: Database, endpoint: str) -> None:
    _by_role_only("bytea_output", "escape")(database, endpoint)
    reported = refusal(options(database[endpoint], {"log_statement": "all"}))
    assert "log_statement" in reported


def several(database: Database, endpoint: str) -> None:
    taken = {"jit": "off", "TimeZone": "Asia/Tokyo"}
    assert ask(options(database[endpoint], taken), "SHOW TimeZone") == "Asia/Tokyo"
    dashed = changed(
        database[endpoint], options="--client-min-messages=error --TimeZone=Asia/Tokyo"
    )
    assert ask(dashed, "SHOW TimeZone") == "Asia/Tokyo"
    if endpoint == POOLED:
        reported = refusal(options(database[endpoint], {**taken, "lock_timeout": "1s"}))
        assert "unsupported startup parameter in options: lock_timeout" in reported
        assert "unsupported" in refusal(changed(database[endpoint], options="-e"))


def channel_binding(database: Database, endpoint: str) -> None:
    url = changed(database[endpoint], channel_binding="require")
    if endpoint == DIRECT:
        assert ask(url) == 1
    else:
        assert "did not offer an authentication method that supports channel" in refusal(url)


def listen(database: Database, endpoint: str) -> None:
    with login(database[endpoint]) as listener, login(database[DIRECT]) as sender:
        listener.execute("LISTEN news")
        sender.execute("NOTIFY news")
        listener.execute("SELECT 1")
        heard = list(listener.notifies(timeout=0, stop_after=1))
    assert bool(heard) is (endpoint == DIRECT)


def advisory_locks(database: Database, endpoint: str) -> None:
    free = "SELECT pg_try_advisory_xact_lock(7)"
    with login(database[endpoint]) as session:
        session.execute("SELECT pg_advisory_lock(7)")
        assert ask(database[DIRECT], free) is (endpoint == POOLED)
        session.execute("SELECT pg_advisory_unlock_all()")
        with session.transaction():
            session.execute("SELECT pg_advisory_xact_lock(7)")
            assert ask(database[DIRECT], free) is False


def held_cursors(database: Database, endpoint: str) -> None:
    """What Django does for iterator() outside a transaction."""
    with login(database[endpoint]) as session:
        session.execute("DECLARE _django_curs_1 NO SCROLL CURSOR WITH HOLD FOR SELECT 1")
        fetch = "FETCH FORWARD 2000 FROM _django_curs_1"
        if endpoint == DIRECT:
            assert session.execute(fetch).fetchall() == [(1,)]
        else:
            with pytest.raises(psycopg.errors.InvalidCursorName):
                session.execute(fetch)


def databases_of_tests(database: Database, endpoint: str) -> None:
    """What Django's tests do: ``bench/client_suites.py`` runs them."""
    assert CLOSED[endpoint] in refusal(changed(database[endpoint], dbname="postgres"))
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        ask(database[endpoint], "CREATE DATABASE test_shop")
    shadow = changed(database[endpoint], dbname=f"{database['database_name']}_shadow")
    query = "SELECT count(*) FROM pg_database WHERE datname = current_database()"
    assert ask(shadow, query) == 1
    with login(shadow) as session:
        session.execute("CREATE TABLE tested (i int)")
        session.execute("DROP TABLE tested")


def asyncpg_in_sqlalchemy(database: Database, endpoint: str) -> None:
    async def one(parameter: str) -> object:
        address = database[endpoint].partition("://")[2].partition("?")[0]
        engine = create_async_engine(f"postgresql+asyncpg://{address}?{parameter}")
        try:
            async with engine.connect() as connection:
                return await connection.scalar(sa.text("SELECT 1"))
        finally:
            await engine.dispose()

    assert asyncio.run(one("ssl=require")) == 1
    with pytest.raises(TypeError, match="sslmode"):
        asyncio.run(one("sslmode=require"))


def jdbc(database: Database, endpoint: str) -> None:
    """The startup packet of pgjdbc (ConnectionFactoryImpl.getParametersForStartup)."""
    parameters = {
        "user": database["username"],
        "database": database["database_name"],
        "client_encoding": "UTF8",
        "DateStyle": "ISO",
        "TimeZone": "Europe/Berlin",
        "extra_float_digits": "2",
        "application_name": "PostgreSQL JDBC Driver",
    }
    reported = b"".join(f"{name}\0{value}\0".encode() for name, value in parameters.items()) + b"\0"
    with handshake(port_of(database[endpoint]), ssl.TLSVersion.TLSv1_3) as session:
        session.sendall(struct.pack("!II", len(reported) + 8, 196608) + reported)
        assert session.recv(1) == b"R"  # it asks for the password


def createdb(database: Database, endpoint: str) -> None:
    name, url = database["database_name"], database[endpoint]
    reported = _program("createdb", f"--maintenance-db={changed(url, dbname='postgres')}", "mine")
    assert CLOSED[endpoint] in reported
    reported = _program("createdb", f"--maintenance-db={changed(url, dbname=name)}", "mine")
    assert "permission denied to create database" in reported


def dump_of_all(database: Database, endpoint: str) -> None:
    reported = _program("pg_dumpall", f"--dbname={database[endpoint]}")
    assert CLOSED[endpoint] in reported
    own = f"--database={database['database_name']}"
    reported = _program("pg_dumpall", f"--dbname={database[endpoint]}", own)
    assert "permission denied for table pg_authid" in reported


def vacuum_of_all(database: Database, endpoint: str) -> None:
    url = database[endpoint]
    reported = _program("vacuumdb", "--all", f"--maintenance-db={changed(url, dbname='postgres')}")
    assert CLOSED[endpoint] in reported
    reported = _program("vacuumdb", "--all", f"--maintenance-db={url}")
    assert CLOSED[endpoint] in reported
    subprocess.run(["vacuumdb", url], check=True, capture_output=True, timeout=60)


LINES: dict[str, Callable[[Database, str], None]] = {
    ", ".join(f"`{name}`" for name in IN_FORCE): in_force,
    ", ".join(f"`{name}`" for name in IGNORED): without_effect,
    "`search_path`": _by_role_only("search_path", "app"),
    "`statement_timeout`, `lock_timeout`, `idle_in_transaction_session_timeout`": timeouts,
    "any other parameter": any_other,
    "several in one `options`": several,
    "`channel_binding=require`": channel_binding,
    "`LISTEN`": listen,
    "advisory locks": advisory_locks,
    "Django's `iterator()`": held_cursors,
    "Django's tests": databases_of_tests,
    "asyncpg under SQLAlchemy": asyncpg_in_sqlalchemy,
    "JDBC": jdbc,
    "`createdb`": createdb,
    "`pg_dumpall`": dump_of_all,
    "`vacuumdb --all`": vacuum_of_all,
}


def test_each_line_is_tested() -> None:
    table = PAGE.read_text().partition("| what | direct port |")[2].partition("\n\n")[0]
    reported = [line.split("|")[1].strip() for line in table.splitlines()[2:]]
    assert reported == list(LINES)


@pytest.mark.parametrize("endpoint", ENDPOINTS)
@pytest.mark.parametrize("line", LINES)
def test_it_is_as_the_line_says(database: Database, line: str, endpoint: str) -> None:
    LINES[line](database, endpoint)


def test_what_is_refused_can_be_a_default_of_the_role(
    database: Database, api: httpx.Client
) -> None:
    pooled = database[POOLED]
    for name, value in (("statement_timeout", "33s"), ("search_path", "app, public")):
        with login(pooled) as session:
            literal = value if name == "search_path" else f"'{value}'"
            session.execute(f"ALTER ROLE CURRENT_USER SET {name} = {literal}".encode())
        data(api.post(f"/api/databases/{database['id']}/pool/reconnect"))
        eventually(partial(lambda name, value: ask(pooled, f"SHOW {name}") == value, name, value))
