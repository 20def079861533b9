"""What the verbs on allowlists take and return, for databases and sites alike."""

from collections.abc import Sequence
from dataclasses import dataclass

from tenantry.base.errors import Conflict, InvalidInput
from tenantry.control.whitelist import EntryRow, NewEntry
from tenantry.services.network.plan import Change, Ending

MOST_ENTRIES = 200  # of one list
_MOST_AUDITED = 10


@dataclass(frozen=True, slots=True)
class Added:
    """A new entry. ``closes``: it is the first, so all other addresses are refused from now on.

    ``ended_sessions`` are those of the resource that were open from elsewhere.
    """

    entry: EntryRow
    closes: bool
    ended_sessions: int = 0


@dataclass(frozen=True, slots=True)
class Removed:
    """A former entry. ``opens``: it was the last, so all addresses are admitted from now on.

    ``ended_sessions`` are those of the resource that were open from its network.
    """

    entry: EntryRow
    opens: bool
    ended_sessions: int


@dataclass(frozen=True, slots=True)
class Preview:
    """What replacing a list would do. ``closes`` and ``opens``: as of a first and a last entry.

    ``version`` is that of the list as it is.
    """

    changes: list[Change]
    closes: bool
    opens: bool
    endings: list[Ending]
    version: str


class ListChanged(Conflict):
    """A list is no longer the one that was looked at."""

    code = "whitelist_changed"
    title = "The allowlist has changed"

    def __init__(self) -> None:
        super().__init__(
            "The allowlist has changed since it was looked at: nothing was done.",
            hint="Look at what would change again, and replace it then.",
        )


def require_bounded(entries: Sequence[EntryRow]) -> None:
    """Raise InvalidInput if a list has too many entries."""
    if len(entries) > MOST_ENTRIES:
        raise InvalidInput(
            f"An allowlist may have {MOST_ENTRIES} entries.",
            hint="Admit ranges (CIDR) instead of single addresses.",
        )


def audited(entries: Sequence[NewEntry]) -> dict[str, object]:
    """Return what the audit log keeps of entries: the first ones, as lists may change often."""
    networks = [str(entry.network) for entry in entries[:_MOST_AUDITED]]
    return {"networks": networks, "count": len(entries)}
