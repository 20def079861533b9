"""What follows a commit: done once, in order, and never after a rollback."""

import asyncio

import psycopg
import pytest

from tenantry.control import audit
from tenantry.control.store import ControlStore


class Work:
    """Notes what was done; two of its methods are the same follow-up if they are equal."""

    def __init__(self) -> None:
        self.done: list[str] = []

    async def first(self) -> None:
        self.done.append("first")

    async def second(self) -> None:
        self.done.append("second")

    async def fail(self) -> None:
        raise OSError("broken")


async def test_awaited_work_is_done_once_and_in_order_when_the_block_ends(
    store: ControlStore,
) -> None:
    work = Work()
    for transaction in (store.transaction, store.long_transaction):
        work.done.clear()
        async with transaction(audit.PLATFORM) as tx:
            tx.after_commit(work.second)
            tx.after_commit(work.first)
            tx.after_commit(work.second)
            assert work.done == []
        assert work.done == ["second", "first"]


async def test_it_sees_the_committed_change(store: ControlStore) -> None:
    found: list[object] = []

    async def look() -> None:
        async with store.transaction(audit.PLATFORM) as tx:
            rows = await tx.execute("SELECT email FROM customers WHERE email = 'f@example.com'")
            found.append(await rows.fetchone())

    async with store.transaction(audit.PLATFORM) as tx:
        await tx.execute(
            "INSERT INTO customers (id, email) VALUES (gen_random_uuid(), 'f@example.com')"
        )
        tx.after_commit(look)
    assert found == [("f@example.com",)]


async def test_nothing_follows_a_rollback_nor_the_next_transaction(store: ControlStore) -> None:
    work = Work()

    async def change() -> None:
        async with store.transaction(audit.PLATFORM) as tx:
            tx.after_commit(work.first)
            tx.in_background(work.first)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        await change()
    for _ in range(12):  # each connection of the pool
        async with store.transaction(audit.PLATFORM):
            pass
    await store.background.finish()
    assert work.done == []


async def test_nothing_follows_a_commit_that_fails(store: ControlStore) -> None:
    work = Work()

    async def change() -> None:
        async with store.transaction(audit.PLATFORM) as tx:
            tx.after_commit(work.first)
            await tx.execute(
                "CREATE TEMP TABLE t (n int UNIQUE DEFERRABLE INITIALLY DEFERRED) ON COMMIT DROP;"
                " INSERT INTO t VALUES (1), (1)"
            )

    with pytest.raises(psycopg.errors.UniqueViolation):
        await change()
    assert work.done == []


async def test_background_work_begins_after_the_commit_and_is_waited_for_by_nobody(
    store: ControlStore,
) -> None:
    work, released = Work(), asyncio.Event()

    async def wait() -> None:
        await released.wait()
        await work.first()

    async with store.transaction(audit.PLATFORM) as tx:
        tx.in_background(wait)
        tx.in_background(work.fail)
        tx.after_commit(work.second)
    assert work.done == ["second"]
    released.set()
    await store.background.finish()
    assert work.done == ["second", "first"]


async def test_what_awaited_work_raises_the_opener_raises(store: ControlStore) -> None:
    work = Work()

    async def change() -> None:
        async with store.transaction(audit.PLATFORM) as tx:
            tx.in_background(work.first)
            tx.after_commit(work.fail)

    with pytest.raises(OSError, match="broken"):
        await change()
    await store.background.finish()
    assert work.done == ["first"]


async def test_work_of_an_inner_transaction_follows_its_own_commit(store: ControlStore) -> None:
    work = Work()
    async with store.transaction(audit.PLATFORM) as outer:
        outer.after_commit(work.second)
        async with store.transaction(audit.PLATFORM) as inner:
            inner.after_commit(work.first)
        assert work.done == ["first"]
    assert work.done == ["first", "second"]
