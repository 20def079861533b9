"""The parameters of an instance's server that its owner may set, and the values that these take.

PostgreSQL puts each parameter in a category. Owners set those of the categories that decide how a
server plans, stores and cleans up, and a few more; the others say who gets in, where files are and
what is logged, or would hold for the platform's sessions, too. The first rule that names a
parameter decides. See docs/decisions/0095.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

from psycopg import AsyncConnection
from psycopg.rows import TupleRow, class_row

from tenantry.host import commands
from tenantry.pg import server_log
from tenantry.pg.drivers import Place

_PROBE_SECONDS = 20.0
_LONGEST = 1000  # characters of a value

_ATTRIBUTE = "is an attribute of the database: PATCH /api/databases/{{id}} with {}"
_SESSIONS = (
    "would hold for the platform's own sessions, too: set it for a login, with ALTER ROLE … SET"
)
_SAFE = "keeps committed data through a crash, and backups restorable"
_ADMITS = "is part of who reaches the server, and how, which the platform sees to"
_LOADS = "makes the server load or run code from a file"
_MEMORY = "decides how memory is taken, which the instance's limit would not count or not allow"

# By name; the categories below decide about the rest.
_NAMES: Mapping[str, str | None] = {
    "statement_timeout": _ATTRIBUTE.format("statement_timeout_ms"),
    "lock_timeout": _ATTRIBUTE.format("lock_timeout_ms"),
    "idle_in_transaction_session_timeout": _ATTRIBUTE.format(
        "idle_in_transaction_session_timeout_ms"
    ),
    "temp_file_limit": _ATTRIBUTE.format("temp_file_limit_bytes"),
    "timezone": _ATTRIBUTE.format("timezone"),
    "max_connections": "follows memory_mb: the pooler, and the platform's reserve, count on it",
    "max_prepared_transactions": "is 0: a forgotten prepared transaction holds its locks for ever",
    "max_notify_queue_pages": "bounds what listeners that do not read can take of the disk",
    "autovacuum": "has to stay on: without it the server runs out of transaction ids",
    "autovacuum_freeze_max_age": "is what the platform measures the age of transaction ids by",
    "autovacuum_multixact_freeze_max_age": "is what the platform measures the age of ids by",
    "track_activities": "has to stay on: sessions, and who waits for whom, are read from it",
    "track_counts": "has to stay on: autovacuum and the platform's advice go by it",
    "compute_query_id": "is what statements are counted by",
    "fsync": _SAFE,
    "full_page_writes": _SAFE,
    "wal_level": _SAFE,
    "wal_log_hints": _SAFE,
    "zero_damaged_pages": _SAFE,
    "ignore_checksum_failure": _SAFE,
    "dynamic_shared_memory_type": _MEMORY,
    "shared_memory_type": _MEMORY,
    "huge_pages": _MEMORY,
    "huge_page_size": _MEMORY,
    "log_executor_stats": "belongs to the server's log, which is the platform's",
    "log_parser_stats": "belongs to the server's log, which is the platform's",
    "log_planner_stats": "belongs to the server's log, which is the platform's",
    "log_statement_stats": "belongs to the server's log, which is the platform's",
    "dynamic_library_path": _LOADS,
    "extension_control_path": _LOADS,
    "default_text_search_config": None,
    "default_toast_compression": None,
    "gin_fuzzy_search_limit": None,
    "gin_pending_list_limit": None,
    "vacuum_failsafe_age": None,
    "vacuum_freeze_min_age": None,
    "vacuum_freeze_table_age": None,
    "vacuum_multixact_failsafe_age": None,
    "vacuum_multixact_freeze_min_age": None,
    "vacuum_multixact_freeze_table_age": None,
}

# By the beginning of their category in pg_settings; None: may be set.
_CATEGORIES: tuple[tuple[str, str | None], ...] = (
    ("Autovacuum", None),  # before PostgreSQL 18
    ("Vacuuming", None),
    ("Lock Management", None),
    ("Query Tuning", None),
    ("Resource Usage", None),
    ("Statistics", None),
    ("Write-Ahead Log / Checkpoints", None),
    ("Write-Ahead Log / Settings", None),
    ("Write-Ahead Log", "is part of backups and restores, which are the platform's"),
    ("Replication", "is part of replication, which is the platform's"),
    ("Connections and Authentication", _ADMITS),
    ("File Locations", "says where the server's files are, which the platform writes"),
    ("Reporting and Logging", "belongs to the server's log, from which the platform takes only"
     " what is chosen with PUT /api/databases/{id}/logs/settings"),
    ("Client Connection Defaults / Shared Library Preloading", _LOADS),
    ("Client Connection Defaults", _SESSIONS),
    ("Version and Platform Compatibility", _SESSIONS),
    ("Error Handling", "decides what the server does after a failure, which the platform expects"),
    ("Developer Options", "is for working on PostgreSQL itself, and can damage data"),
    ("Preset Options", "is decided when the server is built or its cluster initialized"),
    ("Customized Options", "is a library's: set it for a login, with ALTER ROLE … SET"),
)  # fmt: skip
_OTHERWISE = "is in none of the categories that owners set"

# Beyond the bounds of PostgreSQL, with which the server does not start, or not in time.
_LEAST = {"min_wal_size": "32MB", "max_wal_size": "32MB"}  # two segments
_MOST = {"min_wal_size": "8GB", "max_wal_size": "8GB"}  # recovery after a crash reads it all

_SIZES = {each: 1024**power for power, each in enumerate(("B", "kB", "MB", "GB", "TB"))}
_TIMES = {
    "us": 1,
    "ms": 1000,
    "s": 10**6,
    "min": 60 * 10**6,
    "h": 3600 * 10**6,
    "d": 86_400 * 10**6,
}
_NUMBER = re.compile(
    r"\s*(?P<number>[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d{1,3})?)\s*(?P<unit>[a-zA-Z]*)\s*",
    re.ASCII,
)
_UNIT = re.compile(r"(?P<count>\d*)(?P<unit>[a-zA-Z]+)", re.ASCII)
_TRUTHS = {"on": "on", "true": "on", "yes": "on", "1": "on"} | {
    "off": "off", "false": "off", "no": "off", "0": "off"
}  # fmt: skip

Type = Literal["bool", "integer", "real", "enum", "string"]


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter of a running server, as pg_settings has it.

    ``value`` is in force, with its unit. ``least``, ``most`` and ``initial``, PostgreSQL's own
    default, are in ``unit``, such as ``8kB``. A change of one with the context ``postmaster`` waits
    for a restart, and is ``pending_restart`` if the server's files have it.
    """

    name: str
    value: str
    unit: str | None
    type: Type
    least: str | None
    most: str | None
    choices: list[str] | None
    initial: str | None
    context: str
    category: str
    description: str
    pending_restart: bool

    @property
    def needs_restart(self) -> bool:
        """Whether a change comes into force by a restart only."""
        return self.context == "postmaster"

    @property
    def refusal(self) -> str | None:
        """Return why an owner may not set it; None if it can be set."""
        if (name := self.name.lower()) in _NAMES:
            return _NAMES[name]
        for beginning, refusal in _CATEGORIES:
            if self.category.startswith(beginning):
                return refusal
        return _OTHERWISE

    @property
    def default(self) -> str:
        """Return PostgreSQL's own default, with its unit."""
        if self.initial is None or self.unit is None or self.initial in {"-1", "0"}:
            return self.initial or ""
        count, unit = _parts(self.unit)
        return f"{Decimal(self.initial) * count:f}{unit}"

    def checked(self, value: str) -> str:
        """Return a value as the server's files shall have it. Raises ValueError."""
        text = value.strip()
        if len(text) > _LONGEST:
            raise ValueError(f"must have at most {_LONGEST:,} characters")
        match self.type:
            case "bool":
                if (truth := _TRUTHS.get(text.lower())) is None:
                    raise ValueError("must be on or off")
                return truth
            case "enum":
                choices = self.choices or []
                if text.lower() not in choices:
                    raise ValueError(f"must be one of {', '.join(choices)}")
                return text.lower()
            case "integer" | "real":
                self._check_number(text)
        return text

    def amount(self, text: str) -> Decimal:
        """Return a number in the parameter's unit. Raises ValueError."""
        return amount(text, self.unit)

    def _check_number(self, text: str) -> None:
        number = self.amount(text)
        if self.type == "integer":
            if self.unit is None and number != number.to_integral_value():
                raise ValueError("must be a whole number")
            number = number.to_integral_value()
        least = [each for each in (self.least, _LEAST.get(self.name)) if each is not None]
        most = [each for each in (self.most, _MOST.get(self.name)) if each is not None]
        for each in least:
            if number < self.amount(each):
                raise ValueError(f"must be at least {self._shown(each)}")
        for each in most:
            if number > self.amount(each):
                raise ValueError(f"must be at most {self._shown(each)}")

    def _shown(self, bound: str) -> str:
        if self.unit is None or bound[-1].isalpha():
            return bound
        count, unit = _parts(self.unit)
        return f"{Decimal(bound) * count:f} {unit}"


