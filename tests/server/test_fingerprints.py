"""What is read of a tenant's rows runs none of that tenant's functions."""

from tenants import Tenant

from tenantry.pg.fingerprints import Table, fingerprint

PLANTED = """
    CREATE TABLE t (a int, b text);
    INSERT INTO t VALUES (1, 'x'), (2, NULL);
    CREATE FUNCTION planted(t) RETURNS text LANGUAGE plpgsql AS
        $$ BEGIN RAISE EXCEPTION 'planted code runs'; END $$;
    CREATE CAST (t AS text) WITH FUNCTION planted(t);
"""


async def test_a_cast_of_ones_own_is_not_used(tenant: Tenant) -> None:
    async with await tenant.session() as session:
        await session.execute("CREATE TABLE same (a int, b text)")
        await session.execute(PLANTED)
        await session.execute("INSERT INTO same SELECT * FROM t")
        found = [await fingerprint(session, Table("public", name, 0)) for name in ("t", "same")]
    assert found[0] == found[1]
    assert found[0].rows == 2


async def test_a_column_may_have_any_name(tenant: Tenant) -> None:
    async with await tenant.session() as session:
        await session.execute("CREATE TABLE named (t text, x int)")
        await session.execute("INSERT INTO named VALUES ('same', 1)")
        before = await fingerprint(session, Table("public", "named", 0))
        await session.execute("UPDATE named SET x = 2")
        assert await fingerprint(session, Table("public", "named", 0)) != before
