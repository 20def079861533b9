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
from attempts_doors import handshake
from clients import CLOSED, DOORS, ask, changed, eventually, login, port_of, refusal
from harness import Installation
from tenantry.services.pooling.plan import IGNORED

Database = dict[str, Any]

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "connect.md"
DIRECT, POOLED = DOORS
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
    told = refusal(options(url, {name: "1"}))
    assert f"unsupported startup parameter in options: {name}" in told


def _program(*words: str) -> str:
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode != 0
    return done.stderr


def in_force(database: Database, door: str) -> None:
    assert shown(options(database[door], IN_FORCE), IN_FORCE) == IN_FORCE


def without_effect(database: Database, door: str) -> None:
    assert set(WITHOUT_EFFECT) == set(IGNORED)
    plain = shown(database[door], WITHOUT_EFFECT)
    found = shown(options(database[door], WITHOUT_EFFECT), WITHOUT_EFFECT)
    assert found == (plain if door == POOLED else WITHOUT_EFFECT)


def _by_role_only(name: str, value: str) -> Callable[[Database, str], None]:
    def check(database: Database, door: str) -> None:
        if door == DIRECT:
            assert shown(options(database[door], {name: value}), {name: value}) == {name: value}
        else:
            _refused(database[door], name)

    return check


def timeouts(database: Database, door: str) -> None:
    for name in ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout"):
        _by_role_only(name, "7s")(database, door)


def any_other(database: Database, door: str) -> None:
    _by_role_only("bytea_output", "escape")(database, door)
    told = refusal(options(database[door], {"log_statement": "all"}))
    assert "log_statement" in told


def several(database: Database, door: str) -> None:
    taken = {"jit": "off", "TimeZone": "Asia/Tokyo"}
    assert ask(options(database[door], taken), "SHOW TimeZone") == "Asia/Tokyo"
    dashed = changed(database[door], options="--client-min-messages=error --TimeZone=Asia/Tokyo")
    assert ask(dashed, "SHOW TimeZone") == "Asia/Tokyo"
    if door == POOLED:
        told = refusal(options(database[door], {**taken, "lock_timeout": "1s"}))
        assert "unsupported startup parameter in options: lock_timeout" in told
        assert "unsupported" in refusal(changed(database[door], options="-e"))


def channel_binding(database: Database, door: str) -> None:
    url = changed(database[door], channel_binding="require")
    if door == DIRECT:
        assert ask(url) == 1
    else:
        assert "did not offer an authentication method that supports channel" in refusal(url)


def listen(database: Database, door: str) -> None:
    with login(database[door]) as listener, login(database[DIRECT]) as sender:
        listener.execute("LISTEN news")
        sender.execute("NOTIFY news")
        listener.execute("SELECT 1")
        heard = list(listener.notifies(timeout=0, stop_after=1))
    assert bool(heard) is (door == DIRECT)


def advisory_locks(database: Database, door: str) -> None:
    free = "SELECT pg_try_advisory_xact_lock(7)"
    with login(database[door]) as session:
        session.execute("SELECT pg_advisory_lock(7)")
        assert ask(database[DIRECT], free) is (door == POOLED)
        session.execute("SELECT pg_advisory_unlock_all()")
        with session.transaction():
            session.execute("SELECT pg_advisory_xact_lock(7)")
            assert ask(database[DIRECT], free) is False


def held_cursors(database: Database, door: str) -> None:
    """What Django does for iterator() outside a transaction."""
    with login(database[door]) as session:
        session.execute("DECLARE _django_curs_1 NO SCROLL CURSOR WITH HOLD FOR SELECT 1")
        fetch = "FETCH FORWARD 2000 FROM _django_curs_1"
        if door == DIRECT:
            assert session.execute(fetch).fetchall() == [(1,)]
        else:
            with pytest.raises(psycopg.errors.InvalidCursorName):
                session.execute(fetch)


def databases_of_tests(database: Database, door: str) -> None:
    """What Django's tests do: ``bench/client_suites.py`` runs them."""
    assert CLOSED[door] in refusal(changed(database[door], dbname="postgres"))
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        ask(database[door], "CREATE DATABASE test_shop")
    shadow = changed(database[door], dbname=f"{database['database_name']}_shadow")
    query = "SELECT count(*) FROM pg_database WHERE datname = current_database()"
    assert ask(shadow, query) == 1
    with login(shadow) as session:
        session.execute("CREATE TABLE tested (i int)")
        session.execute("DROP TABLE tested")


def asyncpg_in_sqlalchemy(database: Database, door: str) -> None:
    async def one(parameter: str) -> object:
        address = database[door].partition("://")[2].partition("?")[0]
        engine = create_async_engine(f"postgresql+asyncpg://{address}?{parameter}")
        try:
            async with engine.connect() as connection:
                return await connection.scalar(sa.text("SELECT 1"))
        finally:
            await engine.dispose()

    assert asyncio.run(one("ssl=require")) == 1
    with pytest.raises(TypeError, match="sslmode"):
        asyncio.run(one("sslmode=require"))


def jdbc(database: Database, door: str) -> None:
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
    told = b"".join(f"{name}\0{value}\0".encode() for name, value in parameters.items()) + b"\0"
    with handshake(port_of(database[door]), ssl.TLSVersion.TLSv1_3) as session:
        session.sendall(struct.pack("!II", len(told) + 8, 196608) + told)
        assert session.recv(1) == b"R"  # it asks for the password


def createdb(database: Database, door: str) -> None:
    name, url = database["database_name"], database[door]
    told = _program("createdb", f"--maintenance-db={changed(url, dbname='postgres')}", "mine")
    assert CLOSED[door] in told
    told = _program("createdb", f"--maintenance-db={changed(url, dbname=name)}", "mine")
    assert "permission denied to create database" in told


def dump_of_all(database: Database, door: str) -> None:
    told = _program("pg_dumpall", f"--dbname={database[door]}")
    assert CLOSED[door] in told
    own = f"--database={database['database_name']}"
    told = _program("pg_dumpall", f"--dbname={database[door]}", own)
    assert "permission denied for table pg_authid" in told


def vacuum_of_all(database: Database, door: str) -> None:
    url = database[door]
    told = _program("vacuumdb", "--all", f"--maintenance-db={changed(url, dbname='postgres')}")
    assert CLOSED[door] in told
    told = _program("vacuumdb", "--all", f"--maintenance-db={url}")
    assert CLOSED[door] in told
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
    told = [line.split("|")[1].strip() for line in table.splitlines()[2:]]
    assert told == list(LINES)


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("line", LINES)
def test_it_is_as_the_line_says(database: Database, line: str, door: str) -> None:
    LINES[line](database, door)


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