def amount(text: str, unit: str | None) -> Decimal:
    """Return a number, which may have a unit of its own, in a unit of pg_settings, such as ``8kB``.

    Raises ValueError.
    """
    found = _NUMBER.fullmatch(text)
    if found is None:
        raise ValueError(f"must be a number{_example(unit)}")
    number, own = Decimal(found["number"]), found["unit"]
    if not own:
        return number
    if unit is None:
        raise ValueError("must be a number without a unit")
    count, name = _parts(unit)
    known = _SIZES if name in _SIZES else _TIMES
    if own not in known:
        raise ValueError(f"has no such unit as {own}{_example(unit)}")
    return number * known[own] / (known[name] * count)


def _example(unit: str | None) -> str:
    if unit is None:
        return ""
    is_size = _parts(unit)[1] in _SIZES
    example, units = ("8MB", _SIZES) if is_size else ("30s", _TIMES)
    return f", such as {example} ({', '.join(units)})"


def _parts(unit: str) -> tuple[int, str]:
    """Return the factor and the name of a unit of pg_settings, such as ``8kB`` or ``ms``."""
    found = _UNIT.fullmatch(unit)
    if found is None:
        raise ValueError(f"is in {unit}, which is no unit that is known here")
    return int(found["count"] or 1), found["unit"]


async def every(server: AsyncConnection[TupleRow]) -> dict[str, Parameter]:
    """Return all parameters of a server by name, for a superuser, who sees all of them."""
    async with server.cursor(row_factory=class_row(Parameter)) as cursor:
        await cursor.execute(
            """
            SELECT name, current_setting(name) AS value, unit, vartype AS type, min_val AS least,
                max_val AS most, enumvals AS choices, boot_val AS initial, context, category,
                short_desc AS description, pending_restart
            FROM pg_settings ORDER BY lower(name)
            """
        )
        return {each.name: each for each in await cursor.fetchall()}


async def rejected(place: Place, values: Mapping[str, str]) -> str | None:
    """Return what PostgreSQL has against these values beside those of its files; None if nothing.

    The program reads its files and checks all values, as at a start, and ends before it takes any
    memory: that too much is asked for is seen at the start only.
    """
    options = [word for name, value in values.items() for word in ("-c", f"{name}={value}")]
    ended = await commands.run(
        [place.bindir / "postgres", "-D", place.data, "-C", "data_directory", *options],
        env={"LC_ALL": "C"},
        check=False,
        deadline=_PROBE_SECONDS,
    )
    return None if ended.returncode == 0 else server_log.cause(ended.stderr)
