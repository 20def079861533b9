"""Begins, lists and cancels operations, and carries out those that are due, across crashes.

The row is the truth. A worker holds it by a lease that it renews while a step runs; the next worker
takes up what a dead one held, at the step that it had reached.
"""

import asyncio
import contextlib
import dataclasses
import time
import uuid
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

import psycopg
import structlog
from pydantic import ValidationError

from tenantry.base.errors import (
    Conflict,
    InvalidInput,
    NotFound,
    TenantryError,
    TooManyAtOnce,
)
from tenantry.base.events import JobFailed, emit
from tenantry.base.ids import new_id
from tenantry.base.pausing import end_if_cancelled
from tenantry.base.suggestions import did_you_mean
from tenantry.control import audit, databases, leases, pages
from tenantry.control import operations as rows
from tenantry.control.audit import Actor
from tenantry.control.operations import Filter, OperationRow
from tenantry.control.pages import Page
from tenantry.control.store import ControlStore, Tx
from tenantry.services.operations.model import (
    ROOM,
    AnyFlow,
    Kind,
    Lane,
    P,
    Part,
    Queued,
    S,
    by_lane,
)
from tenantry.services.operations.runner import LEASE, Lost, MayGoOn, Runner

log = structlog.get_logger()

_MOST_OF_A_CUSTOMER = 100  # unfinished: each stores what was sent with it, up to 1 MiB
_RETRY_SECONDS = 10
_ASK_SECONDS = 0.05
_LOOK_SECONDS = 1.0  # operations that wait, or were put off, become due without a wake-up


async def _anybody(_: Actor, __: uuid.UUID | None) -> bool:
    return True


async def _nobody() -> None:
    """Wake no other process: the one that carries operations out looks for them every second."""


async def _nothing(_: OperationRow) -> None:
    """Do nothing after an operation was abandoned."""


