"""SQL scripts read into a real server: as psql reads them, but for what psql would run."""

import asyncio
import gzip
import subprocess
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, LiteralString
from uuid import uuid4

import psycopg
import pytest
from tenants import Tenant

from conftest import Server
from tenantry.base.errors import Conflict
from tenantry.host import processes
from tenantry.host.commands import CommandFailed
from tenantry.pg import dumps, visitors
from tenantry.pg.dumps import ReportProgress
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
    settings: dict[str, str] = field(default_factory=dict)

    async def reads(
        self,
        script: bytes,
        *,
        room: int = 2**30,
        report: ReportProgress | None = None,
        roles: dict[str, str] | None = None,
        accepts_losses: bool = False,
    ) -> list[str]:
        self.file.write_bytes(script)
        name = self.tenant.databases[0]
        loaded = await dumps.load_script(
            self.visitor,
            name,
            self.file,
            room=room,
            report=report,
            roles=roles,
            accepts_losses=accepts_losses,
        )
        self.settings = loaded.settings
        return loaded.left_out

    async def asks(self, query: LiteralString) -> list[tuple[Any, ...]]:
        async with visitors.connect_as(self.visitor, self.tenant.databases[0]) as session:
            return await (await session.execute(query)).fetchall()


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
    """All of a database, as pg_dump shows it, without what is random in that."""
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


async def test_a_dump_that_makes_its_database_is_read_into_this_one(
    server: Server, visited: Visited, fresh_database: str
) -> None:
    with psycopg.connect(fresh_database, autocommit=True) as session:
        name = session.info.dbname
        session.execute(f"ALTER DATABASE \"{name}\" SET work_mem = '64kB'".encode())
        session.execute(f'ALTER DATABASE "{name}" SET search_path = "$user", "o d"'.encode())
        session.execute(CONTENTS.encode())
    here = server.dsn(visited.tenant.databases[0])
    await visited.reads(program(server, "pg_dump", fresh_database))
    expected = dumped(server, here)
    for options in (["--create"], ["--create", "--clean", "--if-exists", "--inserts"]):
        await visitors.wipe(visited.visitor, visited.tenant.databases[0])
        reported = await visited.reads(program(server, "pg_dump", *options, fresh_database))
        assert [line for line in reported if "owners" not in line] == []
        assert visited.settings == {"work_mem": "64kB", "search_path": '"$user", "o d"'}
        assert dumped(server, here) == expected


async def test_what_a_script_shows_and_leaves_out(visited: Visited) -> None:
    reported: list[tuple[int, int | None]] = []

    async def report(done: int, of: int | None) -> None:
        reported.append((done, of))

    script = (
        b"SET transaction_timeout_of_99 = 0;\nCREATE TABLE t (x int);\nSELECT pg_sleep(0.6);\n"
        b"ALTER TABLE t OWNER TO ann;\nGRANT SELECT ON t TO ben;\n"
        b"CREATE EVENT TRIGGER e ON ddl_command_start EXECUTE FUNCTION f();\n"
        b"COPY t FROM stdin;\n1\n2\n\\.\nCOPY t TO stdout;\n"
        b"SELECT repeat('x', 1000) FROM generate_series(1, 1000);\n"
    )
    packed = gzip.compress(script[:90]) + gzip.compress(script[90:])
    assert await visited.reads(packed, report=report) == [
        "owners and grants for ann, ben",
        "SET transaction_timeout_of_99 = 0;"
        ' (unrecognized configuration parameter "transaction_timeout_of_99")',
        "CREATE EVENT TRIGGER e ON ddl_command_start EXECUTE FUNCTION f();",
    ]
    assert reported
    assert reported[-1] == (len(packed), len(packed))
    assert await visited.asks("SELECT sum(x) FROM public.t") == [(3,)]


