"""The states that follow from a database's size and from what is left of the disk. Pure.

At 100 % of its quota it is read-only by default, which its tenant can override to make room; one
that uses this to keep growing is stopped. How far it may grow counts from its size when it became
read-only: a load that was faster than we measure has overrun the quota, but overridden nothing.

While the disk is short of space, the databases that have grown most are held: read-only, as if they
were full, and stopped if they go on. That ends when there is space again, and only for those that
are held: what a quota restricts is freed by its quota.
"""

import math
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from tenantry.base.errors import Conflict
from tenantry.control.databases import DatabaseRow, QuotaState

_WARNING = 0.80
_BACK = 0.95  # a little room, or it would change back and forth
_TOLERATED = 0.10
_MIB = 1 << 20
_GIB = 1 << 30

_FLOOR = 0.05  # of the disk, below which it is short of space: files.is_nearly_full
_HIGHEST_FLOOR = 16 * _GIB  # of a large disk a smaller part is enough to react
_ENOUGH = 1.5  # floors, from which on it is not short any more: it would change back and forth
NEAR = 2.0  # floors: the disk may soon be short of space
_LESS = 0.5  # floors, below which whoever has grown is held, not only who has grown most
_LEAST = 0.2
_WINDOW_SECONDS = 300.0
_GROWN = 8 * _MIB
_LITTLE_GROWN = 1 * _MIB
_TOLERATED_WHILE_HELD = 32 * _MIB  # deletions also write
_LESS_TOLERATED = 4 * _MIB  # who has a hundred databases has it a hundred times
_LEAST_TOLERATED = 1 * _MIB
_PART = 10  # a tenth of what all have grown, or of what its owner's largest one has, is much
_NEW = 32 * _MIB  # what a new database takes with its shadow, before its tenant writes

RESTRICTED = frozenset[QuotaState]({"read_only", "stopped"})

_WHY: dict[QuotaState, str] = {
    "warning": "It takes more than 80 % of its disk quota, and will be read-only at 100 %. Delete"
    " data, or raise disk_quota_bytes.",
    "read_only": "It takes as much as its disk quota, so its sessions are read-only until it takes"
    " less than 95 %. Delete data after SET default_transaction_read_only = off, or raise"
    " disk_quota_bytes.",
    "stopped": "It went on growing after it had been read-only, so nobody logs in until"
    " disk_quota_bytes is raised.",
}
_WHY_HELD: dict[QuotaState, str] = {
    "read_only": "The platform's disk is nearly full, and it grew most, so its sessions are"
    " read-only until there is space again. DROP TABLE and TRUNCATE give space back at once, after"
    " SET default_transaction_read_only = off.",
    "stopped": "The platform's disk is nearly full, and it went on growing after it had been"
    " read-only, so nobody logs in until there is space again. An administrator makes some:"
    " docs/how-to/when-the-disk-is-full.md.",
}


def summary(counts: Mapping[str, int]) -> str:
    """Return how many databases are restricted, in a sentence; "" if none is."""
    found = [
        f"{counts[state]} {state.replace('_', '-')}"
        for state in ("read_only", "stopped")
        if counts.get(state)
    ]
    if not found:
        return ""
    return f"Over their disk quota, or held as the disk is nearly full: {', '.join(found)}."


def explain(state: QuotaState, *, held: bool) -> str | None:
    """Return why a database is warned or restricted, until when, and what to do; else None."""
    return (_WHY_HELD if held else _WHY).get(state)


def refusal(row: DatabaseRow) -> Conflict:
    """Return the error for what a restricted database does not allow."""
    return Conflict(
        f"The database is {row.quota_state.replace('_', '-')}.",
        hint=explain(row.quota_state, held=row.held),
    )


class Outcome(NamedTuple):
    """A state, and whether only the disk is the reason for it."""

    state: QuotaState
    held: bool = False


