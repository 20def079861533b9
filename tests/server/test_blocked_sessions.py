"""Sessions that wait for a lock, as an alert reports them."""

import asyncio
from contextlib import suppress

import psycopg
from tenants import Connection, Tenant

from tenantry.pg import database_activity


async def waiting(platform: Connection, seconds: float) -> dict[str, tuple[int, list[int]]]:
    found = await database_activity.blocked(platform, seconds=seconds)
    assert all(each.longest_seconds >= seconds for each in found.values())
    return {name: (each.sessions, each.blockers) for name, each in found.items()}


async def test_sessions_that_wait_for_a_lock_are_found_with_who_holds_it(
    platform: Connection, tenant: Tenant
) -> None:
    name = tenant.databases[0]
    async with await tenant.session() as owner:
        await owner.execute("CREATE TABLE held (i int)")
        assert await waiting(platform, 0) == {}
        sessions = [await tenant.session() for _ in range(2)]
        async with owner.transaction():
            await owner.execute("LOCK TABLE held")
            tasks = [asyncio.ensure_future(each.execute("SELECT FROM held")) for each in sessions]
            holder = owner.info.backend_pid
            while True:
                if await waiting(platform, 0) == {name: (2, [holder])}:
                    break
                await asyncio.sleep(0.01)
            assert await waiting(platform, 3600) == {}
        await asyncio.gather(*tasks)
        assert await waiting(platform, 0) == {}
        for each in sessions:
            with suppress(psycopg.Error):
                await each.close()
