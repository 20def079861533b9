"""Operations against a real control database: steps, failures, cancellation, lost workers."""

import asyncio
import dataclasses
import datetime as dt
import uuid
from collections.abc import Callable, Sequence
from functools import partial
from importlib import resources
from typing import Any

import psycopg
import pytest

from tenantry.base.errors import Conflict, MachineError, NotFound, TooManyAtOnce, Unavailable
from tenantry.control import audit
from tenantry.control import customers as control_customers
from tenantry.control.audit import Actor
from tenantry.control.operations import Filter, OperationRow
from tenantry.control.store import DATABASE, MIGRATIONS, ControlStore
from tenantry.pg.connections import ADMIN, Address, connect
from tenantry.services.migrations import service as migrations
from tenantry.services.migrations.folder import load
from tenantry.services.operations import service as operations_service
from tenantry.services.operations.model import (
    ROOM,
    Done,
    Flow,
    Kind,
    Next,
    Outcome,
    Params,
    State,
    Step,
    Wait,
)
from tenantry.services.operations.model import Run as RunOf
from tenantry.services.operations.service import Operations

ANN = Actor("user", "ann@example.com", id=uuid.uuid4(), address="192.0.2.7")


class Asked(Params):
    looked_for: str = ""


class Kept(State):
    found: Any = None
    by: str = ""


WORK = Kind("test.work", Asked, Kept)
Run = RunOf[Asked, Kept]


class Work:
    """A flow of steps that tests decide on, and what was called."""

    def __init__(self, *, final: str = "") -> None:
        self.calls: list[str] = []
        self.acts: dict[str, Callable[[Run], Outcome]] = {}
        self.waits: dict[str, asyncio.Event] = {}
        self.started = asyncio.Event()
        self.undo_fails = 0
        self.flow = Flow(
            WORK,
            [
                Step(name, self._act(name), share=share, final=name == final)
                for name, share in (("first", 1), ("second", 3))
            ],
            undo=self._undo,
            deadline=dt.timedelta(hours=1),
        )

    def _act(self, name: str) -> "Callable[[Run], asyncio.Future[Outcome]]":
        async def act(run: Run) -> Outcome:
            self.calls.append(name)
            if name in self.waits:
                self.started.set()
                await self.waits[name].wait()
            if name in self.acts:
                return self.acts[name](run)
            return Next() if name == "first" else Done({"steps": list(self.calls)})

        return act  # type: ignore[return-value]

    async def _undo(self, _: Run) -> None:
        self.calls.append("undo")
        if self.undo_fails:
            self.undo_fails -= 1
            raise MachineError("The disk is full.")


async def want(
    store: ControlStore, operations: Operations, params: Asked | None = None, **asked: object
) -> OperationRow:
    async with store.transaction(ANN) as tx:
        return await operations.begin(
            tx,
            ANN,
            WORK,
            params or Asked(),
            resource_kind="database",
            resource_id=uuid.uuid4(),
            customer_id=None,
            **asked,  # type: ignore[arg-type]
        )


async def carried_out(operations: Operations, wanted: OperationRow) -> OperationRow:
    """The operation, once it has ended."""
    async with asyncio.timeout(10):
        while True:
            async with asyncio.TaskGroup() as tasks:
                await operations.start_due(tasks)
            row = await operations.show(ANN, wanted.id)
            if row.finished_at is not None:
                return row
            await asyncio.sleep(0.02)


def ready(store: ControlStore, work: Work) -> Operations:
    operations = Operations(store)
    operations.register(work.flow)
    return operations


async def test_steps_follow_each_other_and_keep_what_they_found(store: ControlStore) -> None:
    work = Work()

    def first(run: Run) -> Outcome:
        assert run.actor == ANN
        run.state.found = run.params.looked_for
        return Next()

    work.acts["first"] = first
    work.acts["second"] = lambda run: Done({"found": run.state.found})
    operations = ready(store, work)
    wanted = await want(store, operations, params=Asked(looked_for="a needle"))
    assert (wanted.status, wanted.progress) == ("queued", 0)
    row = await carried_out(operations, wanted)
    assert (row.status, row.progress, row.result) == ("succeeded", 1, {"found": "a needle"})
    assert work.calls == ["first", "second"]


