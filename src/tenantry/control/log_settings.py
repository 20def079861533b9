"""Which statements of each database are logged for its owner."""

import uuid
from dataclasses import dataclass
from typing import Literal

from tenantry.control.store import Tx

LoggedStatements = Literal["none", "ddl", "mod", "all"]


@dataclass(frozen=True, slots=True)
class LogSettings:
    """The log settings of a database; ``statements`` is a class of log_statement.

    ``min_duration_ms`` is the duration from which on a statement is logged with it; None means
    never.
    """

    statements: LoggedStatements = "none"
    min_duration_ms: int | None = None
    errors: bool = False

    @property
    def is_on(self) -> bool:
        return self != LogSettings()


async def set_log_settings(tx: Tx, database_id: uuid.UUID, wanted: LogSettings) -> None:
    await tx.execute(
        """
        UPDATE databases SET log_statements = %s, log_min_duration_ms = %s, log_errors = %s,
            updated_at = clock_timestamp()
        WHERE id = %s
        """,
        (wanted.statements, wanted.min_duration_ms, wanted.errors, database_id),
    )


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
