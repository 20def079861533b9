"""The parts of an operation: a flow of steps, and the outcomes of a step. Values only.

A step is a coroutine that may be begun any number of times: it finds what an earlier try did, and
continues from there. It ends by returning what comes next, which is recorded only then: after a
crash at any point the same step begins again.
"""

import datetime as dt
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Literal, Protocol, TypeVar

from pydantic import BaseModel, ConfigDict

from tenantry.control.audit import Actor
from tenantry.control.operations import OperationRow, QueuedKind


class Params(BaseModel):
    """The parameters of an operation; this class has none.

    They are stored as JSON in the operation's row, which may be read by a newer release than the
    one that wrote it: an added field needs a default.
    """

    model_config = ConfigDict(frozen=True)


class State(BaseModel):
    """Values that the steps of an operation pass on to later ones; this class has none.

    It is written to the operation's row, as JSON, when a step ends. Each field has a default: its
    value before the step that sets it.
    """


P = TypeVar("P", bound=Params)
S = TypeVar("S", bound=State)
P_co = TypeVar("P_co", bound=Params, covariant=True)
S_co = TypeVar("S_co", bound=State, covariant=True)


_Value = TypeVar("_Value")


def required(value: _Value | None) -> _Value:
    """Return a value that an earlier step sets. Raises LookupError if none has."""
    if value is None:
        raise LookupError("an earlier step of the operation has not set this value")
    return value


@dataclass(frozen=True, slots=True)
class Kind(Generic[P, S]):
    """A kind of operation: its name in the API and the audit, and the types of its values."""

    name: str
    params: type[P]
    state: type[S]


@dataclass(frozen=True, slots=True)
class Next:
    """Continue with another step; without a name, with the following one."""

    step: str | None = None


@dataclass(frozen=True, slots=True)
class Wait:
    """Begin the same step again after so many seconds."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Done:
    """The operation has succeeded, with this result."""

    result: dict[str, object]


Outcome = Next | Wait | Done


class Run(Protocol[P_co, S_co]):
    """An operation, as its steps see it."""

    @property
    def row(self) -> OperationRow: ...

    @property
    def params(self) -> P_co: ...

    @property
    def state(self) -> S_co: ...

    @property
    def actor(self) -> Actor:
        """Who requested it."""

    async def save(self) -> None:
        """Write ``state`` to the operation's row now, in the middle of a step."""

    async def report(
        self, fraction: float, *, done_bytes: int | None = None, total_bytes: int | None = None
    ) -> None:
        """Report the progress of this step, from 0 to 1. May be called at any rate."""


AnyRun = Run[Any, Any]


@dataclass(frozen=True, slots=True)
class Step(Generic[P, S]):
    """One step. ``share`` is its part of the whole duration, relative to the other steps.

    A ``final`` step can be neither cancelled nor undone after a failure: it is tried again until it
    succeeds.
    """

    name: str
    act: Callable[[Run[P, S]], Awaitable[Outcome]]
    share: float = 1.0
    final: bool = False


Part = Literal["api", "worker"]

# What an operation of a lane may have to wait for:
# platform   this machine alone: backups, restores and checks of whole clusters, drills
# databases  this machine, on the data of one database: its backups, restores, branches
# scripts    what a tenant wrote: migrations of one database or of many, blueprints
# imports    a server elsewhere, and the code in a dump
Lane = Literal["platform", "databases", "scripts", "imports"]


@dataclass(frozen=True, slots=True)
class Room:
    """How many operations of a lane one process runs at once, in total and for one owner.

    The owner is the customer; for a resource without a customer, the database or cluster itself.
    """

    total: int
    each: int


ROOM: Mapping[Lane, Room] = {
    "platform": Room(3, 1),
    "databases": Room(6, 2),
    "scripts": Room(16, 2),
    "imports": Room(8, 2),
}


@dataclass(frozen=True, slots=True)
class Flow(Generic[P, S]):
    """All steps of a kind of operation, and how to undo what the steps before final ones did.

    ``undo`` may be called after any of them, and again after a crash in it. ``part`` is the process
    that carries it out: the API if it needs something that only a request had, or if a request
    waits for it. Operations wait only for others of their ``lane``. Past ``deadline`` the step that
    runs is cancelled, unless it is final. A success is recorded in the audit when the operation
    ends; with ``records_audit`` a step records it, in the transaction in which it takes effect.
    """

    kind: Kind[P, S]
    steps: Sequence[Step[P, S]]
    undo: Callable[[Run[P, S]], Awaitable[None]]
    deadline: dt.timedelta
    part: Part = "worker"
    lane: Lane = "databases"
    records_audit: bool = False

    def step(self, name: str | None) -> Step[P, S]:
        """Return the step of that name, the first for None."""
        return self.steps[0] if name is None else self.steps[self._index(name)]

    def after(self, step: Step[P, S]) -> Step[P, S]:
        """Return the step that follows one."""
        return self.steps[self._index(step.name) + 1]

    def progress(self, step: Step[P, S], fraction: float = 0.0) -> float:
        """Return the progress of the whole flow, from 0 to 1, at this fraction of a step."""
        before = sum(each.share for each in self.steps[: self._index(step.name)])
        whole = sum(each.share for each in self.steps)
        return (before + step.share * min(1.0, max(0.0, fraction))) / whole

    def _index(self, name: str) -> int:
        return next(index for index, step in enumerate(self.steps) if step.name == name)


AnyFlow = Flow[Any, Any]


@dataclass(frozen=True, slots=True)
class Pace:
    """The speed of an operation's present step, and the time that the step still takes."""

    bytes_per_second: float | None
    seconds_left: float | None


def pace(row: OperationRow, now: dt.datetime) -> Pace:
    """Return the pace of a running operation; its values are None where they cannot be computed."""
    if row.status != "running" or row.step_started_at is None or not row.done_bytes:
        return Pace(None, None)
    seconds = max(0.001, (now - row.step_started_at).total_seconds())
    rate = row.done_bytes / seconds
    left = None if row.total_bytes is None else max(0, row.total_bytes - row.done_bytes) / rate
    return Pace(rate, left)


@dataclass(frozen=True, slots=True)
class Queued:
    """How many operations of a lane wait to begin, and how long the oldest has been due."""

    lane: Lane
    count: int
    oldest: dt.timedelta


def by_lane(kinds: Sequence[QueuedKind], flows: Mapping[str, AnyFlow]) -> list[Queued]:
    """Return what waits in each lane; kinds that no flow carries out are left out."""
    found = []
    for lane in ROOM:
        here = [each for each in kinds if each.kind in flows and flows[each.kind].lane == lane]
        oldest = max((each.oldest for each in here), default=dt.timedelta(0))
        found.append(Queued(lane, sum(each.count for each in here), oldest))
    return found