async def test_a_step_that_waits_begins_again(store: ControlStore) -> None:
    work = Work()
    work.acts["first"] = lambda _: Wait(0.01) if len(work.calls) < 3 else Next()
    operations = ready(store, work)
    row = await carried_out(operations, await want(store, operations))
    assert row.status == "succeeded"
    assert work.calls == ["first", "first", "first", "second"]


async def test_a_failure_is_taken_back_reported_and_recorded(store: ControlStore) -> None:
    work = Work()
    work.undo_fails = 1

    def second(_: Run) -> Outcome:
        raise MachineError("The disk is full.", hint="Free some of it.")

    work.acts["second"] = second
    operations = ready(store, work)
    row = await carried_out(operations, await want(store, operations))
    assert row.status == "failed"
    assert row.error is not None
    assert row.error["detail"] == "The disk is full."
    assert row.error["hint"] == "Free some of it."
    assert work.calls == ["first", "second", "undo", "undo"]
    async with store.transaction(audit.PLATFORM) as tx:
        (reported,) = await audit.page(
            tx, audit.Filter(action="test.work"), customer_id=None, before=2**62, limit=10
        )
    assert (reported.actor_name, reported.result, reported.address) == (
        ANN.name,
        "failed",
        "192.0.2.7",
    )


@pytest.mark.parametrize("shows", [False, True])
async def test_the_audit_is_reported_once_that_one_has_succeeded(
    store: ControlStore, shows: bool
) -> None:
    work = Work()
    work.flow = dataclasses.replace(work.flow, records_audit=shows)  # by a step: none here
    operations = ready(store, work)
    row = await carried_out(operations, await want(store, operations))
    assert row.status == "succeeded"
    async with store.transaction(audit.PLATFORM) as tx:
        reported = await audit.page(
            tx, audit.Filter(action="test.work"), customer_id=None, before=2**62, limit=10
        )
    found = [(each.result, each.resource_id, each.details) for each in reported]
    expected = ("ok", str(row.resource_id), {"operation_id": str(row.id)})
    assert found == ([] if shows else [expected])


async def test_outcomes_of_the_audit_go_back_to_what_they_were(
    store: ControlStore, address: Address
) -> None:
    async with store.transaction(audit.PLATFORM) as tx:
        for result in ("ok", "accepted"):
            await audit.record(tx, ANN, "test.work", resource_kind="x", result=result)
    folder = resources.files(MIGRATIONS)
    async with connect(address, user=ADMIN, dbname=DATABASE, search_path="public") as admin:
        before = max(each.version for each in load(folder) if each.version < 32)
        await migrations.goto(admin, folder, before)
        found = await admin.execute("SELECT result FROM audit_logs ORDER BY id")
        assert await found.fetchall() == [("ok",), ("ok",)]
        with pytest.raises(psycopg.errors.CheckViolation):
            await admin.execute("UPDATE audit_logs SET result = 'accepted'")
        await migrations.up(admin, folder)


async def test_nothing_of_an_unforeseen_error_is_shown(store: ControlStore) -> None:
    work = Work()

    def first(_: Run) -> Outcome:
        raise ValueError("the password is hunter2")

    work.acts["first"] = first
    operations = ready(store, work)
    row = await carried_out(operations, await want(store, operations))
    assert row.status == "failed"
    assert "hunter2" not in str(row)
    assert work.calls == ["first", "undo"]


