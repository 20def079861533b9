"""One pass of reconciliation: each difference is handled on its own, and failures are shown.

A database that fails does not delay the others. If an owner's lock blocks one action, the owner's
remaining actions are skipped for this pass, so that it costs one wait and not one per database.
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
    """The outcome of a pass. ``done`` lists actions; ``failed`` has the reasons by database."""

    done: list[str] = field(default_factory=list)
    failed: dict[uuid.UUID, str] = field(default_factory=dict)
    _rows: dict[uuid.UUID, DatabaseRow] = field(default_factory=dict)
    _held_up: set[uuid.UUID] = field(default_factory=set)
    _put_off: set[uuid.UUID] = field(default_factory=set)

    def over(self, rows: Iterable[DatabaseRow]) -> None:
        """Register the databases that the following actions concern."""
        self._rows |= {row.id: row for row in rows}

    async def act(self, kind: str, action: object, acting: Callable[[], Awaitable[bool]]) -> None:
        """Remove a difference. ``acting`` returns whether it still existed.

        An action is named by its class, and concerns a ``username``, a ``database_id`` or both.
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
        """Record failures on the databases, and clear those that are resolved."""
        async with store.transaction(audit.PLATFORM) as tx:
            await reconciliations.record(tx, self._rows.keys() - self._put_off, self.failed)


def _snake(name: str) -> str:
    return "_".join(re.findall("[A-Z][a-z]*", name)).lower()


def _shown(error: Exception) -> str:
    """Return what the database's owner may read of an error: no path, and no query."""
    match error:
        case OSError():
            return error.strerror or type(error).__name__
        case psycopg.Error():
            return error.diag.message_primary or type(error).__name__
        case _:
            return str(error)


def alerts(failing: Sequence[FailingRow]) -> list[str]:
    """Return the alerts about databases whose reconciliation fails."""
    if not failing:
        return []
    shown = "; ".join(f"{each.database_name}: {each.detail}" for each in failing[:_MOST_SHOWN])
    more = f"; and {len(failing) - _MOST_SHOWN} more" if len(failing) > _MOST_SHOWN else ""
    count = "1 database" if len(failing) == 1 else f"{len(failing)} databases"
    return [f"Reconciliation fails for {count}: {shown}{more}."]