BY_HAND = b"""
    SET transaction_timeout = 0;
    SET default_tablespace = fast;
    SET log_statement = 'none';
    ALTER SYSTEM SET work_mem = '1GB';
    CREATE EXTENSION IF NOT EXISTS adminpack WITH SCHEMA pg_catalog;
    CREATE LANGUAGE plperlu;
    CREATE SCHEMA sales AUTHORIZATION ann CREATE TABLE t (x int) CREATE VIEW v AS SELECT x FROM t;
    CREATE TABLE p (id int PRIMARY KEY USING INDEX TABLESPACE fast, tablespace text)
        TABLESPACE slow;
    CREATE INDEX p_tablespace ON p (tablespace) TABLESPACE fast;
    CREATE MATERIALIZED VIEW m TABLESPACE slow AS SELECT 1 AS x;
    ALTER TABLE p ADD UNIQUE (id, tablespace) USING INDEX TABLESPACE fast;
    ALTER TABLE p OWNER TO ann, ADD COLUMN price numeric(9, 2), SET TABLESPACE fast;
    ALTER INDEX p_tablespace SET TABLESPACE fast;
    ALTER TABLE ALL IN TABLESPACE slow SET TABLESPACE fast;
    REASSIGN OWNED BY ann, CURRENT_USER TO ben;
    DROP OWNED BY cleo;
    ALTER TABLE p OWNER TO ann;
    COMMENT ON EXTENSION plpgsql IS 'theirs';
    COMMENT ON ROLE ann IS 'theirs';
    ALTER DATABASE shop SET timezone TO 'Europe/Paris';
    ALTER DATABASE shop SET work_mem TO 64;
    ALTER DATABASE shop OWNER TO ann;
    INSERT INTO p VALUES (1, 'a', 2.5);
"""


async def test_a_script_by_hand_is_read_without_what_is_of_its_server(visited: Visited) -> None:
    reported = await visited.reads(BY_HAND)
    *others, language = (line.partition(" (")[0].strip() for line in reported)
    assert language.startswith("EXTENSION plperlu: ")  # Debian has it in a package of its own
    assert others == [
        "owners and grants for ann, ben, cleo",
        "tablespaces: fast, slow",
        "SET log_statement = 'none';",
        "ALTER SYSTEM SET work_mem = '1GB';",
        "EXTENSION adminpack: tenants cannot have it",
    ]
    assert visited.settings == {"timezone": "Europe/Paris", "work_mem": "64"}
    assert await visited.asks("SELECT id, tablespace, price::text FROM public.p, public.m") == [
        (1, "a", "2.50")
    ]
    assert await visited.asks("SELECT count(*) FROM sales.v") == [(0,)]
    assert await visited.asks(
        "SELECT count(*) FROM pg_index WHERE indrelid = 'public.p'::regclass"
    ) == [(3,)]


# ── dumps of other services ──────────────────────────────────────────────────

DUMPS = Path(__file__).parents[1] / "dumps"


async def test_a_dump_of_supabases_is_read_without_what_cannot_be_here(visited: Visited) -> None:
    script = (DUMPS / "supabase.sql").read_bytes()
    reported = await visited.reads(script, roles={"anon": visited.tenant.role})
    # Not as the tenant: the visitor is its member, and has made the tables.
    assert await visited.asks("SELECT count(*) FROM public.notes") == [(2,)]
    assert await visited.asks("SELECT count(*) FROM auth.users") == [(1,)]
    assert await visited.asks(
        "SELECT polname::text, pg_get_userbyid(polroles[1])::text FROM pg_policy ORDER BY 1"
    ) == [("read_all", visited.tenant.role)]
    assert await visited.asks(
        "SELECT pubname::text, tablename::text FROM pg_publication_tables"
    ) == [("supabase_realtime", "notes")]
    assert await visited.asks("SELECT conname::text FROM pg_constraint WHERE contype = 'f'") == [
        ("notes_owner_fkey",)
    ]
    left_out = "\n".join(reported)
    for line in (
        "owners and grants for authenticated, dashboard_user, postgres, supabase_admin,"
        " supabase_auth_admin",
        "EXTENSION pg_net: this server does not have it",
        "EXTENSION supabase_vault: this server does not have it",
        "COPY vault.secrets (id, name, secret) FROM stdin; (",
        "CREATE TRIGGER synced AFTER INSERT ON public.notes",
        "notes_bucket_fkey FOREIGN KEY (body) REFERENCES storage.buckets(id); (",
        "policy Own notes on public.notes: left out, unknown here: role authenticated",
        "policy read_all on public.notes: made without role authenticated",
        "storage.allows(id)); (",
        "IN SCHEMA public GRANT ALL ON TABLES TO anon;",
        "CREATE EVENT TRIGGER issue_pg_net_access",
    ):
        assert line in left_out
    assert len(reported) == 11
    [(granted,)] = await visited.asks(
        "SELECT has_table_privilege('public.notes', 'INSERT') FROM"
        " (SELECT set_config('role', current_user, false)) s"
    )
    assert granted


