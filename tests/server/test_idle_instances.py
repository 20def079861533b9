"""Whether an instance may be suspended, with verbs and operations in a real control database."""

import uuid

import pytest

from tenantry.base.ids import new_id
from tenantry.control import audit, databases, operations
from tenantry.control.store import ControlStore
from tenantry.services.instances.suspending import while_idle


async def idle(store: ControlStore, cluster_id: uuid.UUID) -> bool:
    async with while_idle(store, cluster_id) as found:
        return found


@pytest.fixture
async def instance(store: ControlStore) -> tuple[uuid.UUID, uuid.UUID]:
    """The ids of an instance that is suspended when it is idle, and of its database."""
    cluster, database = new_id(), new_id()
    async with store.transaction(audit.PLATFORM) as tx:
        await tx.execute(
            "INSERT INTO clusters (id, name, kind, driver, version, socket_dir, port)"
            " VALUES (%s, 'db-bcdfgh', 'dedicated', 'process', 15, '/nowhere', 5500)",
            (cluster,),
        )
        await tx.execute(
            "INSERT INTO databases (id, cluster_id, database_name, username, status,"
            " friendly_name, auto_suspend_seconds)"
            " VALUES (%s, %s, 'tenant_bcdfgh', 'user_bcdfgh', 'active', 'x', 60)",
            (database, cluster),
        )
    return cluster, database


async def test_none_is_suspended_that_an_operation_is_about(
    store: ControlStore, instance: tuple[uuid.UUID, uuid.UUID]
) -> None:
    cluster, database = instance
    assert await idle(store, cluster)
    async with store.transaction(audit.PLATFORM) as tx:
        await databases.lock(tx, database, wait=True)
        # A verb has looked whether it is awake, and nobody sees its operation yet.
        async with while_idle(store, cluster) as found:
            assert not found
        operation = await operations.insert(
            tx,
            kind="instance.restart",
            resource_kind="database",
            resource_id=database,
            customer_id=None,
        )
    assert not await idle(store, cluster)
    async with store.transaction(audit.PLATFORM) as tx:
        await operations.finish(tx, operation, "succeeded")
    assert await idle(store, cluster)


async def test_no_verb_begins_while_one_is_being_suspended(
    store: ControlStore, instance: tuple[uuid.UUID, uuid.UUID]
) -> None:
    cluster, database = instance
    async with while_idle(store, cluster) as found:
        assert found
        async with store.long_transaction(audit.PLATFORM) as tx:
            assert await databases.lock(tx, database, wait=False) is None


async def test_none_is_suspended_that_its_database_has_left(
    store: ControlStore, instance: tuple[uuid.UUID, uuid.UUID]
) -> None:
    cluster, _ = instance
    async with store.transaction(audit.PLATFORM) as tx:
        await tx.execute("DELETE FROM databases WHERE cluster_id = %s", (cluster,))
    assert not await idle(store, cluster)
    assert not await idle(store, new_id())
