"""A copy of a rich database becomes another role's, and the first one's roles are unknown in it."""

from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql
from tenants import Connection, Tenant, make, rows, unmake

from conftest import Server
from tenantry.pg import catalog, dumps, logins, objects, reloading, tenant_settings, visitors
from tenantry.pg.connections import ADMIN, Address, connect
from tenantry.pg.handover import hand_over

# Whatever a tenant can have. {own} is its role, {reads} and {writes} are further ones of it.
RICH = """
    CREATE SCHEMA app;
    CREATE EXTENSION citext SCHEMA app;
    COMMENT ON EXTENSION citext IS 'ours';
    CREATE TYPE app.mood AS ENUM ('sad', 'glad');
    CREATE TYPE app.pair AS (a int, b int);
    CREATE DOMAIN app.positive AS int CHECK (VALUE > 0);
    REVOKE USAGE ON TYPE app.mood FROM PUBLIC;
    CREATE SEQUENCE app.numbers;
    CREATE TABLE app.people (
        id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, serial serial, name app.citext NOT NULL,
        mood app.mood DEFAULT 'glad', age app.positive, secret text);
    INSERT INTO app.people (name, age, secret)
        SELECT 'n' || i, i, md5(i::text) FROM generate_series(1, 50) i;
    CREATE INDEX ON app.people (lower(name::text));
    CREATE TABLE app.log (who text) PARTITION BY LIST (who);
    CREATE TABLE app.log_rest PARTITION OF app.log DEFAULT;
    CREATE FUNCTION app.noted() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN INSERT INTO app.log VALUES (current_user); RETURN NEW; END $$;
    CREATE TRIGGER noted AFTER UPDATE ON app.people FOR EACH ROW EXECUTE FUNCTION app.noted();
    CREATE FUNCTION app.hidden() RETURNS int LANGUAGE sql SECURITY DEFINER
        SET search_path = pg_catalog RETURN 42;
    REVOKE EXECUTE ON FUNCTION app.hidden() FROM PUBLIC;
    GRANT EXECUTE ON FUNCTION app.hidden() TO {reads};
    CREATE PROCEDURE app.work() LANGUAGE sql AS 'SELECT 1';
    CREATE AGGREGATE app.total(int) (sfunc = int4pl, stype = int);
    CREATE VIEW app.glad AS SELECT * FROM app.people WHERE mood = 'glad';
    CREATE MATERIALIZED VIEW app.counted AS SELECT count(*) AS n FROM app.people;
    CREATE STATISTICS app.related ON name, age FROM app.people;
    CREATE PUBLICATION reported FOR TABLE app.people;
    GRANT SELECT ON app.people, app.glad TO {reads};
    REVOKE DELETE ON app.people FROM {own};
    GRANT SELECT (name) ON app.people TO PUBLIC;
    ALTER TABLE app.people ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
    CREATE POLICY all_of_it ON app.people TO {own}, {reads} USING (true);
    CREATE POLICY young ON app.people AS RESTRICTIVE TO {reads} USING (age < 18);
    CREATE POLICY named ON app.people TO PUBLIC USING (name IS NOT NULL);
    ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO {reads};
    ALTER DEFAULT PRIVILEGES REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC;
    ALTER DEFAULT PRIVILEGES IN SCHEMA app GRANT USAGE ON SEQUENCES TO PUBLIC;
    ALTER DEFAULT PRIVILEGES FOR ROLE {writes} GRANT SELECT ON TABLES TO {own};
    GRANT CREATE, USAGE ON SCHEMA app TO {writes};
    SELECT lo_from_bytea(4711, 'large');
    GRANT SELECT ON LARGE OBJECT 4711 TO {reads};
"""
KNOWN = """
    SELECT r.rolname, s.classid::regclass, s.deptype::text FROM pg_shdepend s
    JOIN pg_roles r ON r.oid = s.refobjid AND s.refclassid = 'pg_authid'::regclass
    WHERE s.dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
      AND r.rolname = ANY (%s)
"""
# All rights and owners, with the roles by what they are instead of by name.
RIGHTS = """
    SELECT kind, name, replace(
        replace(coalesce(acl::text, ''), %(own)s, 'own'), %(new_owner)s, 'own')
    FROM (
        SELECT 'relation', oid::regclass::text, relacl FROM pg_class
        WHERE relnamespace = 'app'::regnamespace
        UNION ALL SELECT 'column', attrelid::regclass || '.' || attname, attacl
            FROM pg_attribute WHERE attacl IS NOT NULL AND attrelid > 16384
        UNION ALL SELECT 'routine', oid::regprocedure::text, proacl FROM pg_proc
            WHERE pronamespace = 'app'::regnamespace
        UNION ALL SELECT 'type', oid::regtype::text, typacl FROM pg_type
            WHERE typnamespace = 'app'::regnamespace
        UNION ALL SELECT 'schema', nspname::text, nspacl FROM pg_namespace
            WHERE nspname IN ('app', 'public')
        UNION ALL SELECT 'object', oid::text, lomacl FROM pg_largeobject_metadata
        UNION ALL SELECT 'default', concat(defaclobjtype, defaclnamespace::regnamespace), defaclacl
            FROM pg_default_acl WHERE pg_get_userbyid(defaclrole) IN (%(own)s, %(new_owner)s)
    ) found (kind, name, acl) ORDER BY 1, 2
"""


