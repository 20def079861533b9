"""Which code works with the control database's schema."""

from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any, cast

import psycopg
import pytest
from psycopg.rows import TupleRow

from tenantry.base.errors import MachineError
from tenantry.control.store import DATABASE, ControlStore
from tenantry.pg.connections import ADMIN, Address, connect
from tenantry.services import control_schema
from tenantry.services.clusters.fleet import Fleet

Admin = psycopg.AsyncConnection[TupleRow]
NEWEST = control_schema.newest()


@pytest.fixture(name="fleet")
def _fleet(address: Address, store: ControlStore) -> Fleet:  # noqa: ARG001 (it makes the database)
    return cast("Fleet", SimpleNamespace(control=SimpleNamespace(address=address)))


@pytest.fixture(name="admin")
async def _admin(address: Address, fleet: Fleet) -> AsyncIterator[Admin]:  # noqa: ARG001 (the same)
    async with connect(address, user=ADMIN, dbname=DATABASE, search_path="public") as admin:
        yield admin


async def comment(admin: Admin) -> Any:
    cursor = await admin.execute("SELECT obj_description('schema_migrations'::regclass)")
    return (await cursor.fetchall())[0][0]


async def migrated_by_newer(admin: Admin, works_from: int) -> None:
    """Have the schema be as a release after this one leaves it."""
    await admin.execute("UPDATE schema_migrations SET version = 900")
    record = f'{{"schema": 900, "works_from": {works_from}, "release": "9.0.0"}}'
    await admin.execute(f"COMMENT ON TABLE schema_migrations IS '{record}'")


async def test_what_works_with_it_is_recorded(fleet: Fleet, admin: Admin) -> None:
    assert await comment(admin) is None
    await control_schema.ensure_control_schema(fleet)
    written = await comment(admin)
    assert control_schema._read(written) == (NEWEST, control_schema.COMPATIBLE_FROM)
    await control_schema.ensure_control_schema(fleet)
    await control_schema.ensure_known(fleet)
    assert await comment(admin) == written


async def test_an_older_schema_is_migrated_by_what_starts(fleet: Fleet, admin: Admin) -> None:
    await control_schema.ensure_known(fleet)
    assert control_schema._read(await comment(admin)) is not None
    jobs = await admin.execute("SELECT to_regclass('procrastinate_jobs')::text")
    assert await jobs.fetchone() == ("procrastinate_jobs",)


async def test_a_newer_schema_that_only_has_more_is_left_as_it_is(
    fleet: Fleet, admin: Admin
) -> None:
    await migrated_by_newer(admin, works_from=NEWEST)
    written = await comment(admin)
    await control_schema.ensure_control_schema(fleet)
    await control_schema.ensure_known(fleet)
    assert await comment(admin) == written
    await control_schema.require_works(fleet, NEWEST, reads_record=True)
    with pytest.raises(MachineError, match="does not work with it"):
        await control_schema.require_works(fleet, NEWEST - 1, reads_record=True)
    with pytest.raises(MachineError, match="does not work with it"):
        await control_schema.require_works(fleet, NEWEST, reads_record=False)


async def test_a_newer_schema_that_may_lack_something_is_refused(
    fleet: Fleet, admin: Admin
) -> None:
    await migrated_by_newer(admin, works_from=NEWEST + 1)
    await refused(fleet)
    await migrated_by_newer(admin, works_from=NEWEST)
    for change in (
        "UPDATE schema_migrations SET version = 901",  # it was killed before it recorded this
        "UPDATE schema_migrations SET version = 900, dirty = true",
        "COMMENT ON TABLE schema_migrations IS '[900]'",
        "COMMENT ON TABLE schema_migrations IS NULL",
    ):
        await admin.execute(change)
        await refused(fleet)


async def refused(fleet: Fleet) -> None:
    for ensure in (control_schema.ensure_control_schema, control_schema.ensure_known):
        with pytest.raises(MachineError) as raised:
            await ensure(fleet)
        assert "which a newer release has made" in raised.value.detail
        assert "docs/how-to/upgrade.md" in str(raised.value.hint)