@pytest.mark.parametrize(
    "error",
    [
        Unavailable("It is being started."),
        psycopg.errors.InternalError_("tuple concurrently updated"),
        psycopg.errors.DuplicateDatabase("who died is making it still"),
        psycopg.errors.UniqueViolation("it was made meanwhile"),
    ],
)
async def test_what_passes_is_tried_again(store: ControlStore, error: Exception) -> None:
    work = Work()

    def second(_: Run) -> Outcome:
        if work.calls.count("second") == 1:
            raise error
        return Done({})

    work.acts["second"] = second
    operations = ready(store, work)
    row = await carried_out(operations, await want(store, operations))
    assert row.status == "succeeded"
    assert work.calls == ["first", "second", "second"]


async def test_a_final_step_is_never_given_up(store: ControlStore) -> None:
    work = Work(final="second")

    def second(_: Run) -> Outcome:
        if work.calls.count("second") == 1:
            raise MachineError("The disk is full.")
        return Done({})

    work.acts["second"] = second
    operations = ready(store, work)
    row = await carried_out(operations, await want(store, operations))
    assert (row.status, work.calls) == ("succeeded", ["first", "second", "second"])


async def test_one_is_cancelled_in_the_middle_of_a_step(store: ControlStore) -> None:
    work = Work()
    work.waits["second"] = asyncio.Event()
    operations = ready(store, work)
    wanted = await want(store, operations)
    async with asyncio.timeout(10), asyncio.TaskGroup() as tasks:
        await operations.start_due(tasks)
        await work.started.wait()
        async with store.transaction(ANN) as tx:
            assert (await operations.cancel(tx, ANN, wanted.id)).cancel_requested
    row = await operations.show(ANN, wanted.id)
    assert (row.status, row.error) == ("cancelled", None)
    assert work.calls == ["first", "second", "undo"]
    async with store.transaction(ANN) as tx:
        with pytest.raises(Conflict, match="already cancelled"):
            await operations.cancel(tx, ANN, wanted.id)


async def test_one_that_has_not_started_is_cancelled(store: ControlStore) -> None:
    work = Work()
    operations = ready(store, work)
    wanted = await want(store, operations)
    async with store.transaction(ANN) as tx:
        await operations.cancel(tx, ANN, wanted.id)
    assert (await carried_out(operations, wanted)).status == "cancelled"
    assert work.calls == ["undo"]


async def test_final_steps_are_not_cancelled(store: ControlStore) -> None:
    work = Work(final="second")
    work.waits["second"] = asyncio.Event()
    operations = ready(store, work)
    wanted = await want(store, operations)
    async with asyncio.timeout(10), asyncio.TaskGroup() as tasks:
        await operations.start_due(tasks)
        await work.started.wait()
        async with store.transaction(ANN) as tx:
            with pytest.raises(Conflict, match="too far"):
                await operations.cancel(tx, ANN, wanted.id)
        work.waits["second"].set()
    assert (await operations.show(ANN, wanted.id)).status == "succeeded"


async def test_another_worker_carries_on_where_the_first_died(store: ControlStore) -> None:
    died, successor = Work(), Work()
    died.waits["second"] = asyncio.Event()

    def first(run: Run) -> Outcome:
        run.state.by = "died"
        return Next()

    died.acts["first"] = first
    successor.acts["second"] = lambda run: Done({"by": run.state.by})
    operations = ready(store, died)
    wanted = await want(store, operations)
    dying = asyncio.create_task(carried_out(operations, wanted))
    async with asyncio.timeout(10):
        await died.started.wait()
    dying.cancel()
    await asyncio.gather(dying, return_exceptions=True)
    other = ready(store, successor)
    async with asyncio.TaskGroup() as tasks:
        assert await other.start_due(tasks) == 0, "the lease has not ended"
    await other.take_over()
    row = await carried_out(other, wanted)
    assert (row.status, row.result, successor.calls) == ("succeeded", {"by": "died"}, ["second"])