def unordered(acl: str) -> set[str]:
    """The entries of an ACL that are PUBLIC's or the owner's."""
    entries = acl.strip("{}").split(",") if acl else []
    return {entry for entry in entries if entry.split("=")[0] in {"", "own"}}


@pytest.fixture
async def parent(platform: Connection, address: Address) -> AsyncIterator[Tenant]:
    tenant = await make(platform, address)
    for name in ("reads", "writes"):
        await objects.ensure_role(platform, f"{tenant.role}_{name}")
        await logins.admit(platform, tenant.databases[0], f"{tenant.role}_{name}", "read_only")
    names = {
        "own": sql.Identifier(tenant.role),
        "reads": sql.Identifier(f"{tenant.role}_reads"),
        "writes": sql.Identifier(f"{tenant.role}_writes"),
    }
    async with await tenant.session() as session:
        # For what is somebody else's than the first role's: it may not become that role itself.
        await platform.execute(sql.SQL("GRANT {writes} TO {own}").format(**names))
        await session.execute(sql.SQL(RICH).format(**names))
        await platform.execute(sql.SQL("REVOKE {writes} FROM {own}").format(**names))
    async with connect(address, user=ADMIN, dbname=tenant.databases[0]) as admin:
        await admin.execute(
            sql.SQL("SET ROLE {}; CREATE TABLE app.of_writes (n int); RESET ROLE").format(
                names["writes"]
            )
        )
    yield tenant
    for name in tenant.databases:
        await objects.drop_database(platform, name)
    for name in await catalog.roles_of(platform, tenant.role):
        assert await objects.drop_role(platform, name), f"{name} is still known somewhere"


@pytest.fixture
async def copy(platform: Connection, address: Address) -> AsyncIterator[Tenant]:
    tenant = await make(platform, address)
    yield tenant
    await unmake(platform, tenant)


async def as_template(platform: Connection, parent: Tenant, copy: Tenant) -> None:
    await objects.drop_database(platform, copy.databases[0])
    await objects.copy_database(platform, parent.databases[0], copy.databases[0], tenant=copy.role)