class Operations:
    """All operations. Capabilities register their flows here.

    An operation whose actor loses the right to it (``may_go_on``) is given up as if it were
    cancelled. ``wake_others`` notifies other processes of a new operation; ``release`` ends what an
    abandoned one may have left waiting.
    """

    def __init__(
        self,
        store: ControlStore,
        *,
        may_go_on: MayGoOn = _anybody,
        wake_others: Callable[[], Awaitable[None]] = _nobody,
        release: Callable[[OperationRow], Awaitable[None]] = _nothing,
    ) -> None:
        self._store = store
        self._may_go_on = may_go_on
        self._wake_others = wake_others
        self._release = release
        self._woken = asyncio.Event()
        self._flows: dict[str, AnyFlow] = {}
        self._holder = new_id()
        self._running: dict[uuid.UUID, str] = {}  # of which kind each is

    def register(self, *flows: AnyFlow) -> None:
        """Register the flows that carry out operations of their kinds."""
        self._flows |= {flow.kind.name: flow for flow in flows}

    # ── verbs ────────────────────────────────────────────────────────────────

    async def begin(
        self,
        tx: Tx,
        actor: Actor,
        kind: Kind[P, S],
        params: P,
        *,
        resource_kind: str,
        resource_id: uuid.UUID,
        customer_id: uuid.UUID | None,
        exclusive: bool = True,
    ) -> OperationRow:
        """Create an operation; it begins after ``tx`` is committed, which wakes its process.

        Raises Conflict if it is exclusive and the resource has another exclusive operation;
        TooManyAtOnce if too many of the customer's operations have not ended.
        """
        if actor.customer_id is not None:
            await self._require_room(tx, actor.customer_id)
        operation_id = await rows.insert(
            tx,
            kind=kind.name,
            resource_kind=resource_kind,
            resource_id=resource_id,
            customer_id=customer_id,
            actor=_written(actor),
            params=params.model_dump(mode="json"),
            exclusive=exclusive,
        )
        tx.in_background(self._wake)
        return await self._find(tx, actor, operation_id)

    async def _wake(self) -> None:
        self.wake()
        await self._wake_others()

    def wake(self) -> None:
        """Make this process look for due operations now, if it carries any out."""
        self._woken.set()

    async def _require_room(self, tx: Tx, customer_id: uuid.UUID) -> None:
        if await rows.count_unfinished(tx, customer_id) >= _MOST_OF_A_CUSTOMER:
            raise TooManyAtOnce(
                f"{_MOST_OF_A_CUSTOMER} operations of this customer wait or run.",
                seconds=_RETRY_SECONDS,
                hint="Wait until one has ended, or cancel some: GET /api/operations lists them.",
            )

    async def show(self, actor: Actor, operation_id: uuid.UUID) -> OperationRow:
        """Return one operation. Raises NotFound, the same for an unknown and a foreign one."""
        async with self._store.transaction(actor) as tx:
            return await self._find(tx, actor, operation_id)

    async def ended(self, actor: Actor, operation_id: uuid.UUID, *, seconds: float) -> OperationRow:
        """Return one operation once it has ended, or after so many seconds. Raises as ``show``."""
        deadline = time.monotonic() + seconds
        while True:
            row = await self.show(actor, operation_id)
            if row.finished_at is not None or time.monotonic() >= deadline:
                return row
            await asyncio.sleep(_ASK_SECONDS)

    async def page(
        self, actor: Actor, wanted: Filter, *, cursor: str | None, limit: int
    ) -> Page[OperationRow]:
        """Return operations, newest first. Raises InvalidInput for a bad cursor or kind."""
        after = pages.read_key(cursor)
        async with self._store.transaction(actor) as tx:
            found = await rows.page(
                tx, wanted, customer_id=actor.customer_id, after=after, limit=limit + 1
            )
        if not found and wanted.kind is not None and wanted.kind not in self._flows:
            kinds = sorted(self._flows)
            meant = did_you_mean(wanted.kind, kinds) or f"They are {', '.join(kinds)}."
            raise InvalidInput.of("kind", f"there is no kind “{wanted.kind}”. {meant}")
        return pages.cut(found, limit, lambda row: (row.created_at, row.id))

    async def queued(self) -> list[Queued]:
        """Return, by lane, the operations that wait for room there, or for their owner's others."""
        async with self._store.transaction(audit.PLATFORM) as tx:
            return by_lane(await rows.queued(tx), self._flows)

    async def cancel(self, tx: Tx, actor: Actor, operation_id: uuid.UUID) -> OperationRow:
        """Cancel an operation and undo its completed steps.

        Raises NotFound, and Conflict if it has ended, is being undone, or is in a final step.
        """
        row = await self._find(tx, actor, operation_id)
        if row.status not in {"queued", "running"}:
            raise Conflict(f"The operation has already {row.status}.")
        flow = self._flows.get(row.kind)
        if flow is None or row.undoing or flow.step(row.step).final:
            raise Conflict(
                "The operation has come too far to be cancelled.", hint="It ends by itself soon."
            )
        await rows.ask_to_cancel(tx, operation_id)
        await audit.record(
            tx,
            actor,
            "operation.cancel",
            resource_kind="operation",
            resource_id=row.id,
            resource_name=_name_of(row),
        )
        tx.in_background(self._wake)
        return await self._find(tx, actor, operation_id)

    async def abandon(self, tx: Tx, actor: Actor, operation_id: uuid.UUID) -> OperationRow:
        """End an operation at once, without undoing what it did. For administrators.

        The last resort for one that neither ends nor can be undone: its resource is free again.
        What it left (files, side clusters, logins) is removed by reconciliation; a database that it
        was still creating is deleted. The process that carries it out stops within a second.

        Raises NotFound, and Conflict if it has ended, or is a deletion.
        """
        row = await self._find(tx, actor, operation_id)
        if row.status not in {"queued", "running"}:
            raise Conflict(f"The operation has already {row.status}.")
        if row.kind not in self._flows:
            raise Conflict(
                "A deletion cannot be abandoned.", hint="Reconciliation completes it, each minute."
            )
        await _abandon(tx, row, f"{actor.name} abandoned it at step {row.step or 'none'}")
        await audit.record(
            tx,
            actor,
            "operation.abandon",
            resource_kind="operation",
            resource_id=row.id,
            resource_name=_name_of(row),
        )
        tx.in_background(partial(self._release, row))
        return await self._find(tx, actor, operation_id)

    async def _find(self, tx: Tx, actor: Actor, operation_id: uuid.UUID) -> OperationRow:
        row = await rows.find(tx, operation_id, customer_id=actor.customer_id)
        if row is None:
            raise NotFound("There is no such operation.", hint="GET /api/operations lists yours.")
        return row

    # ── carrying out ─────────────────────────────────────────────────────────

    async def carry_out(self, part: Part) -> None:
        """Run a part's operations as they become due, until cancelled.

        Only one process of each part may do so: it continues what another one began.
        """
        async with asyncio.TaskGroup() as tasks:
            started = False
            while True:
                end_if_cancelled()
                self._woken.clear()
                try:
                    if not started:
                        await self.take_over(part)
                        started = True
                    await self.start_due(tasks, part)
                except TenantryError as error:
                    emit(JobFailed("operations", str(error)))
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._woken.wait(), _LOOK_SECONDS)

    def _kinds(self, part: Part, *lanes: Lane) -> list[str]:
        return [
            kind
            for kind, flow in self._flows.items()
            if flow.part == part and flow.lane in (lanes or ROOM)
        ]

    async def take_over(self, part: Part = "worker") -> None:
        """Release the part's operations that a former process held. Call it once, at the start."""
        async with self._store.transaction(audit.PLATFORM) as tx:
            await leases.release_all(tx, self._kinds(part))

    async def start_due(self, tasks: asyncio.TaskGroup, part: Part = "worker") -> int:
        """Begin the due operations for which their lanes have room. Return their number."""
        return sum([await self._start(tasks, self._kinds(part, lane), lane) for lane in ROOM])

    async def _start(self, tasks: asyncio.TaskGroup, kinds: Sequence[str], lane: Lane) -> int:
        if not kinds:
            return 0
        async with self._store.transaction(audit.PLATFORM) as tx:
            taken = await leases.take(
                tx,
                kinds,
                holder=self._holder,
                lease=LEASE,
                most=ROOM[lane].total,
                most_each=ROOM[lane].each,
                running=[each for each, kind in self._running.items() if kind in kinds],
            )
        for row in taken:
            self._running[row.id] = row.kind
            task = tasks.create_task(self._carry_out(row))
            task.add_done_callback(partial(self._ended, row.id))
        return len(taken)

    def _ended(self, operation_id: uuid.UUID, _: object) -> None:
        self._running.pop(operation_id, None)

    async def _carry_out(self, row: OperationRow) -> None:
        flow = self._flows[row.kind]
        try:
            run = Runner(self._store, row, flow, self._holder, self._may_go_on)
            while await run.go_on():
                pass
        except ValidationError as error:  # written by a release with other fields
            log.warning("operation.unreadable", operation=str(row.id), error=str(error))
            async with self._store.transaction(audit.PLATFORM) as tx:
                await _abandon(
                    tx,
                    row,
                    "Another release of Tenantry began it, and this one cannot read its parameters",
                    hint="Start it again. Reconciliation removes what it left.",
                )
        except Lost:
            log.info("operation.lost", operation=str(row.id))
        except (TenantryError, psycopg.Error, OSError) as error:
            # The control database is down: once it is up, this worker takes the operation again.
            log.warning("operation.interrupted", operation=str(row.id), error=str(error))
        except Exception:
            log.exception("operation.interrupted", operation=str(row.id))


def _name_of(row: OperationRow) -> str:
    """The name of an operation in the audit: ``database.import of tenant_b7kx2mw9qz4p``."""
    return row.kind if row.resource_name is None else f"{row.kind} of {row.resource_name}"


async def _abandon(tx: Tx, row: OperationRow, why: str, *, hint: str | None = None) -> None:
    """End an operation without undoing it; a database that it was still creating is deleted."""
    await rows.abandon(
        tx,
        row.id,
        {
            "code": "operation_abandoned",
            "title": "The operation was abandoned",
            "detail": f"{why}; what it had done was not undone.",
            **({"hint": hint} if hint else {}),
        },
    )
    if row.resource_kind == "database":
        await databases.delete_unfinished(tx, row.resource_id)


def _written(actor: Actor) -> dict[str, object]:
    found = dataclasses.asdict(actor)
    return {name: str(value) for name, value in found.items() if value is not None}