def next_state(
    now: Outcome, *, used: int, quota: int, read_only_from: int | None, held_to: int | None = None
) -> Outcome:
    """Return the state of a database that now takes ``used`` bytes.

    ``held_to`` is how much it may still grow if it is to be restricted for want of space on the
    disk; None if it is not.
    """
    restricted = now.state in RESTRICTED
    full = used >= quota * (_BACK if restricted and not now.held else 1)
    if not full and held_to is None:
        return Outcome("warning" if used >= quota * _WARNING else "ok")
    goes_on = full and used > stops_at(quota, read_only_from)
    if held_to is not None and read_only_from is not None:
        goes_on = goes_on or used > read_only_from + held_to
    return Outcome("stopped" if restricted and goes_on else "read_only", held=not full)


def stops_at(quota: int, read_only_from: int | None) -> int:
    """Return the size beyond which a read-only database is stopped."""
    return max(quota, read_only_from or 0) + int(quota * _TOLERATED)


# ── what is left of the disk ─────────────────────────────────────────────────


def floors(free: int, total: int) -> float:
    """Return what is left of a disk, in the amounts below which it is short of space.

    That is a twentieth of the disk, and 16 GiB at most. Of one without a size nothing is known.
    """
    return free / min(total * _FLOOR, _HIGHEST_FLOOR) if total else math.inf


def is_short(left: float, *, was_short: bool) -> bool:
    """Whether the disk is short of space, or still is; ``left`` is what ``floors`` returns."""
    return left < (_ENOUGH if was_short else 1)


def tolerated(left: float) -> int:
    """Return the bytes that a held database may grow by before it is stopped."""
    if left < _LEAST:
        return _LEAST_TOLERATED
    return _LESS_TOLERATED if left < _LESS else _TOLERATED_WHILE_HELD


class Size(NamedTuple):
    """The bytes of a database, whose it is, and whether it was created a short time ago."""

    bytes: int
    owner: uuid.UUID
    is_new: bool = False


@dataclass(slots=True)
class Growth:
    """How much databases have grown in the last five to ten minutes.

    While the disk is short of space, it counts from five to ten minutes before that. What a new
    database takes counts as grown, except for what every new one takes.
    """

    _older: dict[uuid.UUID, int] = field(default_factory=dict)
    _newer: dict[uuid.UUID, int] = field(default_factory=dict)
    _sizes: dict[uuid.UUID, Size] = field(default_factory=dict)
    _turned: float | None = None

    def turn(self, now: float, *, short: bool) -> None:
        """Forget what is too long ago."""
        if self._turned is None:
            self._turned = now
        if not short and now - self._turned >= _WINDOW_SECONDS:
            self._older = self._newer
            self._newer, self._sizes, self._turned = {}, {}, now

    def note(self, sizes: Mapping[uuid.UUID, Size]) -> None:
        """Note the sizes of some of the databases now."""
        self._sizes.update(sizes)
        for each, (size, _, is_new) in sizes.items():
            least = min(size, _NEW) if is_new else size
            self._older[each] = min(size, self._older.get(each, least))
            self._newer[each] = min(size, self._newer.get(each, size))

    def to_hold(self, left: float) -> set[uuid.UUID]:
        """Return the databases to hold while the disk is short of space.

        They are those of owners whose databases have a tenth of all growth: who has many counts as
        who has one. The less is left, the less growth is enough.
        """
        grown = {each: size.bytes - self._older[each] for each, size in self._sizes.items()}
        if left < _LESS:
            least = _LITTLE_GROWN if left >= _LEAST else 1
            return {each for each, size in grown.items() if size >= least}
        together: dict[uuid.UUID, int] = {}
        most: dict[uuid.UUID, int] = {}
        for each, size in grown.items():
            owner = self._sizes[each].owner
            together[owner] = together.get(owner, 0) + size
            most[owner] = max(most.get(owner, 0), size)
        whole = sum(grown.values())
        found = set()
        for each, size in grown.items():
            owner = self._sizes[each].owner
            is_much = together[owner] >= _GROWN and together[owner] * _PART >= whole
            if is_much and size >= _LITTLE_GROWN and size * _PART >= most[owner]:
                found.add(each)
        return found