@pytest.mark.parametrize("method", ["template", "dump"])
async def test_a_copy_is_its_new_owners_alone(
    server: Server,
    platform: Connection,
    parent: Tenant,
    copy: Tenant,
    *,
    method: str,
    tmp_path: Path,
) -> None:
    additional = [f"{parent.role}_reads", f"{parent.role}_writes"]
    names = {"own": parent.role, "new_owner": copy.role}
    async with connect(parent.address, user=ADMIN, dbname=parent.databases[0]) as admin:
        before = await rows(admin, "SELECT md5(string_agg(p::text, ',')) FROM app.people p")
        rights = await (await admin.execute(RIGHTS.encode(), names)).fetchall()
    connectable = await catalog.connectable(platform)
    if method == "template":
        await as_template(platform, parent, copy)
    purpose = uuid4().hex
    roles = [parent.role, *additional, copy.role]
    async with visitors.visitor(parent.address, purpose, roles, folder=tmp_path) as visitor:
        if method == "dump":
            file = Path(visitor.passfile).with_name("dump")
            await dumps.dump(server.bin_dir, visitor, parent.databases[0], file)
            await reloading.load(
                server.bin_dir,
                visitor,
                copy.databases[0],
                file,
                settings=tenant_settings.USUAL,
                jobs=2,
                options=["--no-owner"],
            )
        async with visitors.connect_as(visitor, copy.databases[0]) as inside:
            await hand_over(
                inside, first=parent.role, others=[*additional, visitor.name], new_owner=copy.role
            )
    assert not await objects.role_exists(platform, visitor.name)
    async with connect(parent.address, user=ADMIN, dbname=copy.databases[0]) as admin:
        assert await rows(admin, KNOWN, [parent.role, *additional]) == []
        assert await rows(admin, "SELECT md5(string_agg(p::text, ',')) FROM app.people p") == before
        now = await (await admin.execute(RIGHTS.encode(), names)).fetchall()
        owners = await rows(
            admin,
            "SELECT DISTINCT pg_get_userbyid(relowner) FROM pg_class"
            " WHERE relnamespace = 'app'::regnamespace",
        )
        policies = await rows(
            admin,
            "SELECT polname, ARRAY(SELECT pg_get_userbyid(r)::text FROM unnest(polroles) r"
            " WHERE r <> 0) FROM pg_policy ORDER BY 1",
        )
        forced = await rows(
            admin,
            "SELECT relrowsecurity, relforcerowsecurity FROM pg_class"
            " WHERE oid = 'app.people'::regclass",
        )
        extension = await rows(
            admin, "SELECT pg_get_userbyid(extowner) FROM pg_extension WHERE extname = 'citext'"
        )
    assert owners == [(copy.role,)]
    assert policies == [("all_of_it", [copy.role]), ("named", [])]
    assert forced == [(True, True)]
    assert extension == [(copy.role,)]
    # What is PUBLIC's and the owner's is as it was; of others nothing is left. Only what an owner
    # has taken from itself it has again after a dump, which is made without owners.
    wanted = {(kind, name): unordered(acl) for kind, name, acl in rights}
    for kind, name, acl in now:
        if (kind, name, method) == ("relation", "app.people", "dump"):
            assert unordered(acl) == {"own=arwdDxt/own"}
        elif name != "app.of_writes":
            assert unordered(acl) == wanted[kind, name], (kind, name)
        assert parent.role not in acl
    # Nothing outside of the copy has changed.
    after = await catalog.connectable(platform)
    assert after[parent.databases[0]] == connectable[parent.databases[0]]
    async with await copy.session() as session:
        await session.execute(b"UPDATE app.people SET age = age + 1")
        assert await rows(session, "SELECT count(*) FROM app.log") == [(50,)]
        if method == "template":
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                await session.execute(b"DELETE FROM app.people")
        await session.execute(b"CREATE FUNCTION app.later() RETURNS int LANGUAGE sql RETURN 1")
        (acl,) = await rows(session, "SELECT proacl::text FROM pg_proc WHERE proname = 'later'")
        assert acl == (f"{{{copy.role}=X/{copy.role}}}",)
        await session.execute(b"SELECT lo_get(4711); REFRESH MATERIALIZED VIEW app.counted")
    async with await parent.session() as session:
        assert await rows(session, "SELECT count(*) FROM app.log") == [(0,)]


async def test_a_copy_was_never_open_to_others(
    platform: Connection, parent: Tenant, copy: Tenant
) -> None:
    await as_template(platform, parent, copy)
    assert (await catalog.connectable(platform))[copy.databases[0]] == {copy.role}
    public = await rows(
        platform,
        "SELECT 1 FROM pg_database, aclexplode(datacl) WHERE grantee = 0 AND datname = %s",
        copy.databases[0],
    )
    assert public == []


async def test_a_copy_is_not_made_while_somebody_is_there(
    platform: Connection, parent: Tenant, copy: Tenant
) -> None:
    await objects.drop_database(platform, copy.databases[0])
    async with await parent.session() as session:
        assert not await objects.copy_database(
            platform, parent.databases[0], copy.databases[0], tenant=copy.role
        )
        assert await rows(session, "SELECT count(*) FROM app.people WHERE true") == [(50,)]
    assert not await objects.database_exists(platform, copy.databases[0])