@pytest.mark.parametrize("wrapped", [False, True])
async def test_a_dump_of_neons_is_read_in_a_transaction_too(
    visited: Visited, *, wrapped: bool
) -> None:
    script = (DUMPS / "neon.sql").read_bytes()
    reported = await visited.reads(b"BEGIN;\n" + script + b"COMMIT;\n" if wrapped else script)
    assert reported == [
        "owners and grants for anon, cloud_admin, neon_superuser, neondb_owner",
        "policy read_all on public.notes: left out, unknown here: role authenticated",
    ]
    assert await visited.asks("SELECT count(*) FROM public.notes") == [(1,)]


async def test_what_others_can_do_without_fails_alone_in_a_transaction(visited: Visited) -> None:
    script = (
        b"BEGIN;\nCREATE TABLE t (x int);\nCREATE POLICY p ON t USING (auth.uid() = x);\n"
        b"SET newer_than_this_server = 1;\nDROP TABLE nothing;\nCOMMENT ON TABLE gone IS 'x';\n"
        b"COPY t FROM stdin;\n1\n\\.\nCOMMIT;\n"
    )
    reported = await visited.reads(script)
    assert [line.partition(";")[0] for line in reported] == [
        "CREATE POLICY p ON t USING (auth.uid() = x)",
        "SET newer_than_this_server = 1",
    ]
    assert await visited.asks("SELECT x FROM public.t") == [(1,)]


@pytest.mark.parametrize(
    ("name", "query", "rows"),
    [
        ("clean_view.sql", "SELECT n::int FROM public.totals ORDER BY 1", [(1,), (2,)]),
        ("header_in_the_middle.sql", "SELECT name FROM public.towns", [("North",), ("South",)]),
    ],
)
async def test_files_that_were_refused_once_are_read(
    visited: Visited, name: str, query: LiteralString, rows: list[tuple[Any, ...]]
) -> None:
    assert await visited.reads((DUMPS / name).read_bytes()) == []
    assert await visited.asks(query) == rows


CYCLE = b"""
    CREATE TABLE a (id int PRIMARY KEY, b int);
    CREATE TABLE b (id int PRIMARY KEY, a int REFERENCES a);
    ALTER TABLE a ADD CONSTRAINT a_b_fkey FOREIGN KEY (b) REFERENCES b;
    CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql
        AS $$ BEGIN RAISE 'a trigger ran'; END $$;
    CREATE TRIGGER refuse BEFORE INSERT ON a FOR EACH ROW EXECUTE FUNCTION refuse();
    SELECT pg_catalog.set_config('search_path', '', false);
"""


def with_data(before: bytes, after: bytes) -> bytes:
    data = b"COPY public.a FROM stdin;\n1\t1\n\\.\nCOPY public.b FROM stdin;\n1\t%s\n\\.\n"
    return CYCLE + before + data + after


OFF = b"ALTER TABLE public.%s DISABLE TRIGGER ALL;\n"
ON = b"ALTER TABLE public.%s ENABLE TRIGGER ALL;\n"
WITHOUT_TRIGGERS = [
    with_data(OFF % b"a" + OFF % b"b", ON % b"a" + ON % b"b"),
    with_data(b"SET session_replication_role = replica;\n", b"RESET ALL;\n"),
    with_data(
        b"SET session_replication_role = replica;\n", b"SET session_replication_role = DEFAULT;\n"
    ),
    b"BEGIN;" + with_data(OFF % b"a", ON % b"a") + b"COMMIT;",
]


