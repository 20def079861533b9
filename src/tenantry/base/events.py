"""What happened, as typed values. Code emits; logs, metrics and tests interpret."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class StepDone:
    """A durable flow has just finished a step. A crash after it is what convergence mends."""

    flow: str
    step: str
    subject: str


@dataclass(frozen=True, slots=True)
class Changed:
    """An ``ensure_…`` found a difference and removed it."""

    what: str
    subject: str


@dataclass(frozen=True, slots=True)
class PartDied:
    """A process of the platform ended without having been asked to."""

    part: str


@dataclass(frozen=True, slots=True)
class Visited:
    """A visitor is about to begin a session in a tenant's database."""

    database: str


Event = StepDone | Changed | PartDied | Visited
_handlers: list[Callable[[Event], None]] = []


def subscribe(handler: Callable[[Event], None]) -> None:
    """Call ``handler`` with every event of this process from now on, once each."""
    if handler not in _handlers:
        _handlers.append(handler)


def emit(event: Event) -> None:
    """Tell every subscriber, in order of subscription."""
    for handler in _handlers:
        handler(event)
