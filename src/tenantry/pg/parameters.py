"""A cluster's parameters: sized to the machine, rendered whole."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from tenantry.pg import statement_statistics

MIB = 1024 * 1024
PRELOADED = "shared_preload_libraries"
_NOTIFY_PAGES = 16_384  # of 8 KiB: 128 MiB
_WAL_OF_DISK = 10  # the part of a disk that the write-ahead log of its servers may take
_WAL_OF_CONTROL = 40


@dataclass(frozen=True, slots=True)
class Machine:
    """The resources to share out."""

    memory_bytes: int
    cores: int

    @classmethod
    def this(cls, memory_mb: int | None = None) -> Self:
        """Return this machine, or ``memory_mb`` of it."""
        whole = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        return cls(
            min(whole, memory_mb * MIB) if memory_mb else whole, len(os.sched_getaffinity(0))
        )

    def part(self, of: int) -> "Machine":
        """Return an equal part of it, one of so many. Cores are shared."""
        return Machine(self.memory_bytes // of, self.cores)


@dataclass(frozen=True, slots=True)
class Sizing:
    """How a shared cluster and its pooler divide the machine. Counts are connections."""

    shared_buffers_mb: int
    effective_cache_mb: int
    maintenance_mb: int
    work_mb: int
    max_connections: int
    reserved: int  # slots that no tenant can take
    pooled: int  # the most that all pools together may hold
    per_database: int  # the most that one database may hold, direct and pooled together


def size(machine: Machine) -> Sizing:
    """Return sizes by the usual rules: a quarter of memory for buffers, 20 MiB a connection."""
    memory = machine.memory_bytes // MIB
    most = max(200, min(1000, memory // 20))
    reserved = 16
    # The rest, two fifths, is what one tenant cannot take away from the others.
    share = (most - reserved) * 3 // 5
    return Sizing(
        shared_buffers_mb=max(64, min(16_384, memory // 4)),
        effective_cache_mb=max(128, memory * 3 // 5),
        maintenance_mb=max(32, min(1024, memory // 32)),
        work_mb=max(4, min(64, memory // 2048)),
        max_connections=most,
        reserved=reserved,
        pooled=share,
        per_database=share,
    )


def wal_mb(disk_bytes: int, *, of_control: bool = False) -> int:
    """Return ``max_wal_size`` in MiB of a server on a disk, or on its share of one.

    A tenth of the disk, 256 MiB to 4 GiB; of the control cluster a fortieth, 64 MiB to 1 GiB. It is
    rounded down to a power of two: the size of some file systems (ZFS) changes with what is
    written, and each other value makes the server read its files again.
    """
    part, least, most = (_WAL_OF_CONTROL, 64, 1024) if of_control else (_WAL_OF_DISK, 256, 4096)
    wanted = max(1, disk_bytes // part // MIB)
    return max(least, min(most, 1 << (wanted.bit_length() - 1)))


# Statements of tenants may carry passwords and data: the log has neither.
_QUIET_LOG = {
    "log_statement": "none",
    "log_min_error_statement": "panic",
    "log_min_duration_statement": "-1",
    "log_parameter_max_length_on_error": "0",
    "log_error_verbosity": "terse",
    "log_line_prefix": "%m [%p] %u@%d ",
    "logging_collector": "on",
    # The supervisor deletes the oldest files: see host/log_files.py.
    "log_truncate_on_rotation": "on",
    "log_rotation_age": "1d",
    "log_rotation_size": "8MB",
}

_ALWAYS = _QUIET_LOG | {
    "password_encryption": "scram-sha-256",
    "recovery_init_sync_method": "syncfs",
    "max_prepared_transactions": "0",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "lc_messages": "C",
    "wal_level": "replica",
    "unix_socket_permissions": "0700",
    # Else a statement goes on when its client has died, and waits for ever if it waits.
    "client_connection_check_interval": "5s",
}


def control_parameters(*, wal_mb: int) -> dict[str, str]:
    """Return the control cluster's parameters: small, and no network at all."""
    return _ALWAYS | {
        "listen_addresses": "",
        "max_connections": "100",
        "shared_buffers": "128MB",
        "max_wal_size": f"{wal_mb}MB",
        # Each sample of a database changes another page of an index.
        "wal_compression": "on",
    }