@pytest.mark.parametrize("script", WITHOUT_TRIGGERS)
async def test_data_is_read_while_triggers_are_off(visited: Visited, script: bytes) -> None:
    keys: LiteralString = (
        "SELECT conname::text, convalidated FROM pg_constraint WHERE contype = 'f' ORDER BY 1"
    )
    on: LiteralString = (
        "SELECT tgname::text FROM pg_trigger WHERE NOT tgisinternal AND tgenabled = 'O'"
    )
    assert await visited.reads(script.replace(b"%s", b"1")) == []
    assert await visited.asks(keys) == [("a_b_fkey", True), ("b_a_fkey", True)]
    assert await visited.asks(on) == [("refuse",)]
    await visitors.wipe(visited.visitor, visited.tenant.databases[0])
    [reported] = await visited.reads(script.replace(b"%s", b"7"))
    assert "b_a_fkey FOREIGN KEY (a) REFERENCES public.a(id) (NOT VALID: " in reported
    assert await visited.asks(keys) == [("a_b_fkey", True), ("b_a_fkey", False)]
    assert await visited.asks(on) == [("refuse",)]


async def test_foreign_keys_that_old_rows_violate_are_not_valid(visited: Visited) -> None:
    script = (
        b"CREATE TABLE a (id int PRIMARY KEY);\nCREATE TABLE b (a int);\n"
        b"INSERT INTO b VALUES (1);\n"
        b"ALTER TABLE ONLY b\n    ADD CONSTRAINT b_a_fkey FOREIGN KEY (a) REFERENCES a(id);\n"
    )
    [reported] = await visited.reads(script)
    assert "(NOT VALID: insert or update on table" in reported


STRICTER = b"""-- PostgreSQL database dump
SELECT pg_catalog.set_config('search_path', '', false);
CREATE SCHEMA app;
CREATE FUNCTION app.low(t text) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT lower(t) $$;
CREATE FUNCTION app.norm(t text) RETURNS text LANGUAGE plpgsql IMMUTABLE
    AS $$ BEGIN RETURN low(t); END $$;
CREATE FUNCTION app.small(i int) RETURNS boolean LANGUAGE sql IMMUTABLE AS $$ SELECT i < 10 $$;
CREATE DOMAIN app.size AS int CONSTRAINT is_small CHECK (app.small(VALUE));
COMMENT ON CONSTRAINT is_small ON DOMAIN app.size IS 'small';
CREATE DOMAIN app.name AS text NOT NULL;
CREATE TABLE app.t (id int CHECK (id > 0), t text, ends timestamptz, size app.size,
    g text GENERATED ALWAYS AS (app.norm(t)) STORED, CONSTRAINT open CHECK (ends > now()));
COMMENT ON CONSTRAINT open ON app.t IS 'is open';
CREATE TABLE app.child (CONSTRAINT open CHECK (ends > now())) INHERITS (app.t);
CREATE TABLE app.names (id int, name app.name);
%s
INSERT INTO app.child (id, t, ends, size) VALUES (2, 'B', '2020-01-01', 3);
INSERT INTO app.names (id, name) VALUES (1, 'one');
CREATE INDEX t_norm ON app.t USING btree (app.norm(t));
CREATE MATERIALIZED VIEW app.m AS SELECT app.norm(t.t) AS t FROM app.t WITH NO DATA;
REFRESH MATERIALIZED VIEW app.m;
-- PostgreSQL database dump complete
"""
ROWS = [
    b"COPY app.t (id, t, ends, size) FROM stdin;\n1\tA\t2020-01-01\t50\n\\.\n",
    b"INSERT INTO app.t (id, t, ends, size) VALUES (1, 'A', '2020-01-01', 50);",
    b"BEGIN;\nCOPY app.t (id, t, ends, size) FROM stdin;\n1\tA\t2020-01-01\t50\n\\.\nCOMMIT;\n",
]


