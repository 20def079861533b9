"""The request for a move, what is known of it beforehand, and the state of its operation."""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from pydantic import Field

from tenantry.base.errors import Conflict
from tenantry.pg import reloading
from tenantry.services.databases.model import NewInstance
from tenantry.services.operations.model import Kind, Params, Run, State
from tenantry.services.restores.model import Exceptions

Basis = Literal["measured", "assumed"]


class MoveParams(Params):
    """The target's cluster, and the seconds that clients may wait. See ``NewMove``."""

    target_id: uuid.UUID
    max_wait_seconds: float
    accept_losses: bool = False


class MoveState(State):
    """The state between steps.

    ``staging_name`` is the database on the target, and ``aside`` the name of the original while
    it is copied; ``rights`` are those that roles have on the original, and ``logins`` the roles
    that log in. ``source_id`` is its cluster, and ``size`` its bytes.
    """

    staging_name: str | None = None
    aside: str | None = None
    source_id: uuid.UUID | None = None
    size: int = 0
    rights: dict[str, list[str]] = Field(default_factory=dict)
    logins: list[str] = Field(default_factory=list)
    exceptions: Exceptions = Field(default_factory=Exceptions)
    refreshed: list[dict[str, str]] = Field(default_factory=list)
    tables: int = 0
    rows: int = 0
    waited_seconds: float = 0.0


MOVE = Kind("database.move", MoveParams, MoveState)
MoveRun = Run[MoveParams, MoveState]


@dataclass(frozen=True, slots=True)
class NewMove:
    """A request for a move: to a new ``instance``, or to a shared cluster, by name if any.

    Clients may wait for ``max_wait_seconds``; what takes longer is undone. Without
    ``accept_losses`` it is refused where something is left behind, and undone where PostgreSQL does
    not build something again.
    """

    instance: NewInstance | None
    cluster: str | None
    max_wait_seconds: float
    accept_losses: bool = False


@dataclass(frozen=True, slots=True)
class LeftOut:
    """What stays on the old cluster: an unmanaged database or role of an instance."""

    kind: Literal["database", "role"]
    name: str


@dataclass(frozen=True, slots=True)
class Preview:
    """What a move would do.

    ``cluster`` is the name of the target, None for an instance that does not exist yet; the
    ``port`` of that may be another one if it is taken meanwhile. ``basis`` is whether the expected
    wait is computed from earlier moves here, or from an assumed pace.
    """

    kind: Literal["shared", "dedicated"]
    cluster: str | None
    version: int
    host: str
    port: int
    size_bytes: int
    expected_wait_seconds: float
    basis: Basis
    max_wait_seconds: float
    left_out: Sequence[LeftOut]


class MoveTooLong(Conflict):
    code = "move_too_long"
    title = "The move takes too long"


class MoveWouldLose(Conflict):
    """Something would not be on the target."""

    code = "move_would_lose"
    title = "The move would lose something"

    @classmethod
    def of_left_out(cls, database: str, left: Sequence[LeftOut]) -> "MoveWouldLose":
        """Return the error for what stays on an instance, which is deleted in the end."""
        named = ", ".join(f"the {each.kind} {each.name}" for each in left)
        return cls(
            f"Only {database} is moved. These stay on its instance, which is stopped, and deleted"
            f" when it expires: {named}.",
            hint="Save what you need of them; then ask again with accept_losses (--accept-losses).",
        )

    @classmethod
    def of_objects(cls, database: str, lost: Sequence[Mapping[str, str]]) -> "MoveWouldLose":
        """Return the error for objects that PostgreSQL does not build again."""
        return cls(
            f"PostgreSQL does not build all of {database} again: {reloading.named(lost)}.",
            hint="Nothing was moved. Change these objects; or accept that with accept_losses"
            " (--accept-losses): the original is retained for a while.",
        )
