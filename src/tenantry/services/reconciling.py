"""One pass of reconciliation: differences are removed one by one, and what fails is shown.

One database that cannot be dealt with does not keep the others waiting. An owner who does, by a
lock, does so once a pass, and not once for each of its databases.
"""

import re
import uuid
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field

import psycopg

from tenantry.base.errors import Conflict, TenantryError
from tenantry.base.events import DifferenceRemoved, ReconciliationFailed, emit
from tenantry.control import audit, reconciliations
from tenantry.control.databases import DatabaseRow
from tenantry.control.reconciliations import FailingRow
from tenantry.control.store import ControlStore

_MOST_SHOWN = 3


@dataclass(slots=True)
class Pass:
    """What a pass has done and could not do. ``done`` and ``failed`` are actions, in words."""

    done: list[str] = field(default_factory=list)
    failed: dict[uuid.UUID, str] = field(default_factory=dict)
    _rows: dict[uuid.UUID, DatabaseRow] = field(default_factory=dict)
    _held_up: set[uuid.UUID] = field(default_factory=set)
    _put_off: set[uuid.UUID] = field(default_factory=set)

    def over(self, rows: Iterable[DatabaseRow]) -> None:
        """Note which databases the actions that follow are about."""
        self._rows |= {row.id: row for row in rows}

    async def act(self, kind: str, action: object, acting: Callable[[], Awaitable[bool]]) -> None:
        """Remove a difference. ``acting`` returns whether it was still there.

        An action is called by its class, and is about a ``username``, a ``database_id`` or both.
        """
        database_id = getattr(action, "database_id", None)
        row = None if database_id is None else self._rows[database_id]
        owner = None if row is None else row.customer_id or row.id
        subject = getattr(action, "username", None) or ("" if row is None else row.database_name)
        verb = f"{kind}.{_snake(type(action).__name__)}"
        if owner in self._held_up and row is not None:
            self._put_off.add(row.id)
            return
        try:
            if await acting():
                self.done.append(f"{verb} {subject}")
                emit(DifferenceRemoved(verb, subject))
        except (TenantryError, psycopg.Error, OSError) as error:
            if owner is not None and isinstance(error, Conflict):
                self._held_up.add(owner)
            if row is not None:
                self.failed.setdefault(row.id, f"{verb} {subject}: {_shown(error)}")
            emit(ReconciliationFailed(verb, subject, str(error)))

    async def record(self, store: ControlStore) -> None:
        """Show on the databases what has failed, and no longer what has not."""
        async with store.transaction(audit.PLATFORM) as tx:
            await reconciliations.record(tx, self._rows.keys() - self._put_off, self.failed)


def _snake(name: str) -> str:
    return "_".join(re.findall("[A-Z][a-z]*", name)).lower()


def _shown(error: Exception) -> str:
    """What the database's owner may read: no path, and no query."""
    match error:
        case OSError():
            return error.strerror or type(error).__name__
        case psycopg.Error():
            return error.diag.message_primary or type(error).__name__
        case _:
            return str(error)


def alerts(failing: Sequence[FailingRow]) -> list[str]:
    """What somebody has to see to."""
    if not failing:
        return []
    shown = "; ".join(f"{each.database_name}: {each.detail}" for each in failing[:_MOST_SHOWN])
    more = f"; and {len(failing) - _MOST_SHOWN} more" if len(failing) > _MOST_SHOWN else ""
    return [f"Reconciliation fails for {len(failing)} databases: {shown}{more}."]