def shared_parameters(
    sizing: Sizing, *, version: int, certificate: str, wal_mb: int
) -> dict[str, str]:
    """Return a shared cluster's parameters: TLS at every network endpoint, sized to the machine.

    ``certificate`` is a file that also holds the key.
    """
    parameters = _ALWAYS | {
        # A client that logs in chooses names, and a tenant texts: in JSON none of them can imitate
        # an entry.
        "log_destination": "jsonlog",
        "listen_addresses": "*",
        "ssl": "on",
        "ssl_cert_file": certificate,
        "ssl_key_file": certificate,
        "ssl_min_protocol_version": "TLSv1.2",
        "max_connections": str(sizing.max_connections),
        # A client that stops in the middle of a login takes a connection slot meanwhile.
        "authentication_timeout": "10s",
        "superuser_reserved_connections": str(sizing.reserved // 2),
        "shared_buffers": f"{sizing.shared_buffers_mb}MB",
        "effective_cache_size": f"{sizing.effective_cache_mb}MB",
        "maintenance_work_mem": f"{sizing.maintenance_mb}MB",
        "work_mem": f"{sizing.work_mb}MB",
        "max_wal_size": f"{wal_mb}MB",
        "checkpoint_completion_target": "0.9",
        "random_page_cost": "1.1",
        "max_locks_per_transaction": "256",
        "autovacuum_max_workers": "4",
        "temp_file_limit": "10GB",
        "track_io_timing": "on",
        **statement_statistics.PARAMETERS,
    }
    if version >= 16:  # noqa: PLR2004 (reserved_connections came with 16)
        parameters["reserved_connections"] = str(sizing.reserved - sizing.reserved // 2)
    if version >= 17:  # noqa: PLR2004 (before, the queue of NOTIFY has 8 GiB, and no parameter)
        parameters["max_notify_queue_pages"] = str(_NOTIFY_PAGES)
    return parameters


def overridden(values: Mapping[str, str], own: Mapping[str, str]) -> dict[str, str]:
    """Return parameters with an owner's in place of some, whose libraries are loaded, too."""
    libraries = [values.get(PRELOADED, ""), own.get(PRELOADED, "")]
    return {**values, **own, PRELOADED: ",".join(loaded_libraries(",".join(libraries)))}


def loaded_libraries(value: str) -> list[str]:
    """Return the names in a value of shared_preload_libraries, each once."""
    return list(dict.fromkeys(filter(None, map(str.strip, value.split(",")))))


def archiving(command: str | None) -> dict[str, str]:
    """Return the parameters by which ``command`` archives each segment; None turns archiving off.

    A segment that is not full is closed after a minute, so that no more than that can be lost
    together with this machine; where nothing is written, none is.
    """
    if command is None:
        return {"archive_mode": "off"}
    return {"archive_mode": "on", "archive_command": command, "archive_timeout": "60s"}


def render(parameters: Mapping[str, str]) -> str:
    """Return postgresql.conf, whole. Values are quoted as the manual says (section 20.1.2)."""
    lines = ["# Written by Tenantry. Your own settings go to custom.conf beside this file."]
    for name, value in sorted(parameters.items()):
        if "\n" in value or "\r" in value or "\0" in value:
            raise ValueError(f"{name} has a line break in its value")
        quoted = value.replace("\\", "\\\\").replace("'", "''")
        lines.append(f"{name} = '{quoted}'")
    lines.append("include_if_exists = 'custom.conf'")
    return "\n".join(lines) + "\n"
