"""A database through each of its endpoints, with the programs and libraries that people use."""

import asyncio
import socket
import ssl
import struct
from pathlib import Path
from typing import Any

import asyncpg
import psycopg
import pytest
from sqlalchemy import Connection, Integer, String, create_engine, func, make_url, select
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from clients import CLOSED, ENDPOINTS, STRINGS, ask, changed, do, port_of, refusal, run, verified
from harness import Installation

PLATFORM_ROLES = ("tenantry_admin", "tenantry_platform", "tenantry_pooler", "tenantry_owner")
PLATFORM_DATABASES = ("postgres", "template1", "tenantry_template", "tenantry_auth")


@pytest.fixture(scope="module")
def database(platform: Installation) -> dict[str, Any]:
    return platform.create(friendlyName="Endpoints")


# Programs


@pytest.mark.parametrize("string", STRINGS)
def test_psql_verifies_the_certificate(
    platform: Installation, database: dict[str, Any], string: str
) -> None:
    reported = run(
        "psql",
        "-w",
        "-At",
        verified(platform, database[string]),
        "-c",
        "SELECT current_user, current_database()",
    )
    name = database["database_name"] + ("_shadow" if "shadow" in string else "")
    assert reported.strip() == f"{database['username']}|{name}"


@pytest.mark.parametrize("string", ENDPOINTS)
def test_psql_notices_another_authority(
    platform: Installation, database: dict[str, Any], string: str, tmp_path: Path
) -> None:
    anonymous = tmp_path / "ca.crt"
    run(
        *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=unknown"),
        *("-keyout", str(tmp_path / "ca.key"), "-out", str(anonymous)),
    )
    url = verified(platform, database[string])
    assert "certificate verify failed" in refusal(changed(url, sslrootcert=str(anonymous)))


def test_psql_describes_what_there_is(database: dict[str, Any]) -> None:
    described = ("\\l+", "\\du+", "\\dn+", "\\d+", "\\df+", "\\dx+", "\\dp", "\\drds")
    commands = [word for command in described for word in ("-c", command)]
    run("psql", "-w", "-v", "ON_ERROR_STOP=1", database["connection_string"], *commands)


@pytest.mark.parametrize(
    ("string", "protocol"),
    [
        ("connection_string", "simple"),
        ("connection_string_pooled", "simple"),
        ("connection_string_pooled", "prepared"),
    ],
)
def test_pgbench(platform: Installation, string: str, protocol: str) -> None:
    url = platform.create()[string]
    run("pgbench", "--initialize", "--quiet", url)
    reported = run("pgbench", "-c", "16", "-j", "2", "-T", "3", "-M", protocol, url)
    assert "number of failed transactions: 0 " in reported
    assert "number of clients: 16" in reported


def test_a_dump_is_restored_into_another_tenants_database(
    platform: Installation, tmp_path: Path
) -> None:
    one, other = platform.create(), platform.create()
    url = one["connection_string"]
    run("pgbench", "--initialize", "--quiet", "--foreign-keys", url)
    do(
        url,
        "CREATE TYPE mood AS ENUM ('fine', 'höher'); CREATE SCHEMA own;"
        " CREATE TABLE own.t (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, m mood, j jsonb);"
        " CREATE INDEX ON own.t USING gin (j);"
        " CREATE FUNCTION own.f() RETURNS bigint LANGUAGE sql AS 'SELECT count(*) FROM own.t';"
        " CREATE VIEW v AS SELECT m FROM own.t; COMMENT ON TABLE own.t IS 'mine';"
        """ INSERT INTO own.t (m, j) SELECT 'höher', '{"a": 1}' FROM generate_series(1, 10)""",
    )
    archive = str(tmp_path / "archive")
    run("pg_dump", "--format=custom", f"--file={archive}", url)
    run("pg_restore", "--exit-on-error", "--no-owner", "-d", other["connection_string"], archive)
    for query in (
        "SELECT md5(string_agg(a::text, ',' ORDER BY aid)) FROM pgbench_accounts a",
        "SELECT md5(string_agg(t::text, ',' ORDER BY id)) FROM own.t",
        "SELECT own.f() + (SELECT count(*) FROM v)",
    ):
        assert ask(other["connection_string_pooled"], query) == ask(url, query) is not None


