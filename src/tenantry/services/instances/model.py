"""Instances: what is asked for, their operations, and what they use. Values only."""

import datetime as dt
from dataclasses import dataclass, field
from typing import Literal

from tenantry.control.operations import OperationRow
from tenantry.pg.settable import Parameter
from tenantry.services.operations.model import Kind, Params, State

InstanceStatus = Literal["creating", "running", "stopped", "suspended", "starting", "error"]


class Progress(State):
    """``refusal`` says why an instance does not start with its owner's parameters, if so."""

    refusal: str | None = None


CREATE = Kind("instance.create", Params, Progress)
START = Kind("instance.start", Params, Progress)
STOP = Kind("instance.stop", Params, Progress)
RESTART = Kind("instance.restart", Params, Progress)


@dataclass(frozen=True, slots=True)
class Choices:
    """The major versions that a new instance can have, the oldest first, and the default."""

    versions: list[int]
    version: int


@dataclass(frozen=True, slots=True)
class Size:
    """The size of an instance; ``cpus`` of None is all processors."""

    cpus: float | None
    memory_mb: int


@dataclass(frozen=True, slots=True)
class Setting:
    """A parameter that the owner of an instance may set.

    ``own`` is what the owner has set, None if nothing; ``default`` is what it is otherwise. With
    ``pending_restart`` another value than now is in force once the instance has been restarted.
    """

    parameter: Parameter
    own: str | None
    default: str
    pending_restart: bool


@dataclass(frozen=True, slots=True)
class Configured:
    """The parameters that can be set of an instance, by name, and its restart if one has begun.

    ``pending_restart`` are those that wait for a restart, the platform's own included, by name.
    """

    settings: list[Setting]
    pending_restart: list[str]
    operation: OperationRow | None = None


@dataclass(frozen=True, slots=True)
class Libraries:
    """The libraries that an instance's server has ``loaded`` when it was started, by name.

    ``own`` are those of extensions that its owner wants, ``always`` those of the platform.
    """

    loaded: list[str]
    own: list[str]
    always: list[str]

    def pending(self, name: str) -> bool:
        """Whether a restart loads this library, or does not load it any more."""
        return (name in self.loaded) is not (name in self.own or name in self.always)


@dataclass(frozen=True, slots=True)
class InstanceUse:
    """What an instance is doing, and what it takes of the machine.

    ``cpu_percent`` is of one processor, over a fifth of a second; ``memory_limit_bytes`` is None
    without a limit. ``detail`` has the last lines of its log if it does not start.
    ``unmanaged`` are the databases that its tenant has created beside the managed ones.
    """

    status: InstanceStatus
    detail: str | None
    size_bytes: int
    connections: int = 0
    cpu_percent: float = 0.0
    memory_bytes: int = 0
    memory_limit_bytes: int | None = None
    started_at: dt.datetime | None = None
    unmanaged: list[str] = field(default_factory=list)
