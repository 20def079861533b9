"""What tells that the schema cache has to be read again."""

import psycopg
import pytest
from rest_server import Server

from tenantry_rest import Config, load_fingerprint, load_schema, measure_schema
from tenantry_rest.catalog.fetching import fetch
from tenantry_rest.catalog.queries import FUNCTIONS
from tenantry_rest.schema.model import Name

CHANGES = """
CREATE TABLE changing (id int PRIMARY KEY, name text)
CREATE TABLE referring (id int)
CREATE TYPE mood AS ENUM ('calm')
CREATE DOMAIN code AS text
CREATE VIEW shown AS SELECT id FROM changing
CREATE FUNCTION doubled(a int) RETURNS int LANGUAGE sql AS 'SELECT a * 2'
ALTER TABLE changing ADD COLUMN size int
ALTER TABLE changing RENAME COLUMN size TO weight
ALTER TABLE changing ALTER COLUMN weight SET DEFAULT 1
ALTER TABLE changing ALTER COLUMN weight SET DEFAULT 2
ALTER TABLE changing ALTER COLUMN weight TYPE bigint
ALTER TABLE changing ALTER COLUMN weight SET NOT NULL
ALTER TABLE changing ALTER id SET STATISTICS 5, ALTER name SET STATISTICS 5
ALTER TABLE changing ALTER id SET STATISTICS 6, ALTER name SET STATISTICS 6
ALTER TABLE changing DROP COLUMN weight
ALTER TABLE referring ADD FOREIGN KEY (id) REFERENCES changing
ALTER TABLE referring DROP CONSTRAINT referring_id_fkey
ALTER TYPE mood ADD VALUE 'happy'
ALTER DOMAIN code SET NOT NULL
ALTER TABLE changing RENAME TO changed
CREATE OR REPLACE VIEW shown AS SELECT id, name FROM changed
CREATE OR REPLACE VIEW shown AS SELECT id, name FROM changed WHERE id > 1
CREATE OR REPLACE FUNCTION doubled(a int) RETURNS int LANGUAGE sql AS 'SELECT a + a'
COMMENT ON TABLE changed IS 'one'
COMMENT ON COLUMN changed.name IS 'two'
COMMENT ON FUNCTION doubled IS 'three'
COMMENT ON SCHEMA test IS 'four'
GRANT SELECT ON changed TO author
REVOKE EXECUTE ON FUNCTION doubled FROM PUBLIC
CREATE SCHEMA further
ALTER TABLE changed SET SCHEMA further
ALTER ROLE author SET statement_timeout = '7s'
ALTER ROLE author RESET statement_timeout
DROP FUNCTION doubled
DROP VIEW shown
DROP TABLE referring; CREATE TABLE test.referring (id int)
DROP TABLE referring
DROP SCHEMA further CASCADE
DROP TYPE mood
DROP DOMAIN code
COMMENT ON SCHEMA test IS NULL
""".strip().splitlines()

NO_CHANGES = """
INSERT INTO clients VALUES (900, 'Some')
DELETE FROM clients WHERE id = 900
ANALYZE
CREATE TEMP TABLE passing (id int PRIMARY KEY, name text DEFAULT 'x' CHECK (name <> ''))
""".strip().splitlines()


@pytest.mark.parametrize("changing", [True, False])
async def test_it_differs_after_changes_of_the_schema_only(server: Server, changing: bool) -> None:
    reader = await psycopg.AsyncConnection.connect(server.dsn("authenticator"), autocommit=True)
    superuser = await psycopg.AsyncConnection.connect(server.dsn(), autocommit=True)
    async with reader, superuser:
        await superuser.execute("SET search_path = test")
        before = await load_fingerprint(reader)
        for statement in CHANGES if changing else NO_CHANGES:
            await superuser.execute(statement.encode())
            after = await load_fingerprint(reader)
            assert (after != before) is changing, statement
            before = after


SIZES = [
    (400_000, "COMMENT ON TABLE test.tasks IS '{long}'", "COMMENT ON TABLE test.tasks IS NULL"),
    (399_000, "COMMENT ON SCHEMA public IS '{long}'", "COMMENT ON SCHEMA public IS NULL"),
    (
        400_000,
        "ALTER FUNCTION test.adds SET application_name = '{long}'",
        "ALTER FUNCTION test.adds RESET ALL",
    ),
    (
        50_000,
        "CREATE FUNCTION many({parameters}) RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "DROP FUNCTION many",
    ),
    (
        800_000,
        "CREATE DOMAIN long AS text DEFAULT '{long}'; CREATE TABLE longs (a long, b long)",
        "DROP TABLE longs; DROP DOMAIN long",
    ),
    (
        10_000,
        "CREATE TABLE self (id int PRIMARY KEY, {references})",
        "DROP TABLE self",
    ),
    (400_000, "ALTER ROLE author SET application_name = '{long}'", "ALTER ROLE author RESET ALL"),
]


@pytest.mark.parametrize(("least", "making", "undoing"), SIZES)
async def test_the_size_counts_what_has_no_limit(
    server: Server, least: int, making: str, undoing: str
) -> None:
    given = {
        "long": "long" * 100_000,
        "parameters": ", ".join(f"a{number} int" for number in range(100)),
        "references": ", ".join("FOREIGN KEY (id) REFERENCES self" for _ in range(20)),
    }
    async with await psycopg.AsyncConnection.connect(server.dsn("authenticator")) as reader:
        before = await measure_schema(reader)
        assert before > 1000
        server.execute(making.format(**given))
        try:
            assert await measure_schema(reader) >= before + least
            if "ROLE author" in making:
                assert await measure_schema(reader, ["author"]) < before + least
        finally:
            server.execute(undoing)


async def test_settings_of_excluded_roles_are_not_read(server: Server) -> None:
    async with await psycopg.AsyncConnection.connect(server.dsn("authenticator")) as reader:
        before = await load_fingerprint(reader, ["author"])
        server.execute("ALTER ROLE author SET statement_timeout = '7s'")
        try:
            assert await load_fingerprint(reader, ["author"]) == before
            everything = await load_schema(reader, Config())
            assert everything.roles["author"].settings == (("statement_timeout", "7s"),)
            assert "author" not in (await load_schema(reader, Config(), ["author"])).roles
        finally:
            server.execute("ALTER ROLE author RESET ALL")


async def test_of_functions_only_settings_of_the_transaction_are_read(server: Server) -> None:
    config = Config(db_schemas=("test",))
    server.execute("ALTER FUNCTION test.adds SET application_name = 'x'")
    server.execute("ALTER FUNCTION test.adds SET statement_timeout = '7s'")
    try:
        connecting = psycopg.AsyncConnection.connect(server.dsn("authenticator"))
        async with await connecting as reader:
            [[rows]] = [await fetch(reader, [(FUNCTIONS, [["test"], ["statement_timeout"]])])]
            assert ["statement_timeout=7s"] in [row[9] for row in rows]
            [adds] = (await load_schema(reader, config)).functions[Name("test", "adds")]
            assert adds.settings == (("statement_timeout", "7s"),)
    finally:
        server.execute("ALTER FUNCTION test.adds RESET ALL")