@pytest.mark.parametrize("rows", ROWS)
@pytest.mark.parametrize("pack", [bytes, gzip.compress])
async def test_what_a_load_is_stricter_with_than_what_ran_is_there(
    visited: Visited, rows: bytes, pack: Callable[[bytes], bytes]
) -> None:
    reported = await visited.reads(pack(STRICTER.replace(b"%s", rows)))
    assert sorted(line.rpartition(": ")[0] for line in reported) == [
        "CHECK CONSTRAINT app.child open: It is NOT VALID",
        "CHECK CONSTRAINT app.size is_small: It is NOT VALID",
        "CHECK CONSTRAINT app.t open: It is NOT VALID",
    ]
    assert await visited.asks("SELECT id, g, size::int FROM app.t ORDER BY 1") == [
        (1, "a", 50),
        (2, "b", 3),
    ]
    assert await visited.asks("SELECT t FROM app.m ORDER BY 1") == [("a",), ("b",)]
    checks: LiteralString = (
        "SELECT conname::text, convalidated, coninhcount, obj_description(oid, 'pg_constraint')"
        " FROM pg_constraint WHERE contype = 'c' AND connamespace = 'app'::regnamespace"
        " ORDER BY conname, coninhcount"
    )
    assert await visited.asks(checks) == [
        ("is_small", False, 0, "small"),
        ("open", False, 0, "is open"),
        ("open", False, 1, None),
        ("t_id_check", True, 0, None),
        ("t_id_check", True, 1, None),
    ]


async def test_what_somebody_wrote_by_hand_is_wrong_if_it_fails(visited: Visited) -> None:
    for script, said in (
        (b"CREATE TABLE t (x int CHECK (x > 0)); INSERT INTO t VALUES (-1);", "violates check"),
        (
            b"CREATE SCHEMA a; CREATE TABLE a.t (x int); INSERT INTO t VALUES (1);",
            "exist",
        ),
    ):
        with pytest.raises(CommandFailed, match=said):
            await visited.reads(script)
        await visitors.wipe(visited.visitor, visited.tenant.databases[0])


LOSING = (
    b"-- PostgreSQL database dump\nCREATE TABLE public.t (x int);\n"
    b"CREATE DOMAIN public.d AS int NOT NULL; CREATE TABLE public.n (x int, d public.d);\n"
    b"CREATE TABLE public.u (x no_such_type);\n"
    b"COPY public.t (x) FROM stdin;\n1\n1\n0\n\\.\n"
    b"COPY public.u (x) FROM stdin;\n1\n\\.\n"
    b"COPY public.n (x, d) FROM stdin;\n1\t\\N\n\\.\n"
    b"CREATE UNIQUE INDEX t_x ON public.t USING btree (x);\n"
    b"CREATE MATERIALIZED VIEW public.m AS SELECT 1 / x AS y FROM public.t WITH NO DATA;\n"
    b"REFRESH MATERIALIZED VIEW public.m;\n-- PostgreSQL database dump complete\n"
)


async def test_losses_are_accepted_and_reported(visited: Visited) -> None:
    with pytest.raises(CommandFailed, match="no_such_type"):
        await visited.reads(LOSING)
    await visitors.wipe(visited.visitor, visited.tenant.databases[0])
    reported = await visited.reads(LOSING, accepts_losses=True)
    assert [line.partition(" (")[0].partition(":")[0] for line in reported] == [
        "CREATE TABLE public.u",
        "COPY public.u",
        "CREATE UNIQUE INDEX t_x ON public.t USING btree",
        "REFRESH MATERIALIZED VIEW public.m;",
        "NOT NULL of DOMAIN public.d",
    ]
    assert await visited.asks("SELECT count(*) FROM public.t, public.n") == [(3,)]
    [(why,)] = [(line,) for line in reported if "t_x" in line]
    assert "could not create unique index" in why


async def test_statistics_of_newer_releases_are_passed_over(visited: Visited) -> None:
    script = (
        b"CREATE TABLE t (x int);\nSELECT * FROM pg_catalog.pg_restore_relation_stats(\n"
        b"\t'version', '180000'::integer,\n\t'schemaname', 'public',\n\t'relname', 't',\n"
        b"\t'relpages', '1'::integer,\n\t'reltuples', '3'::real\n);\n"
        b"SELECT * FROM pg_catalog.pg_restore_attribute_stats(\n\t'version', '180000'::integer,\n"
        b"\t'schemaname', 'public',\n\t'relname', 't',\n\t'attname', 'x',\n"
        b"\t'inherited', 'f'::boolean,\n\t'null_frac', '0'::real\n);\n"
    )
    assert await visited.reads(script) == []


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
        ("CREATE TABLE t (x int);\nCREATE DATABASE more;", "databases, roles"),
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
