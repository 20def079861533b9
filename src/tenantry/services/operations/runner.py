"""Runs one operation, a step at a time.

A step that fails is tried again if a part of the platform is down. Otherwise what was done is
undone (``Flow.undo``), and the operation has failed. The runner renews its lease meanwhile, and
stops at once if another worker has taken the operation over.
"""

import asyncio
import contextlib
import dataclasses
import datetime as dt
import errno
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Generic, TypeVar

import psycopg
import structlog

from tenantry.base.errors import (
    Busy,
    Forbidden,
    TenantryError,
    Unavailable,
)
from tenantry.base.events import OperationEnded, StepDone, emit
from tenantry.base.ids import parse_id
from tenantry.control import audit, leases
from tenantry.control import operations as rows
from tenantry.control.audit import Actor
from tenantry.control.operations import OperationRow
from tenantry.control.store import ControlStore, Tx
from tenantry.host import files
from tenantry.host.commands import CommandFailed
from tenantry.services.operations.model import (
    Done,
    Flow,
    Next,
    P,
    S,
    Step,
    Wait,
)

log = structlog.get_logger()

LEASE = dt.timedelta(seconds=30)
_RENEW_SECONDS = 1.0  # also how soon a cancellation is noticed
_REPORT_SECONDS = 0.5
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


class Runner(Generic[P, S]):
    """Runs one operation that this worker holds. Implements ``Run``, which its steps get."""

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
        self._reported_at = 0.0
        self._step: Step[P, S] | None = None
        self.params = flow.kind.params.model_validate(row.params)
        self.state = flow.kind.state.model_validate(row.state)

    # ── for steps (model.Run) ────────────────────────────────────────────────

    @property
    def actor(self) -> Actor:
        return _read(self.row.actor)

    async def save(self) -> None:
        async with self._transaction() as tx:
            await self._store_state(tx)

    async def _store_state(self, tx: Tx) -> None:
        await rows.store_state(tx, self.row.id, self.state.model_dump(mode="json"))

    async def report(
        self, fraction: float, *, done_bytes: int | None = None, total_bytes: int | None = None
    ) -> None:
        now = time.monotonic()
        if self._step is None or now - self._reported_at < _REPORT_SECONDS:
            return
        self._reported_at = now
        async with self._transaction() as tx:
            await rows.store_progress(
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
        except Lost:
            raise
        except Exception as error:
            reported = _full_disk(error) or error
            if not isinstance(reported, TenantryError):
                log.exception("operation.step_crashed", operation=str(self.row.id), step=step.name)
            return await self._failed(step, reported)
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

        Raises Lost; if ``cancellable``, also _Cancelled, _Late and _Forfeited.
        """
        acting = asyncio.ensure_future(work)
        try:
            while True:
                await asyncio.wait([acting], timeout=_RENEW_SECONDS)
                if acting.done():
                    return acting.result()
                async with self._transaction() as tx:
                    wanted = await leases.renew(tx, self.row.id, holder=self._holder, lease=LEASE)
                if wanted is None:
                    raise Lost
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
            await self._store_state(tx)
            match outcome:
                case Done(result):
                    await rows.finish(tx, self.row.id, "succeeded", result=result)
                    if not self._flow.records_audit:
                        await self._record_in_audit(tx, "ok")
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
                "operation.retrying",
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
            await self._store_state(tx)
            await rows.put_off(tx, self.row.id, step=step, wait=wait, attempts=tries)

    async def _give_up(self, error: Exception | None) -> bool:
        async with self._holding() as tx:
            await self._store_state(tx)
            await rows.begin_undo(tx, self.row.id, None if error is None else error_payload(error))
            await self._look_again(tx)
        return True

    async def _undo(self) -> bool:
        self._step = None
        try:
            await self._watched(self._flow.undo(self), cancellable=False)
        except Lost:
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
            await self._record_in_audit(tx, "failed", status=status)
        emit(OperationEnded(self.row.kind, status, self.row.resource_name or ""))
        emit(StepDone(self.row.kind, _UNDO, str(self.row.resource_id)))
        return False

    async def _record_in_audit(self, tx: Tx, result: audit.Result, **more: object) -> None:
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
        """A transaction that locks the operation's row. Raises Lost if another worker holds it."""
        async with self._transaction() as tx:
            if not await leases.hold(tx, self.row.id, holder=self._holder):
                raise Lost
            yield tx

    def _transaction(self) -> contextlib.AbstractAsyncContextManager[Tx]:
        return self._store.transaction(audit.PLATFORM)


class _Cancelled(Exception):
    """The operation is to be cancelled."""


class _Late(Exception):
    """The deadline of the operation has passed."""


class _Forfeited(Exception):
    """The actor of the operation has lost the right to it."""


class Lost(Exception):
    """Another worker has the operation, or it was abandoned."""


def _forbidden() -> Forbidden:
    return Forbidden(
        "The API key or user that asked for the operation has lost the right to it meanwhile.",
        hint="What it had done is taken back. Ask again with a key that is in force.",
    )


def _full_disk(error: Exception) -> TenantryError | None:
    """Return the error to report if a full disk caused this one, else None."""
    match error:
        case OSError(errno=errno.ENOSPC, filename=None):
            return files.became_full("df shows which")
        case OSError(errno=errno.ENOSPC, filename=name):
            return files.became_full(f"that of {name}")
        case psycopg.errors.DiskFull():
            return files.became_full(str(error.diag.message_primary))
        case CommandFailed() if files.NO_SPACE in error.detail:
            return files.became_full(error.detail)
    return None


def error_payload(error: Exception) -> dict[str, object]:
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
        "detail": "The operation failed unexpectedly; what it had done was undone.",
        "hint": "The worker's log says why. Please report it.",
    }


def _read(kept: Mapping[str, str]) -> Actor:
    if not kept:
        return audit.PLATFORM
    identifiers: Sequence[str] = ("id", "customer_id")
    return Actor(
        **{  # type: ignore[arg-type]
            name: parse_id(value) if name in identifiers else value for name, value in kept.items()
        }
    )
