"""How many instances a customer has, in a real control database."""

import uuid

import pytest

from tenantry.base.errors import NotFound
from tenantry.base.ids import new_id
from tenantry.control import audit, customers, moves, operations, plans, replaced
from tenantry.control.database_counts import count_instances
from tenantry.control.store import ControlStore, Tx


async def cluster(tx: Tx, name: str, port: int, kind: str = "dedicated") -> uuid.UUID:
    cluster_id = new_id()
    await tx.execute(
        "INSERT INTO clusters (id, name, kind, driver, version, socket_dir, port)"
        " VALUES (%s, %s, %s, 'process', 15, '/nowhere', %s)",
        (cluster_id, name, kind, port),
    )
    return cluster_id


async def database(tx: Tx, name: str, cluster_id: uuid.UUID, customer: uuid.UUID) -> uuid.UUID:
    database_id = new_id()
    await tx.execute(
        "INSERT INTO databases (id, cluster_id, database_name, username, status, friendly_name,"
        " customer_id) VALUES (%s, %s, %s, %s, 'active', 'x', %s)",
        (database_id, cluster_id, f"tenant_{name}", f"user_{name}", customer),
    )
    return database_id


async def moving(
    tx: Tx, database_id: uuid.UUID, customer: uuid.UUID, target: uuid.UUID
) -> uuid.UUID:
    return await operations.insert(
        tx,
        kind="database.move",
        resource_kind="database",
        resource_id=database_id,
        customer_id=customer,
        params={"target_id": str(target)},
    )


async def test_where_its_databases_are_go_and_have_been_counts(store: ControlStore) -> None:
    async with store.transaction(audit.PLATFORM) as tx:
        ann, bob = [
            await customers.ensure(tx, f"{name}@example.com", field="x", may_be_new=True)
            for name in ("ann", "bob")
        ]
        shared = await cluster(tx, "shared-1", 5432, "shared")
        first, second, third = [
            await cluster(tx, f"db-{number}", 5500 + number) for number in (1, 2, 3)
        ]
        shop = await database(tx, "shop", shared, ann)
        blog = await database(tx, "blog", shared, ann)
        await database(tx, "else", third, bob)
        assert await count_instances(tx, ann) == 0
        # Two databases move at once.
        operation = await moving(tx, shop, ann, first)
        assert await count_instances(tx, ann) == 1
        failing = await moving(tx, blog, ann, second)
        assert await count_instances(tx, ann) == 2
        await operations.finish(tx, failing, "failed")
        assert await count_instances(tx, ann) == 1
        # The one has been switched, and its operation goes on for a while.
        await moves.switch(tx, shop, target=first, operation_id=operation, size=1, seconds=1)
        assert await count_instances(tx, ann) == 1
        await operations.finish(tx, operation, "succeeded")
        assert await count_instances(tx, ann) == 1
        # It goes back to the shared cluster: what it leaves is retained.
        back = await moving(tx, shop, ann, shared)
        await moves.switch(tx, shop, target=shared, operation_id=back, size=1, seconds=1)
        await replaced.keep(
            tx, shop, "tenant_shop_before_1", cluster_id=first, operation_id=back, days=7
        )
        await operations.finish(tx, back, "succeeded")
        assert await count_instances(tx, ann) == 1
        await replaced.remove(tx, "tenant_shop_before_1", shop)
        assert await count_instances(tx, ann) == 0
        assert await count_instances(tx, bob) == 1


async def test_a_customer_that_is_gone_has_no_plan_without_limits(store: ControlStore) -> None:
    async with store.transaction(audit.PLATFORM) as tx:
        ann = await customers.ensure(tx, "ann@example.com", field="x", may_be_new=True)
        found = await plans.of_customer(tx, ann)
        assert (found and found.name) == plans.DEFAULT
        assert await plans.of_customer(tx, None) is None
        with pytest.raises(NotFound, match="no such customer"):
            await plans.of_customer(tx, new_id())
