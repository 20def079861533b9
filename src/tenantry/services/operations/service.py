"""Carries operations out, a step at a time, and continues them after a crash.

The row is the truth. A worker holds it by a lease that it renews while a step runs; the next worker
takes up what a dead one held, at the step that it had reached. If a step fails, what was done is
undone (``Flow.undo``) and the operation has failed; if it fails because a part of the platform is
down, it is tried again.
"""

import asyncio
import contextlib
import dataclasses
import datetime as dt
import errno
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Generic, TypeVar

import psycopg
import structlog
from pydantic import ValidationError

from tenantry.base.errors import (
    Busy,
    Conflict,
    Forbidden,
    NotFound,
    TenantryError,
    TooManyAtOnce,
    Unavailable,
)
from tenantry.base.events import JobFailed, OperationEnded, StepDone, emit
from tenantry.base.ids import new_id, parse_id
from tenantry.base.pausing import end_if_cancelled
from tenantry.control import audit, databases, pages
from tenantry.control import operations as rows
from tenantry.control.audit import Actor
from tenantry.control.operations import Filter, OperationRow
from tenantry.control.pages import Page
from tenantry.control.store import ControlStore, Tx
from tenantry.host import files
from tenantry.host.commands import CommandFailed
from tenantry.services.operations.model import (
    ROOM,
    AnyFlow,
    Done,
    Flow,
    Kind,
    Lane,
    Next,
    P,
    Part,
    Queued,
    S,
    Step,
    Wait,
    by_lane,
)

log = structlog.get_logger()

_MOST_OF_A_CUSTOMER = 100  # unfinished: each stores what was sent with it, up to 1 MiB
_RETRY_SECONDS = 10
_LEASE = dt.timedelta(seconds=30)
_RENEW_SECONDS = 1.0  # also how soon a cancellation is noticed
_TELL_SECONDS = 0.5
_ASK_SECONDS = 0.05
_LOOK_SECONDS = 1.0  # operations that wait, or were put off, become due without a wake-up
_MOST_TRIES = 6
_UNDO = "undo"
# InternalError: PostgreSQL reports two sessions that change the same row of its catalog at once
# in no other way ("tuple concurrently updated").
_PASSING = (
    Unavailable,
    Busy,
    psycopg.OperationalError,
    psycopg.InternalError,
    # PostgreSQL still completes the last statement of a killed worker, and so creates what the
    # next worker did not find.
    psycopg.errors.DuplicateDatabase,
    psycopg.errors.DuplicateObject,
    psycopg.errors.UniqueViolation,
)
_Result = TypeVar("_Result")

