"""SQL scripts read into a real server: as psql reads them, but for what psql would run."""

import asyncio
import gzip
import subprocess
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
from tenants import Tenant

from conftest import Server
from tenantry.base.errors import Conflict
from tenantry.host import processes
from tenantry.host.commands import CommandFailed
from tenantry.pg import dumps, visitors
from tenantry.pg.dumps import Tell
from tenantry.pg.visitors import Visitor

CONTENTS = r"""
    CREATE SCHEMA "odd; name";
    CREATE TYPE state AS ENUM ('open', 'it''s; paid');
    CREATE TABLE people (
        id serial PRIMARY KEY, name text DEFAULT E'a\\;b', state state, more jsonb, raw bytea);
    CREATE TABLE "odd; name".":USER" (x text CHECK (x <> ':''HOST'''));
    CREATE FUNCTION old(text) RETURNS text LANGUAGE plpgsql AS
        'BEGIN RETURN $1 || '';\ :USER''; END';
    CREATE FUNCTION quoted(a text) RETURNS text LANGUAGE plpgsql AS $_$
        DECLARE b text := $x$;' $x$; BEGIN RETURN a || b || '\! touch'; END $_$;
    CREATE FUNCTION atomic(a int) RETURNS int
        BEGIN ATOMIC SELECT CASE WHEN a > 1 THEN 2 ELSE 3 END; SELECT a; END;
    CREATE VIEW seen AS SELECT id, ':HOST'::text AS host FROM people;
    CREATE RULE logged AS ON DELETE TO people DO ALSO (SELECT 1; SELECT 2);
    COMMENT ON TABLE people IS E'\\! touch :USER\n\\.\n;';
    INSERT INTO people (name, state, more, raw)
        SELECT E'\\.' || i || E'\n\\.\n\\! :USER ; '' "', 'it''s; paid', '{"a": "\\\\; "}',
            '\x00ff5c'
        FROM generate_series(1, 2000) i;
    INSERT INTO people (name) VALUES (NULL), (''), (E'\\N'), ('Ünal ; '), (E'\r\n\t\b');
    INSERT INTO "odd; name".":USER" VALUES (':USER'), (':''HOST'), (E'\\.');
    SELECT lo_from_bytea(0, 'a large object; \\ '' ');
"""


@dataclass
class Visited:
    """A tenant's first database, and a visitor in it."""

    tenant: Tenant
    visitor: Visitor
    file: Path

    async def reads(
        self, script: bytes, *, room: int = 2**30, tell: Tell | None = None
    ) -> list[str]:
        self.file.write_bytes(script)
        name = self.tenant.databases[0]
        return await dumps.load_script(self.visitor, name, self.file, room=room, tell=tell)


@pytest.fixture
async def visited(tenant: Tenant, tmp_path: Path) -> AsyncIterator[Visited]:
    async with visitors.visitor(
        tenant.address, uuid4().hex, [tenant.role], folder=tmp_path
    ) as made:
        yield Visited(tenant, made, tmp_path / "script")
        await visitors.wipe(made, tenant.databases[0])


def program(server: Server, name: str, *words: str | Path) -> bytes:
    done = subprocess.run(
        [server.bin_dir / name, *words], check=True, capture_output=True, timeout=60
    )
    return done.stdout


def dumped(server: Server, dsn: str) -> bytes:
    """All of a database, as pg_dump tells it, without what is random in that."""
    text = program(server, "pg_dump", "--no-owner", "--no-acl", dsn)
    return b"\n".join(
        line for line in text.split(b"\n") if not line.startswith((b"\\restrict", b"\\unrestrict"))
    )


@pytest.mark.parametrize(
    ("options", "setting"),
    [
        ([], "work_mem = '64kB'"),
        (["--inserts", "--encoding=LATIN1"], "work_mem = '64kB'"),
        (["--column-inserts", "--clean", "--if-exists"], "standard_conforming_strings = off"),
        (["--clean"], "work_mem = '64kB'"),
    ],
)
async def test_a_script_is_read_as_psql_reads_it(
    server: Server, visited: Visited, fresh_database: str, options: list[str], setting: str
) -> None:
    with psycopg.connect(fresh_database, autocommit=True) as session:
        session.execute(f'ALTER DATABASE "{session.info.dbname}" SET {setting}'.encode())
        session.execute(CONTENTS.encode())
    here, there = map(server.dsn, visited.tenant.databases)
    script = program(server, "pg_dump", "--no-owner", "--no-acl", *options, fresh_database)
    assert script.count(b"\\! ") > 2000
    assert await visited.reads(script) == []
    # Its own meta-commands, which it needs, are pg_dump's alone. It goes on after errors.
    program(server, "psql", "-Xqf", visited.file, there)
    assert dumped(server, here) == dumped(server, there)