# Libraries


class Base(DeclarativeBase):
    pass


class Note(Base):
    __tablename__ = "notes"

    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    text: Mapped[str] = mapped_column(String(100))


def _use(connection: Connection) -> int | None:
    """Make the table, write, read it by the same statement many times, and count."""
    Base.metadata.create_all(connection)
    with Session(connection) as session:
        session.add_all([Note(text=f"note {n}") for n in range(20)])
        session.commit()
        for n in range(20):
            assert session.scalar(select(Note.text).where(Note.text == f"note {n}")) == f"note {n}"
            session.commit()
        return session.scalar(select(func.count()).select_from(Note))


@pytest.mark.parametrize("string", ENDPOINTS)
def test_sqlalchemy_by_psycopg(platform: Installation, string: str) -> None:
    url = make_url(platform.create()[string]).set(drivername="postgresql+psycopg")
    engine = create_engine(url)
    try:
        with engine.connect() as connection:
            assert _use(connection) == 20
    finally:
        engine.dispose()


@pytest.mark.parametrize("string", ENDPOINTS)
async def test_sqlalchemy_by_asyncpg(platform: Installation, string: str) -> None:
    url = make_url(platform.create()[string]).set(drivername="postgresql+asyncpg")
    url = url.difference_update_query(["sslmode"]).update_query_dict({"ssl": "require"})
    engine = create_async_engine(url)
    try:
        async with engine.connect() as connection:
            assert await connection.run_sync(_use) == 20
    finally:
        await engine.dispose()


PREPARED = "SELECT count(*) FROM pg_prepared_statements WHERE statement LIKE '%doubled%'"


@pytest.fixture(scope="module")
def narrow(platform: Installation) -> dict[str, Any]:
    """A database whose pool has four server connections, so that eight clients change places."""
    return platform.create(maxConnections=5)


async def test_psycopg_prepares_statements_as_it_does_by_default(narrow: dict[str, Any]) -> None:
    async def client(number: int) -> int:
        url = narrow["connection_string_pooled"]
        async with await psycopg.AsyncConnection.connect(url) as connection:
            assert connection.prepare_threshold == 5
            for n in range(30):
                async with connection.transaction():
                    cursor = await connection.execute("SELECT %s * 2 AS doubled", (number + n,))
                    assert await cursor.fetchone() == ((number + n) * 2,)
            # In the transaction that uses it: afterwards the session is reset.
            async with connection.transaction():
                await connection.execute("SELECT %s * 2 AS doubled", (number,))
                found = await (await connection.execute(PREPARED)).fetchone()
        return int(found[0]) if found else 0

    assert all(await asyncio.gather(*(client(number) for number in range(8))))


async def test_asyncpg_prepares_statements_as_it_does_by_default(narrow: dict[str, Any]) -> None:
    async def client(number: int) -> int:
        connection = await asyncpg.connect(narrow["connection_string_pooled"])
        try:
            for n in range(30):
                async with connection.transaction():
                    value = await connection.fetchval("SELECT $1::int * 2 AS doubled", number + n)
                    assert value == (number + n) * 2
            return int(await connection.fetchval(PREPARED))
        finally:
            await connection.close()

    assert all(await asyncio.gather(*(client(number) for number in range(8))))


# What the endpoints refuse


@pytest.mark.parametrize("string", STRINGS)
def test_plaintext_is_refused(database: dict[str, Any], string: str) -> None:
    reported = refusal(changed(database[string], sslmode="disable"))
    assert "no encryption" in reported or "SSL required" in reported


