"""Which statements of each database are logged for its owner."""

import datetime as dt
import uuid
from dataclasses import dataclass
from typing import Literal

from tenantry.control.store import Tx

LoggedStatements = Literal["none", "ddl", "mod", "all"]


@dataclass(frozen=True, slots=True)
class LogSettings:
    """The log settings of a database; ``statements`` is a class of log_statement.

    ``min_duration_ms`` is the duration from which on a statement is logged with it; None means
    never. Entries are kept for ``keep_days``; None means as long as those of the audit.
    """

    statements: LoggedStatements = "none"
    min_duration_ms: int | None = None
    errors: bool = False
    keep_days: int | None = None

    @property
    def is_on(self) -> bool:
        return self.statements != "none" or self.min_duration_ms is not None or self.errors


async def set_log_settings(tx: Tx, database_id: uuid.UUID, wanted: LogSettings) -> None:
    await tx.execute(
        """
        UPDATE databases SET log_statements = %s, log_min_duration_ms = %s, log_errors = %s,
            log_keep_days = %s, updated_at = clock_timestamp()
        WHERE id = %s
        """,
        (wanted.statements, wanted.min_duration_ms, wanted.errors, wanted.keep_days, database_id),
    )


async def pause(tx: Tx, database_id: uuid.UUID, until: dt.datetime) -> None:
    """Note that a database is not logged until a moment."""
    await tx.execute(
        "UPDATE databases SET log_paused_until = %s WHERE id = %s", (until, database_id)
    )


async def resume(tx: Tx, database_id: uuid.UUID) -> None:
    """Note that a database is logged again."""
    await tx.execute("UPDATE databases SET log_paused_until = NULL WHERE id = %s", (database_id,))


async def to_resume(tx: Tx) -> list[uuid.UUID]:
    """Return the active databases whose logging was paused until a moment that has passed."""
    cursor = await tx.execute(
        """
        SELECT id FROM databases WHERE status = 'active' AND log_paused_until < clock_timestamp()
        """
    )
    return [row[0] for row in await cursor.fetchall()]


async def keep_days(tx: Tx) -> dict[uuid.UUID, int | None]:
    """Return for how many days the entries of each database are kept, of all that exist."""
    cursor = await tx.execute("SELECT id, log_keep_days FROM databases")
    return dict(await cursor.fetchall())


async def logged(tx: Tx) -> dict[str, uuid.UUID]:
    """Return the databases with logging on, by their name in PostgreSQL."""
    cursor = await tx.execute(
        """
        SELECT database_name, id FROM databases
        WHERE status = 'active'
          AND (log_statements <> 'none' OR log_min_duration_ms IS NOT NULL OR log_errors)
        """
    )
    return dict(await cursor.fetchall())
