"""Limits: how they are written and shown."""

import re
from typing import Annotated, Any

import typer

from tenantry.base.sizes import readable
from tenantry.cli import times
from tenantry.cli.client import Row

_BYTES = {"kB": 2**10, "MB": 2**20, "GB": 2**30, "TB": 2**40}  # PostgreSQL's units
_BYTES |= {"KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}
_MIB = 2**20
_MILLISECONDS = {"ms": 1, "s": 1000, "min": 60_000, "h": 3_600_000, "d": 86_400_000}
_FIELDS = {
    "max-connections": "max_connections",
    "pool-size": "pool_size",
    "reserve-pool-size": "reserve_pool_size",
    "disk-quota": "disk_quota_bytes",
    "temp-file-limit": "temp_file_limit_bytes",
    "statement-timeout": "statement_timeout_ms",
    "lock-timeout": "lock_timeout_ms",
    "idle-in-transaction-timeout": "idle_in_transaction_session_timeout_ms",
    "cpu-weight": "cpu_weight",
}
_FIGURE = r"([0-9]{1,15}) ?([A-Za-z]{1,3})"


def _parsed(text: str, units: dict[str, int], example: str) -> int:
    known = {unit.lower(): factor for unit, factor in units.items()}
    if text.strip() == "0":
        return 0
    found = re.fullmatch(_FIGURE, text.strip())
    if found is None or found[2].lower() not in known:
        raise typer.BadParameter(f"write a number with its unit ({', '.join(units)}): {example}.")
    return int(found[1]) * known[found[2].lower()]


def parse_size(text: str) -> int:
    """Parse ``512MB`` into bytes; a unit is 1,024 of the one before, as in PostgreSQL."""
    return _parsed(text, _BYTES, "512MB, 10GB")


def parse_mebibytes(text: str) -> int:
    """Parse ``1GB`` into MiB; a number without a unit is one of MiB."""
    text = text.strip()
    return int(text) if text.isascii() and text.isdigit() else parse_size(text) // _MIB


def parse_time(text: str) -> int:
    """Parse ``30s`` into milliseconds; ``0`` means none."""
    return _parsed(text, _MILLISECONDS, "500ms, 30s, 5min, 1h, or 0 for none")


def parse_limit(text: str) -> str:
    """Return the API's field for a limit's name, such as ``disk-quota``."""
    if text not in _FIELDS:
        raise typer.BadParameter(f"write one of {', '.join(_FIELDS)}.")
    return _FIELDS[text]


def time(figure: int) -> str:
    """Format milliseconds: ``5 min``, ``none``."""
    if not figure:
        return "none"
    unit, factor = next(each for each in reversed(_MILLISECONDS.items()) if figure >= each[1])
    return f"{figure / factor:,.4g} {unit}"


OPTIONS: dict[str, Any] = {
    "max_connections": Annotated[
        int | None, typer.Option(min=1, help="How many sessions it may have at once.")
    ],
    "pool_size": Annotated[
        int | None, typer.Option(min=1, help="How many of them PgBouncer may hold for it.")
    ],
    "reserve_pool_size": Annotated[
        int | None,
        typer.Option(min=0, help="How many of those may be beyond its share when clients wait."),
    ],
    "disk_quota_bytes": Annotated[
        int | None,
        typer.Option(
            "--disk-quota", parser=parse_size, metavar="SIZE", help="What it may take on disk: 5GB."
        ),
    ],
    "temp_file_limit_bytes": Annotated[
        int | None,
        typer.Option(
            "--temp-file-limit",
            parser=parse_size,
            metavar="SIZE",
            help="Temporary files of one session: 512MB.",
        ),
    ],
    "statement_timeout_ms": Annotated[
        int | None,
        typer.Option(
            "--statement-timeout",
            parser=parse_time,
            metavar="TIME",
            help="Default for its sessions: 30s, 5min.",
        ),
    ],
    "lock_timeout_ms": Annotated[
        int | None,
        typer.Option(
            "--lock-timeout",
            parser=parse_time,
            metavar="TIME",
            help="Default for its sessions: 10s.",
        ),
    ],
    "idle_in_transaction_session_timeout_ms": Annotated[
        int | None,
        typer.Option(
            "--idle-in-transaction-timeout",
            parser=parse_time,
            metavar="TIME",
            help="Default for its sessions: 10min.",
        ),
    ],
    "cpu_weight": Annotated[
        int | None,
        typer.Option(
            min=1, max=10_000, help="Share of busy processors, relative to other databases."
        ),
    ],
}

Reset = Annotated[
    list[str] | None,
    typer.Option(
        parser=parse_limit, metavar="LIMIT", help="Have the plan's limit again; may be repeated."
    ),
]


_RESTRICTED = {"read_only": "read-only", "stopped": "stopped"}


def state(row: Row) -> str:
    """Return a database's status, or what prevents its sessions."""
    status = str(row["status"])
    if status != "active":
        return status
    if row.get("missing_since"):
        return "missing"
    if paused := row["paused"]:
        return f"paused, {times.distance(paused['until']).removeprefix('in ')} left"
    return _RESTRICTED.get(row["disk"]["state"], status)


def facts(row: Row) -> list[tuple[str, object]]:
    """Return a database's limits and disk usage, a line each."""
    limits, disk = row["limits"], row["disk"]
    used = "not measured yet" if disk["used_bytes"] is None else readable(disk["used_bytes"])
    paused, detail = row["paused"], disk.get("detail")
    return [
        *(
            [("paused", f"until {times.local(paused['until'])}. {paused['detail']}")]
            if paused
            else []
        ),
        *([(disk["state"].replace("_", "-"), detail)] if detail else []),
        ("plan", row["plan"]),
        ("disk", f"{used} of {readable(disk['quota_bytes'])} ({disk['state'].replace('_', '-')})"),
        ("max connections", limits["max_connections"]),
        ("pooled, at most", limits["pool_size"]),
        ("in reserve", limits["reserve_pool_size"]),
        ("temporary files", f"{readable(limits['temp_file_limit_bytes'])} a session"),
        ("statement timeout", time(limits["statement_timeout_ms"])),
        ("lock timeout", time(limits["lock_timeout_ms"])),
        ("idle in transaction", time(limits["idle_in_transaction_session_timeout_ms"])),
        ("CPU weight", limits["cpu_weight"]),
    ]
