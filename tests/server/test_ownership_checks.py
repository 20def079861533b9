"""Which databases are looked into next, of those that are due."""

import datetime as dt
import uuid

import pytest

from tenantry.control import audit, ownership
from tenantry.control.store import ControlStore

NAMES = [f"tenant_{number}" for number in range(5)]


@pytest.fixture
async def cluster(store: ControlStore) -> uuid.UUID:
    """A cluster's row."""
    made = uuid.uuid4()
    async with store.transaction(audit.PLATFORM) as tx:
        await tx.execute(
            "INSERT INTO clusters (id, name, kind, driver, version, socket_dir, port)"
            " VALUES (%s, 'shared-9', 'shared', 'process', 15, '/nowhere', 1)",
            (made,),
        )
    return made


async def take(
    store: ControlStore, cluster: uuid.UUID, *, hours: float = 1, names: list[str] = NAMES
) -> list[str]:
    before = dt.datetime.now(dt.UTC) - dt.timedelta(hours=hours)
    async with store.transaction(audit.PLATFORM) as tx:
        return await ownership.take_due(tx, cluster, names, before=before, limit=2)


async def test_who_was_tried_is_last_though_its_check_failed(
    store: ControlStore, cluster: uuid.UUID
) -> None:
    """Those that always fail would else be the only ones that are ever looked into."""
    first, second, third, fourth = [await take(store, cluster) for _ in range(4)]
    assert first == NAMES[:2]
    assert second == NAMES[2:4]
    assert third == [NAMES[4], NAMES[0]]
    assert fourth == NAMES[1:3]


async def test_who_was_checked_is_not_due_for_an_hour(
    store: ControlStore, cluster: uuid.UUID
) -> None:
    for name in await take(store, cluster):
        async with store.transaction(audit.PLATFORM) as tx:
            await ownership.record(tx, cluster, name, ["table public.t of somebody"])
    assert await take(store, cluster) == NAMES[2:4]
    assert await take(store, cluster, hours=0) == [NAMES[4], NAMES[0]]
    async with store.transaction(audit.PLATFORM) as tx:
        assert set(await ownership.findings(tx)) == set(NAMES[:2])
    await take(store, cluster, names=NAMES[1:])
    async with store.transaction(audit.PLATFORM) as tx:
        assert set(await ownership.findings(tx)) == {NAMES[1]}