# Whether an actor still has its rights on this customer's resources (None: the platform's).
MayGoOn = Callable[[Actor, uuid.UUID | None], Awaitable[bool]]


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
        """Return operations, newest first. Raises InvalidInput for a bad cursor."""
        after = pages.read_key(cursor)
        async with self._store.transaction(actor) as tx:
            found = await rows.page(
                tx, wanted, customer_id=actor.customer_id, after=after, limit=limit + 1
            )
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
            begun = False
            while True:
                end_if_cancelled()
                self._woken.clear()
                try:
                    if not begun:
                        await self.take_over(part)
                        begun = True
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
            await rows.release_all(tx, self._kinds(part))

    async def start_due(self, tasks: asyncio.TaskGroup, part: Part = "worker") -> int:
        """Begin the due operations for which their lanes have room. Return how many were begun."""
        return sum([await self._start(tasks, self._kinds(part, lane), lane) for lane in ROOM])

    async def _start(self, tasks: asyncio.TaskGroup, kinds: Sequence[str], lane: Lane) -> int:
        if not kinds:
            return 0
        async with self._store.transaction(audit.PLATFORM) as tx:
            taken = await rows.take(
                tx,
                kinds,
                holder=self._holder,
                lease=_LEASE,
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
            run = _Running(self._store, row, flow, self._holder, self._may_go_on)
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
        except _Lost:
            log.info("operation.lost", operation=str(row.id))
        except (TenantryError, psycopg.Error, OSError) as error:
            # The control database is down: once it is up, this worker takes the operation again.
            log.warning("operation.left", operation=str(row.id), error=str(error))
        except Exception:
            log.exception("operation.left", operation=str(row.id))


class _Running(Generic[P, S]):
    """One operation that this worker carries out."""

    def __init__(
        self,
        store: ControlStore,
        row: OperationRow,
        flow: Flow[P, S],
        holder: uuid.UUID,
        may_go_on: MayGoOn,
    ) -> None:
        self._store = store
        self._may_go_on = may_go_on
        self.row = row
        self._flow = flow
        self._holder = holder
        self._told = 0.0
        self._step: Step[P, S] | None = None
        self.params = flow.kind.params.model_validate(row.params)
        self.state = flow.kind.state.model_validate(row.state)

    # ── for steps (model.Run) ────────────────────────────────────────────────

    @property
    def actor(self) -> Actor:
        return _read(self.row.actor)

    async def save(self) -> None:
        async with self._transaction() as tx:
            await self._keep_state(tx)

    async def _keep_state(self, tx: Tx) -> None:
        await rows.keep_state(tx, self.row.id, self.state.model_dump(mode="json"))

    async def tell(
        self, fraction: float, *, done_bytes: int | None = None, total_bytes: int | None = None
    ) -> None:
        now = time.monotonic()
        if self._step is None or now - self._told < _TELL_SECONDS:
            return
        self._told = now
        async with self._transaction() as tx:
            await rows.tell_progress(
                tx,
                self.row.id,
                progress=self._flow.progress(self._step, fraction),
                done_bytes=done_bytes,
                total_bytes=total_bytes,
            )

    # ── carrying out ─────────────────────────────────────────────────────────

    async def go_on(self) -> bool:
        """Run the next step. Return whether there is another one to run now."""
        if self.row.undoing:
            return await self._undo()
        step = self._flow.step(self.row.step)
        if self.row.cancel_requested and not step.final:
            return await self._give_up(None)
        if not step.final and not await self._has_the_right():
            return await self._give_up(_forbidden())
        if self._is_late() and not step.final:
            return await self._give_up(self._late())
        return await self._do(step)

    async def _do(self, step: Step[P, S]) -> bool:
        self._step = step
        async with self._holding() as tx:
            await rows.begin_step(tx, self.row.id, step.name, progress=self._flow.progress(step))
        try:
            outcome = await self._watched(step.act(self), cancellable=not step.final)
        except _Cancelled:
            return await self._give_up(None)
        except _Late:
            return await self._give_up(self._late())
        except _Forfeited:
            return await self._give_up(_forbidden())
        except _Lost:
            raise
        except Exception as error:
            told_as = _full_disk(error) or error
            if not isinstance(told_as, TenantryError):
                log.exception("operation.broke", operation=str(self.row.id), step=step.name)
            return await self._failed(step, told_as)
        return await self._move(step, outcome)

    def _late(self) -> Unavailable:
        return Unavailable(
            f"The operation did not end within {self._flow.deadline}.",
            hint="What it had done is taken back. Try again when less is going on.",
        )

    async def _has_the_right(self) -> bool:
        return await self._may_go_on(self.actor, self.row.customer_id)

    def _is_late(self) -> bool:
        started = self.row.started_at
        return started is not None and dt.datetime.now(dt.UTC) - started > self._flow.deadline

    async def _watched(self, work: Awaitable[_Result], *, cancellable: bool) -> _Result:
        """Await ``work`` while renewing the lease, until it ends or has to be given up.

        Raises _Lost; if ``cancellable``, also _Cancelled, _Late and _Forfeited.
        """
        acting = asyncio.ensure_future(work)
        try:
            while True:
                await asyncio.wait([acting], timeout=_RENEW_SECONDS)
                if acting.done():
                    return acting.result()
                async with self._transaction() as tx:
                    wanted = await rows.renew(tx, self.row.id, holder=self._holder, lease=_LEASE)
                if wanted is None:
                    raise _Lost
                if wanted and cancellable:
                    raise _Cancelled
                if cancellable and self._is_late():
                    raise _Late
                if cancellable and not await self._has_the_right():
                    raise _Forfeited
        finally:
            if not acting.done():
                acting.cancel()
                with contextlib.suppress(asyncio.CancelledError, Exception):
                    await acting

    async def _move(self, step: Step[P, S], outcome: Next | Wait | Done) -> bool:
        async with self._holding() as tx:
            await self._keep_state(tx)
            match outcome:
                case Done(result):
                    await rows.finish(tx, self.row.id, "succeeded", result=result)
                    if not self._flow.tells_audit:
                        await self._tell_audit(tx, "ok")
                case Wait(seconds):
                    wait = dt.timedelta(seconds=seconds)
                    await rows.put_off(tx, self.row.id, step=step.name, wait=wait, attempts=0)
                case Next(name):
                    following = self._flow.after(step) if name is None else self._flow.step(name)
                    await rows.begin_step(
                        tx, self.row.id, following.name, progress=self._flow.progress(following)
                    )
            await self._look_again(tx)
        if isinstance(outcome, Done):
            emit(OperationEnded(self.row.kind, "succeeded", self.row.resource_name or ""))
        if not isinstance(outcome, Wait):
            emit(StepDone(self.row.kind, step.name, str(self.row.resource_id)))
        return isinstance(outcome, Next)

    async def _failed(self, step: Step[P, S], error: Exception) -> bool:
        passing = isinstance(error, _PASSING)
        tries = self.row.attempts + 1
        if step.final or (passing and tries < _MOST_TRIES):
            log.warning(
                "operation.tries_again",
                operation=str(self.row.id),
                kind=self.row.kind,
                resource=self.row.resource_name,
                step=step.name,
                error=str(error),
            )
            await self._put_off(step.name, tries)
            return False
        return await self._give_up(error)

    async def _put_off(self, step: str, tries: int) -> None:
        wait = dt.timedelta(seconds=min(30.0, 0.5 * 2**tries))
        async with self._holding() as tx:
            await self._keep_state(tx)
            await rows.put_off(tx, self.row.id, step=step, wait=wait, attempts=tries)

    async def _give_up(self, error: Exception | None) -> bool:
        async with self._holding() as tx:
            await self._keep_state(tx)
            await rows.begin_undo(tx, self.row.id, None if error is None else told(error))
            await self._look_again(tx)
        return True

    async def _undo(self) -> bool:
        self._step = None
        try:
            await self._watched(self._flow.undo(self), cancellable=False)
        except _Lost:
            raise
        except Exception as error:  # of any kind: nothing may be left behind
            log.warning(
                "operation.undo_failed",
                operation=str(self.row.id),
                kind=self.row.kind,
                resource=self.row.resource_name,
                error=str(error),
                exc_info=not isinstance(error, TenantryError | psycopg.Error | OSError),
            )
            await self._put_off(self.row.step or self._flow.steps[0].name, self.row.attempts + 1)
            return False
        async with self._holding() as tx:
            status: rows.OperationStatus = "failed" if self.row.error else "cancelled"
            await rows.finish(tx, self.row.id, status)
            await self._tell_audit(tx, "failed", status=status)
        emit(OperationEnded(self.row.kind, status, self.row.resource_name or ""))
        emit(StepDone(self.row.kind, _UNDO, str(self.row.resource_id)))
        return False

    async def _tell_audit(self, tx: Tx, result: audit.Result, **more: object) -> None:
        # As with ``record_on``: its owner can read the entry, whatever actor began the operation.
        actor = self.actor
        await audit.record(
            tx,
            dataclasses.replace(actor, customer_id=actor.customer_id or self.row.customer_id),
            self.row.kind,
            resource_kind=self.row.resource_kind,
            resource_id=self.row.resource_id,
            resource_name=self.row.resource_name,
            result=result,
            details={"operation_id": str(self.row.id), **more},
        )

    async def _look_again(self, tx: Tx) -> None:
        row = await rows.find(tx, self.row.id, customer_id=None)
        if row is None:
            raise Unavailable("An operation that was being carried out is gone.")
        self.row = row

    @contextlib.asynccontextmanager
    async def _holding(self) -> AsyncIterator[Tx]:
        """A transaction that locks the operation's row. Raises _Lost if another worker holds it."""
        async with self._transaction() as tx:
            if not await rows.hold(tx, self.row.id, holder=self._holder):
                raise _Lost
            yield tx

    def _transaction(self) -> contextlib.AbstractAsyncContextManager[Tx]:
        return self._store.transaction(audit.PLATFORM)


class _Cancelled(Exception):
    """The operation is to be cancelled."""


class _Late(Exception):
    """The deadline of the operation has passed."""


class _Forfeited(Exception):
    """The actor of the operation has lost the right to it."""


class _Lost(Exception):
    """Another worker has the operation, or it was abandoned."""


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


def _forbidden() -> Forbidden:
    return Forbidden(
        "The API key or user that asked for the operation has lost the right to it meanwhile.",
        hint="What it had done is taken back. Ask again with a key that is in force.",
    )


def _full_disk(error: Exception) -> TenantryError | None:
    """Return the error to report if a full disk caused this one, else None."""
    match error:
        case OSError(errno=errno.ENOSPC, filename=None):
            return files.became_full("df tells which")
        case OSError(errno=errno.ENOSPC, filename=name):
            return files.became_full(f"that of {name}")
        case psycopg.errors.DiskFull():
            return files.became_full(str(error.diag.message_primary))
        case CommandFailed() if files.NO_SPACE in error.detail:
            return files.became_full(error.detail)
    return None


def told(error: Exception) -> dict[str, object]:
    """Return an error as its caller reads it; an unexpected one without its details."""
    if isinstance(error, TenantryError):
        return {
            "code": error.code,
            "title": error.title,
            "detail": error.detail,
            **({"hint": error.hint} if error.hint else {}),
        }
    return {
        "code": TenantryError.code,
        "title": TenantryError.title,
        "detail": "The operation broke off; what it had done was taken back.",
        "hint": "The worker's log says why. Please report it.",
    }


def _written(actor: Actor) -> dict[str, object]:
    found = dataclasses.asdict(actor)
    return {name: str(value) for name, value in found.items() if value is not None}


def _read(kept: Mapping[str, str]) -> Actor:
    if not kept:
        return audit.PLATFORM
    identifiers: Sequence[str] = ("id", "customer_id")
    return Actor(
        **{  # type: ignore[arg-type]
            name: parse_id(value) if name in identifiers else value for name, value in kept.items()
        }
    )