def _handshake(port: int, version: ssl.TLSVersion) -> str | None:
    """Ask a PostgreSQL port for TLS of exactly this version; the version that came to be."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_ciphers("ALL:@SECLEVEL=0")  # or OpenSSL would not even offer an old version
    context.options &= ~(ssl.OP_NO_TLSv1_1 | ssl.OP_NO_TLSv1_2)
    context.minimum_version = context.maximum_version = version
    with socket.create_connection(("127.0.0.1", port), timeout=10) as plain:
        plain.sendall(struct.pack("!II", 8, 80877103))  # SSLRequest
        assert plain.recv(1) == b"S"
        with context.wrap_socket(plain) as encrypted:
            return encrypted.version()


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1 is deprecated:DeprecationWarning")
@pytest.mark.parametrize("string", ENDPOINTS)
def test_tls_older_than_1_2_is_refused(database: dict[str, Any], string: str) -> None:
    port = port_of(database[string])
    assert _handshake(port, ssl.TLSVersion.TLSv1_2) == "TLSv1.2"
    with pytest.raises(ssl.SSLError, match=r"(?i)alert protocol version"):
        _handshake(port, ssl.TLSVersion.TLSv1_1)


@pytest.mark.parametrize("string", ENDPOINTS)
def test_a_wrong_password_is_refused(database: dict[str, Any], string: str) -> None:
    assert "authentication failed" in refusal(changed(database[string], password="wrong"))


@pytest.mark.parametrize("string", ENDPOINTS)
@pytest.mark.parametrize("name", PLATFORM_DATABASES)
def test_the_platforms_databases_are_closed(
    database: dict[str, Any], string: str, name: str
) -> None:
    assert CLOSED[string] in refusal(changed(database[string], dbname=name))


@pytest.mark.parametrize("string", ENDPOINTS)
def test_another_tenants_databases_are_closed(
    platform: Installation, database: dict[str, Any], string: str
) -> None:
    other = platform.create()["database_name"]
    for name in (other, f"{other}_shadow"):
        assert CLOSED[string] in refusal(changed(database[string], dbname=name))


@pytest.mark.parametrize("string", ENDPOINTS)
@pytest.mark.parametrize("role", PLATFORM_ROLES)
def test_the_platforms_roles_are_refused(database: dict[str, Any], string: str, role: str) -> None:
    for name in ("postgres", database["database_name"]):
        reported = refusal(changed(database[string], user=role, dbname=name))
        assert any(
            reason in reported
            for reason in ("pg_hba.conf rejects connection", "login rejected", "no such user")
        )


@pytest.mark.parametrize("user", ["pgbouncer", "tenantry_admin", None])
def test_the_poolers_console_is_closed(database: dict[str, Any], user: str | None) -> None:
    url = changed(
        database["connection_string_pooled"],
        dbname="pgbouncer",
        user=user or database["username"],
    )
    assert "login rejected" in refusal(url)


@pytest.mark.parametrize("string", ENDPOINTS)
def test_a_database_that_is_not_there_is_refused_at_once(
    database: dict[str, Any], string: str
) -> None:
    for _ in range(2):
        reported = refusal(changed(database[string], dbname="tenant_nowhere"))
        if string == ENDPOINTS[0]:
            assert CLOSED[string] in reported
        else:
            assert 'database "tenant_nowhere" does not exist' in reported


@pytest.mark.parametrize("string", ENDPOINTS)
def test_a_role_that_is_not_there_is_refused_at_once(database: dict[str, Any], string: str) -> None:
    reported = refusal(changed(database[string], user="user_nowhere"))
    reasons = ("authentication failed", "no such user", "no pg_hba.conf entry")
    assert any(reason in reported for reason in reasons)


@pytest.mark.parametrize("string", ENDPOINTS)
def test_neighbours_are_not_seen(database: dict[str, Any], string: str) -> None:
    own = {database["database_name"], f"{database['database_name']}_shadow"}
    for query in (
        "SELECT array_agg(datname) FROM pg_stat_activity",
        "SELECT array_agg(datname) FROM pg_catalog.pg_stat_database",
    ):
        seen = ask(database[string], query)
        assert isinstance(seen, list)
        assert database["database_name"] in seen
        assert set(seen) <= own
    for command in (
        f'ALTER ROLE "{database["username"]}" CONNECTION LIMIT 1000',
        f'ALTER DATABASE "{database["database_name"]}" RENAME TO mine',
        f'ALTER DATABASE "{database["database_name"]}" CONNECTION LIMIT 1000',
        f'DROP DATABASE "{database["database_name"]}_shadow"',
        "CREATE ROLE mine",
        "CREATE DATABASE mine",
        "SET ROLE tenantry_owner",
        "SET temp_file_limit = -1",
        "COPY (SELECT 1) TO PROGRAM 'true'",
        "SELECT pg_read_file('pg_hba.conf')",
        "CREATE EXTENSION file_fdw",
    ):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            ask(database[string], command)