async def test_what_a_script_tells_and_leaves_out(visited: Visited) -> None:
    told: list[tuple[int, int | None]] = []

    async def tell(done: int, of: int | None) -> None:
        told.append((done, of))

    script = (
        b"SET transaction_timeout_of_99 = 0;\nCREATE TABLE t (x int);\nSELECT pg_sleep(0.6);\n"
        b"ALTER TABLE t OWNER TO ann;\nGRANT SELECT ON t TO ben;\n"
        b"CREATE EVENT TRIGGER e ON ddl_command_start EXECUTE FUNCTION f();\n"
        b"COPY t FROM stdin;\n1\n2\n\\.\nCOPY t TO stdout;\n"
        b"SELECT repeat('x', 1000) FROM generate_series(1, 1000);\n"
    )
    packed = gzip.compress(script[:90]) + gzip.compress(script[90:])
    assert await visited.reads(packed, tell=tell) == [
        "owners and grants for ann, ben",
        "SET transaction_timeout_of_99 = 0;",
        "CREATE EVENT TRIGGER e ON ddl_command_start EXECUTE FUNCTION f();",
    ]
    assert told
    assert told[-1] == (len(packed), len(packed))
    async with visitors.connect_as(visited.visitor, visited.tenant.databases[0]) as session:
        cursor = await session.execute("SELECT sum(x) FROM public.t")
        assert await cursor.fetchone() == (3,)


HOSTILE = [
        ("\\! touch {marker}\n", "psql's"),
        ("\\unrestrict `touch {marker}`\n", "psql's"),
        ("COPY (SELECT 1) TO PROGRAM 'touch {marker}';", "to COPY to or from an external"),
        ("CREATE TABLE t (x text);\nCOPY t FROM PROGRAM 'touch {marker}';", "line 2: must be"),
        ("CREATE TABLE t (x text); COPY t FROM '/etc/passwd';", "to COPY from a file"),
        ("SELECT pg_read_file('/etc/passwd');", "permission denied"),
        ("SET ROLE tenantry_admin;", "permission denied"),
        ("SET ROLE tenantry_platform;", "permission denied"),
        ("ALTER ROLE CURRENT_USER SUPERUSER;", "databases, roles"),
        ("DO $$BEGIN EXECUTE 'ALTER ROLE CURRENT_USER SUPERUSER'; END$$;", "must be superuser"),
        ("\\connect postgres\n", "another database"),
        ("CREATE DATABASE more;", "databases, roles"),
        ("SELECT :USER;", "syntax error"),
        ("SELECT :'HOST';", "syntax error"),
        ("BEGIN; CREATE TABLE t (x int);", "never committed"),
        ("CREATE TABLE t (x int);\nCOPY t FROM stdin;\n1\n", "middle of the data"),
        ("CREATE TABLE t (x int);\nCOPY t FROM stdin;\nx\n\\.\n", "line 2: invalid input"),
        ("CREATE TABLE t (x int);\n" + "INSERT INTO t VALUES (1);\n" * 5
         + "INSERT INTO t VALUES ('x');\nINSERT INTO t VALUES (1);", "line 7: invalid input"),
        ("CREATE TABLE t (x int); COPY t FROM stdin WITH (FORMAT csv); 1\n", "more behind"),
]  # fmt: skip


async def test_a_hostile_script_runs_nothing_here(visited: Visited, tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    for script, said in HOSTILE:
        with pytest.raises((Conflict, CommandFailed)) as refused:
            await visited.reads(script.format(marker=marker).encode())
        assert said in str(refused.value)
        assert "Traceback" not in str(refused.value)
        assert "root:" not in str(refused.value)
        assert not marker.exists(), script
        await visitors.wipe(visited.visitor, visited.tenant.databases[0])


DAMAGED = [
    (gzip.compress(b"CREATE TABLE t (x int);\n" * 1000)[:-9], "damaged"),
    (gzip.compress(b"SELECT 1;") + b"more", "damaged"),
    (gzip.compress(b"PGDMP\1\1\1"), "custom format"),
    (gzip.compress(b" " * (4 * 2**20 + 1)), "4,194,304 bytes of SQL"),
]


async def test_a_file_that_is_not_what_it_should_be(visited: Visited) -> None:
    for file, said in DAMAGED:
        with pytest.raises(Conflict, match=said):
            await visited.reads(file, room=2**20)


async def test_one_that_is_cancelled_leaves_no_program(server: Server, visited: Visited) -> None:
    reading = asyncio.create_task(visited.reads(b"SELECT pg_sleep(1000);"))
    with psycopg.connect(server.dsn(), autocommit=True) as session:
        asked = "SELECT pid FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep(1000)%'"
        async with asyncio.timeout(10):
            while session.execute(asked.encode()).fetchone() is None:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
    assert processes.started_on(visited.file) == []