async def test_one_that_was_left_is_gone_on_with_at_once(store: ControlStore) -> None:
    """What it did could not be written down, and its lease is this very worker's."""
    work = Work()

    def first(run: Run) -> Outcome:
        if len(work.calls) == 1:
            run.state.found = object()  # as bad as a control database that is away
        return Next()

    work.acts["first"] = first
    operations = ready(store, work)
    row = await carried_out(operations, await want(store, operations))
    assert (row.status, work.calls) == ("succeeded", ["first", "first", "second"])


async def test_one_of_another_release_is_abandoned_and_says_so(store: ControlStore) -> None:
    operations = ready(store, Work())
    wanted = await want(store, operations)
    async with store.transaction(ANN) as tx:
        await tx.execute(
            "UPDATE operations SET params = '{\"looked_for\": 1}' WHERE id = %s", (wanted.id,)
        )
    row = await carried_out(operations, wanted)
    assert row.status == "failed"
    assert row.error is not None
    assert row.error["code"] == "operation_abandoned"
    assert "Another release" in str(row.error["detail"])


async def test_a_worker_that_lost_its_operation_stops(store: ControlStore) -> None:
    slow, other = Work(), Work()
    slow.waits["first"] = asyncio.Event()
    operations, successors = ready(store, slow), ready(store, other)
    wanted = await want(store, operations)
    async with asyncio.timeout(10), asyncio.TaskGroup() as tasks:
        await operations.start_due(tasks)
        await slow.started.wait()
        await successors.take_over()
        assert (await carried_out(successors, wanted)).status == "succeeded"
    assert slow.calls == ["first"]


async def test_one_that_takes_too_long_is_given_up(store: ControlStore) -> None:
    work = Work()
    work.flow = Flow(WORK, work.flow.steps, work.flow.undo, dt.timedelta(0))
    operations = ready(store, work)
    row = await carried_out(operations, await want(store, operations))
    assert row.status == "failed"
    assert "did not end within" in str(row.error)


async def test_a_resource_is_only_one_operations(store: ControlStore) -> None:
    operations = ready(store, Work())
    wanted = await want(store, operations)
    again = partial(
        operations.begin,
        resource_kind="database",
        resource_id=wanted.resource_id,
        customer_id=None,
    )
    async with store.transaction(ANN) as tx:
        with pytest.raises(Conflict, match="has this database to itself"):
            await again(tx, ANN, WORK, Asked())
        beside = await again(tx, ANN, WORK, Asked(), exclusive=False)
    page = await operations.page(ANN, Filter(resource_id=wanted.resource_id), cursor=None, limit=10)
    assert [row.id for row in page.rows] == [beside.id, wanted.id]


async def test_foreign_operations_are_unknown(store: ControlStore) -> None:
    operations = ready(store, Work())
    wanted = await want(store, operations)
    anonymous = Actor("user", "bob@example.com", customer_id=uuid.uuid4())
    with pytest.raises(NotFound):
        await operations.show(anonymous, wanted.id)
    assert (await operations.page(anonymous, Filter(), cursor=None, limit=10)).rows == []


async def test_bytes_are_reported_while_a_step_runs(store: ControlStore) -> None:
    work = Work()
    operations = Operations(store)
    seen: list[OperationRow] = []

    async def second(run: Run) -> Outcome:
        await run.report(0.5, done_bytes=50, total_bytes=100)
        seen.append(await operations.show(ANN, run.row.id))
        return Done({})

    operations.register(
        Flow(
            WORK,
            [work.flow.steps[0], Step("second", second, share=3)],
            undo=work.flow.undo,
            deadline=dt.timedelta(hours=1),
        )
    )
    await carried_out(operations, await want(store, operations))
    assert [(row.progress, row.done_bytes, row.total_bytes) for row in seen] == [(0.625, 50, 100)]


