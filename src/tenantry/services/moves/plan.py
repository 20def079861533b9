"""Whether a database can be moved, and how long its clients wait. Pure."""

from collections.abc import Collection

from tenantry.base.errors import Conflict, InvalidInput
from tenantry.control.databases import DatabaseRow
from tenantry.services.moves.model import Basis

# A pace is measured by moves of at least so many bytes: others say how long the rest takes.
MEASURED_BYTES = 64 * 1024 * 1024
_ASSUMED_BYTES_PER_SECOND = 10 * 1024 * 1024
_LEAST_SECONDS = 3.0  # to pause clients, set the database aside, and count what was loaded
POOLER_SECONDS = 120  # PgBouncer's query_wait_timeout: it ends clients that have waited so long


def expected_wait(size: int, moved_bytes: int, moved_seconds: float) -> tuple[float, Basis]:
    """Return how many seconds the clients of a database of ``size`` bytes wait, about.

    The others are the bytes and seconds of earlier moves.
    """
    if moved_bytes and moved_seconds:
        return _LEAST_SECONDS + size * moved_seconds / moved_bytes, "measured"
    return _LEAST_SECONDS + size / _ASSUMED_BYTES_PER_SECOND, "assumed"


def require_time(expected: float, most: float) -> None:
    """Raise InvalidInput if clients would wait for longer than they may."""
    if expected > most:
        raise InvalidInput.of(
            "max_wait_seconds",
            f"is less than the {expected:.0f} seconds that the move is expected to take",
        )


def require_movable(row: DatabaseRow, *, to_instance: bool, others: Collection[str]) -> None:
    """Raise Conflict unless a database can be moved; ``others`` are managed on its instance."""
    if to_instance and row.is_instance:
        raise Conflict(
            f"{row.database_name} is on an instance of its own already: {row.container_name}.",
        )
    if to_instance and row.name is None:
        raise Conflict(
            f"{row.database_name} has no name, and an instance is named by it.",
            hint="Give it one: PATCH /api/databases/{id}.",
        )
    if others:
        raise Conflict(
            f"The instance also has {', '.join(others)}, which would be deleted with it.",
            hint="Delete its branches and restored copies first.",
        )
    if row.quota_state == "stopped" or row.paused_until is not None:
        raise Conflict(
            f"{row.database_name} accepts no connections: it is full, or paused because of its"
            " writes.",
            hint="Raise its disk quota, or wait until it is resumed.",
        )


def require_target(
    row: DatabaseRow,
    *,
    version: int,
    most_connections: int,
    missing_extensions: Collection[str],
) -> None:
    """Raise InvalidInput or Conflict unless a target can hold a database."""
    if version < row.version:
        raise InvalidInput.of(
            "version",
            f"is older: the database is on PostgreSQL {row.version}, the target would have"
            f" {version}",
        )
    if row.max_connections > most_connections:
        raise Conflict(
            f"{row.database_name} may have {row.max_connections} connections, and the target gives"
            f" one database at most {most_connections}.",
            hint="Lower its max_connections, or ask for more memory.",
        )
    if missing_extensions:
        raise Conflict(
            f"The target does not have the extensions {', '.join(sorted(missing_extensions))}.",
            hint="Install their packages for its version, or drop them from the database.",
        )
