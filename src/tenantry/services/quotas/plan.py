"""The quota states that follow from a database's size on disk. Pure.

At 100 % of its quota it is read-only by default, which its tenant can override to make room; one
that uses this to keep growing is stopped. How far it may grow counts from its size when it became
read-only: a load that was faster than we measure has overrun the quota, but overridden nothing.
"""

from collections.abc import Mapping

from tenantry.control.databases import QuotaState

_WARNING = 0.80
_BACK = 0.95  # a little room, or it would change back and forth
_TOLERATED = 0.10

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


def summary(counts: Mapping[str, int]) -> str:
    """Return how many databases are restricted, in a sentence; "" if none is."""
    found = [
        f"{counts[state]} {state.replace('_', '-')}"
        for state in ("read_only", "stopped")
        if counts.get(state)
    ]
    return f"Over their disk quota: {', '.join(found)}." if found else ""


def explain(state: QuotaState) -> str | None:
    """Return why a database is warned or restricted, until when, and what to do; else None."""
    return _WHY.get(state)


def next_state(
    *, used: int, quota: int, state: QuotaState, read_only_from: int | None
) -> QuotaState:
    """Return the state of a database that was in ``state`` and now takes ``used`` bytes."""
    full = used >= quota * (_BACK if state in RESTRICTED else 1)
    if not full:
        return "warning" if used >= quota * _WARNING else "ok"
    if state not in RESTRICTED:
        return "read_only"
    return "stopped" if used > stops_at(quota, read_only_from) else "read_only"


def stops_at(quota: int, read_only_from: int | None) -> int:
    """Return the size beyond which a read-only database is stopped."""
    return max(quota, read_only_from or 0) + int(quota * _TOLERATED)