async def begin_many(
    store: ControlStore,
    operations: Operations,
    kind: str,
    owners: Sequence[uuid.UUID | None],
    *,
    actor: Actor = ANN,
) -> list[OperationRow]:
    """Operations in this order, each of a resource of its own."""
    started = []
    for owner in owners:
        async with store.transaction(actor) as tx:
            started.append(
                await operations.begin(
                    tx,
                    actor,
                    Kind(kind, Asked, Kept),
                    Asked(),
                    resource_kind="database",
                    resource_id=uuid.uuid4(),
                    customer_id=owner,
                )
            )
    return started


async def customers(store: ControlStore, count: int) -> list[uuid.UUID]:
    async with store.transaction(ANN) as tx:
        return [
            await control_customers.ensure(
                tx, f"{number}@example.com", field="owner_email", may_be_new=True
            )
            for number in range(count)
        ]


@dataclasses.dataclass
class Lanes:
    """Flows of two lanes whose operations run until they are let go; and which of them run."""

    store: ControlStore

    def __post_init__(self) -> None:
        self.let_go = asyncio.Event()
        self.undoing = 0
        self.operations = Operations(self.store)
        for lane in ("scripts", "databases"):
            flow = Work().flow
            self.operations.register(
                dataclasses.replace(
                    flow,
                    kind=Kind(f"test.{lane}", Asked, Kept),
                    steps=[Step("only", self._wait)],
                    undo=self._undo,
                    lane=lane,
                    deadline=dt.timedelta(minutes=5),
                )
            )

    async def _wait(self, _: Run) -> Outcome:
        await self.let_go.wait()
        return Done({})

    async def _undo(self, run: Run) -> None:
        self.undoing += 1
        await self._wait(run)

    async def running(self, started: list[OperationRow]) -> list[bool]:
        rows = [await self.operations.show(ANN, each.id) for each in started]
        return [row.status == "running" for row in rows]


async def test_one_customer_has_no_more_than_its_share_of_a_lane(store: ControlStore) -> None:
    lanes = Lanes(store)
    greedy, other = await customers(store, 2)
    first = await begin_many(store, lanes.operations, "test.scripts", [greedy] * 5 + [other])
    beside = await begin_many(store, lanes.operations, "test.databases", [greedy, None])
    async with asyncio.TaskGroup() as tasks:
        assert await lanes.operations.start_due(tasks) == 5
        assert await lanes.running(first) == [True, True, False, False, False, True]
        assert all(await lanes.running(beside)), "another lane"
        assert await lanes.operations.start_due(tasks) == 0, "its share is taken"
        later = await begin_many(store, lanes.operations, "test.scripts", [other, None, None])
        assert await lanes.operations.start_due(tasks) == 3, "of others"
        assert all(await lanes.running(later))
        waiting = {each.lane: each for each in await lanes.operations.queued()}
        assert (waiting["scripts"].count, waiting["databases"].count) == (3, 0)
        assert waiting["scripts"].oldest > dt.timedelta(0)
        lanes.let_go.set()
    async with asyncio.TaskGroup() as tasks:
        assert await lanes.operations.start_due(tasks) == 2
    async with asyncio.TaskGroup() as tasks:
        assert await lanes.operations.start_due(tasks) == 1


async def test_whoever_has_the_fewest_comes_first(store: ControlStore) -> None:
    lanes = Lanes(store)
    several = await customers(store, 4)
    owners = [several[0]] * 3 + [several[1]] * 3 + [several[2]] * 3 + [several[3]]
    started = await begin_many(store, lanes.operations, "test.databases", owners)
    async with asyncio.TaskGroup() as tasks:
        assert await lanes.operations.start_due(tasks) == ROOM["databases"].total == 6
        running = await lanes.running(started)
        assert [running[at] for at in (0, 3, 6, 9)] == [True] * 4
        lanes.let_go.set()


