"""From which backup a moment is reached, and how a side cluster is configured. Pure."""

import datetime as dt
import re
from collections.abc import Collection, Mapping, Sequence

from tenantry.base.errors import Conflict
from tenantry.pg import names, timelines
from tenantry.pg.pgbackrest_output import Backup
from tenantry.services.repository.plan import reaching
from tenantry.services.side_clusters.model import OutsideWindow

# The parameters that hot standby needs at least as high as the server that wrote the log
# (manual, section 27.4.3), by their names in pg_controldata.
_AT_LEAST = (
    "max_connections",
    "max_worker_processes",
    "max_wal_senders",
    "max_prepared_xacts",
    "max_locks_per_xact",
)
_PARAMETERS = {
    "max_prepared_xacts": "max_prepared_transactions",
    "max_locks_per_xact": "max_locks_per_transaction",
}
_RECOVERY = re.compile(r"\s*(restore_command|recovery_target\w*|archive_mode)\s*=")


def candidates(backups: Sequence[Backup], moment: dt.datetime) -> list[Backup]:
    """Return the backups to begin with, first the one from which the least log has to be replayed.

    Raises OutsideWindow if the moment is before the oldest, Conflict if there is no backup.
    """
    usable = reaching(backups, None)
    if not usable:
        raise Conflict(
            "There is no backup of this cluster yet.",
            hint="The first is made soon after the start; tenantry doctor shows what stops it.",
        )
    found = reaching(usable, moment)
    if not found:
        first = min(each.reachable_from for each in usable)
        raise OutsideWindow(
            f"{moment:%F %T} UTC is before the oldest backup's end.",
            hint=f"The first moment that can be restored is {first:%F %T} UTC.",
        )
    return found


def names_in_backup(
    wanted: Collection[str], known: Mapping[str, int], oids: Collection[int]
) -> list[str]:
    """Return the databases of a backup (given with their oids) whose files have to be restored.

    A database that was replaced or put back later had another name then, which begins with its own,
    or is known by its oid. One created after the backup is completely in the log.
    """
    return sorted(
        name
        for name, oid in known.items()
        if name in wanted or oid in oids or any(names.is_beside(name, each) for each in wanted)
    )


def at_least(control_data: str) -> dict[str, int]:
    """Return the parameters that a server needs to replay the log, from pg_controldata's output."""
    found: dict[str, int] = {}
    for name in _AT_LEAST:
        line = re.search(rf"^{name} setting:\s+(\d+)$", control_data, re.MULTILINE)
        if line is not None:
            found[_PARAMETERS.get(name, name)] = int(line[1])
    return found


def parameters(least: Mapping[str, int], *, socket_dir: str, port: int) -> dict[str, str]:
    """Return a side cluster's parameters: no network, little memory, not durable."""
    return {name: str(value) for name, value in least.items()} | {
        "listen_addresses": "",
        "ssl": "off",
        "port": str(port),
        "unix_socket_directories": socket_dir,
        "unix_socket_permissions": "0700",
        "password_encryption": "scram-sha-256",
        "client_connection_check_interval": "5s",
        "archive_mode": "off",
        "hot_standby": "on",
        "shared_buffers": "64MB",
        "maintenance_work_mem": "64MB",
        "temp_file_limit": "10GB",  # what a tenant defines runs here, too
        "max_wal_size": "1GB",
        "fsync": "off",
        "synchronous_commit": "off",
        "full_page_writes": "off",
        "autovacuum": "off",
        "jit": "off",
        "timezone": "UTC",
        "log_timezone": "UTC",
        "lc_messages": "C",
        "logging_collector": "off",
        "log_statement": "none",
        "log_min_error_statement": "panic",
        "log_min_messages": "log",
        "log_line_prefix": "%m [%p] ",
    }


def recovery_settings(automatic: str) -> str:
    """Return the recovery settings in the ``postgresql.auto.conf`` that pgBackRest has written.

    What was set on the live server by ALTER SYSTEM must not apply here: it could open a port.
    """
    kept = [line for line in automatic.splitlines() if _RECOVERY.match(line)]
    return "\n".join([*kept, ""])


def segment_after(lsn: str, *, timeline: int, size: int) -> str:
    """Return the name of the segment of the log that follows the one with this position."""
    return f"{timeline:08X}{timelines.segment_of(timelines.read_lsn(lsn) + size, size)}"