async def test_what_is_cancelled_needs_no_place(store: ControlStore) -> None:
    lanes = Lanes(store)
    (greedy,) = await customers(store, 1)
    started = await begin_many(store, lanes.operations, "test.scripts", [greedy] * 3)
    async with asyncio.TaskGroup() as tasks:
        assert await lanes.operations.start_due(tasks) == 2
        await cancel(store, lanes.operations, started[2:])
        assert await lanes.operations.start_due(tasks) == 1
        lanes.let_go.set()
        ended = await lanes.operations.ended(ANN, started[2].id, seconds=30)
        assert ended.status == "cancelled"


async def cancel(store: ControlStore, operations: Operations, started: list[OperationRow]) -> None:
    for each in started:
        async with store.transaction(ANN) as tx:
            await operations.cancel(tx, ANN, each.id)


async def test_cancelled_ones_take_no_more_places_than_others(store: ControlStore) -> None:
    """However many a customer begins and cancels, and however long undoing takes."""
    lanes = Lanes(store)
    greedy, other = await customers(store, 2)
    each = ROOM["scripts"].each
    started = await begin_many(store, lanes.operations, "test.scripts", [greedy] * 20)
    await cancel(store, lanes.operations, started)
    async with asyncio.TaskGroup() as tasks:
        assert await lanes.operations.start_due(tasks) == each
        more = await begin_many(store, lanes.operations, "test.scripts", [greedy] * 20)
        assert await lanes.operations.start_due(tasks) == each
        await cancel(store, lanes.operations, more)
        await begin_many(store, lanes.operations, "test.scripts", [greedy] * 20)
        assert await lanes.operations.start_due(tasks) == 0, "what it cancelled is still there"
        theirs = await begin_many(store, lanes.operations, "test.scripts", [other])
        assert await lanes.operations.start_due(tasks) == 1
        assert await lanes.running(theirs) == [True]
        lanes.let_go.set()


async def test_a_customer_has_so_many_unfinished_ones(
    store: ControlStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each keeps what was sent with it. What the platform begins for a customer is not counted."""
    monkeypatch.setattr(operations_service, "_MOST_OF_A_CUSTOMER", 3)
    lanes = Lanes(store)
    greedy, other = await customers(store, 2)
    for owner in (greedy, other):
        actor = dataclasses.replace(ANN, customer_id=owner)
        await begin_many(store, lanes.operations, "test.scripts", [owner] * 3, actor=actor)
        with pytest.raises(TooManyAtOnce, match="3 operations of this customer"):
            await begin_many(store, lanes.operations, "test.scripts", [owner], actor=actor)
        await begin_many(store, lanes.operations, "test.scripts", [owner])


async def test_an_abandoned_one_writes_nothing_more(store: ControlStore) -> None:
    """Its step returns before the worker has found that it was abandoned."""
    work = Work()
    work.waits["first"] = asyncio.Event()
    operations = ready(store, work)
    wanted = await want(store, operations)
    async with asyncio.timeout(10), asyncio.TaskGroup() as tasks:
        await operations.start_due(tasks)
        await work.started.wait()
        async with store.transaction(ANN) as tx:
            await operations.abandon(tx, ANN, wanted.id)
        work.waits["first"].set()
    row = await operations.show(ANN, wanted.id)
    assert (row.status, row.step, work.calls) == ("failed", "first", ["first"])


async def test_a_step_ends_at_the_deadline(store: ControlStore) -> None:
    lanes = Lanes(store)
    flow = dataclasses.replace(
        Work().flow,
        kind=Kind("test.late", Asked, Kept),
        steps=[Step("only", lanes._wait)],
        deadline=dt.timedelta(seconds=0.1),
    )
    lanes.operations.register(flow)
    (started,) = await begin_many(store, lanes.operations, "test.late", [None])
    async with asyncio.TaskGroup() as tasks:
        await lanes.operations.start_due(tasks)
        ended = await lanes.operations.ended(ANN, started.id, seconds=30)
    assert ended.status == "failed"
    assert ended.error is not None
    assert "did not end within" in str(ended.error["detail"])
