"""Protection of logins from connections that never complete theirs.

A connection that stops in the middle of SCRAM, for which a role's name is enough, occupies one of
``max_connections`` slots until ``authentication_timeout``; one that sends nothing is a server
process. When all slots are taken nobody else can log in, not even a superuser: PostgreSQL checks
the reserved slots after the password. So while more than a fifth of the slots are taken like this,
the oldest unfinished logins of the address with the most of them are ended. Connections that have
sent nothing occupy no slot yet, but PostgreSQL has at most twice as many processes as slots: there
may be as many of them as there are slots. Only /proc shows them, and kill(2) ends them; neither
needs a connection.

PgBouncer ends unfinished logins itself; while there are many, or memory is short because of them,
its ``client_login_timeout`` is lowered. It has no command that ends a single one.

The findings are written to a file for the metrics and ``/ready``.
"""

import asyncio
import contextlib
import itertools
import json
import os
import re
import signal
import time
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from psycopg import sql

from tenantry.base.events import LoginsEnded, LoginsRefused, emit
from tenantry.base.home import Home
from tenantry.base.pausing import pause
from tenantry.host import files, processes
from tenantry.pg.clusters import Cluster
from tenantry.services.clusters.fleet import Fleet
from tenantry.services.observations.model import Measure, gauge
from tenantry.services.pooling import memory, plan
from tenantry.services.pooling.service import Pooler

_UNFINISHED = gauge(
    "tenantry_unfinished_logins",
    "Connections that have not finished their login, by endpoint",
    "endpoint",
)
_FLOOD = gauge(
    "tenantry_login_flood",
    "Whether there were too many unfinished logins within the last minute",
)

_LOOK_SECONDS = 0.1
_REPORT_LOOKS = 10
_POOLER_SECONDS = 0.25
_PART = 5  # of the slots
_MOST_ADDRESSES = 3  # listed in the log
_YOUNG_SECONDS = 0.15  # so seen twice: a process forked just now may not be a client's
_RECENT_SECONDS = 60.0  # without a flood before it counts as over
_STALE_SECONDS = 10.0
_MOST_LOG_BYTES = 4 * 1024 * 1024  # read at once, of each log
_REFUSALS = re.compile(
    rb"FATAL:  (?:password authentication failed|no pg_hba\.conf entry|pg_hba\.conf rejects"
    rb"|sorry, too many clients|remaining connection slots|canceling authentication)"
    rb"|pooler error: (?:password authentication failed|no such user|login rejected"
    rb"|client_login_timeout|SASL authentication failed|no more connections allowed)"
)


@dataclass(frozen=True, slots=True)
class Pending:
    """An unfinished login at PostgreSQL; ``address`` is None until the client's first message."""

    pid: int
    address: str | None
    seconds: float


@dataclass(slots=True)
class Seen:
    """Observed logins.

    ``authenticating`` and ``pooled`` count the unfinished ones now, at PostgreSQL and the pooler;
    ``ended`` counts since the worker started; ``flooded_at`` is when logins last had to be ended,
    or the pooler's timeout lowered. Times are those of ``time.time``.
    """

    at: float = 0.0
    authenticating: int = 0
    pooled: int = 0
    ended: int = 0
    refused_per_second: float = 0.0
    flooded_at: float = 0.0

    @property
    def warning(self) -> str | None:
        """The warning to show; None if there was no flood within the last minute."""
        if time.time() - self.flooded_at > _RECENT_SECONDS:
            return None
        return (
            f"Connections that never finish their login: {self.ended:,} were ended,"
            f" {self.refused_per_second:.0f} logins a second are refused."
        )


def seen(home: Home) -> Seen | None:
    """Return the worker's last observation; None if there is none or it is over 10 seconds old."""
    try:
        found = Seen(**json.loads(_file(home).read_text()))
    except (FileNotFoundError, ValueError, TypeError):
        return None
    return found if time.time() - found.at < _STALE_SECONDS else None


async def measures(home: Home) -> list[Measure]:
    """Return the unfinished logins that the worker last observed."""
    found = seen(home)
    if found is None:
        return []
    return [
        _UNFINISHED(found.authenticating, "postgresql"),
        _UNFINISHED(found.pooled, "pooler"),
        _FLOOD(found.warning is not None),
    ]


def _file(home: Home) -> Path:
    return home.run / "logins.json"


def surplus(pending: list[Pending], most: int) -> list[Pending]:
    """Return the logins to end so that ``most`` remain: the oldest of the address with the most.

    A login that is too young to be certainly a client's is not returned.
    """
    groups: defaultdict[str | None, list[Pending]] = defaultdict(list)
    for each in sorted(pending, key=lambda one: one.seconds):  # the oldest last
        groups[each.address].append(each)
    chosen = []
    for _ in range(len(pending) - most):
        last = max(groups.values(), key=len).pop()
        if last.seconds >= _YOUNG_SECONDS:
            chosen.append(last)
    return chosen


@dataclass(slots=True)
class _Server:
    """The unfinished logins of a cluster, tracked across looks."""

    cluster: Cluster
    most: int
    most_silent: int
    first_seen: dict[int, float] = field(default_factory=dict)

    def pending(self, *, always: bool) -> list[Pending]:
        """Return the unfinished logins; none, unless ``always``, if there cannot be many."""
        postmaster = self.cluster.pid()
        pids = processes.children(postmaster)
        if postmaster is None or (len(pids) <= self.most and not always):
            self.first_seen.clear()
            return []
        now, own = time.monotonic(), processes.command_line(postmaster)
        found = []
        for pid in pids:
            is_pending, address = _unfinished(processes.command_line(pid), own)
            if is_pending:
                found.append(Pending(pid, address, now - self.first_seen.setdefault(pid, now)))
        self.first_seen = {each.pid: self.first_seen[each.pid] for each in found}
        return found


def _unfinished(title: list[str], postmaster: list[str]) -> tuple[bool, str | None]:
    """Return whether a backend's title is that of an unfinished network login, and its address.

    The title is the postmaster's own until the first message, then "postgres: USER DATABASE
    ADDRESS(PORT) authentication"; names may contain spaces, the rest does not.
    """
    if title == postmaster:
        return True, None
    words = " ".join(title).split()
    if words[-1:] != ["authentication"] or words[-2] == "[local]":
        return False, None
    return True, words[-2].rpartition("(")[0]


class LoginFloods:
    """The watch of all shared clusters, and of their pooler."""

    def __init__(self, fleet: Fleet, pooler: Pooler, home: Home) -> None:
        self._fleet = fleet
        self._servers: dict[str, _Server] = {}
        self._pooler = pooler
        self._home = home
        self._logs = _Logs(home.logs)
        self._seen = Seen()
        self._ended = Counter[str]()  # by address, since the last report

    async def watch_servers(self) -> None:
        """Until cancelled, end surplus unfinished logins and report the observations."""
        for look in itertools.count():
            reporting = look % _REPORT_LOOKS == 0
            if reporting:
                self._find_servers()
            count = 0
            for server in self._servers.values():
                pending = server.pending(always=reporting)
                count += len(pending)
                silent = [each for each in pending if each.address is None]
                talking = [each for each in pending if each.address is not None]
                self._end(surplus(talking, server.most))
                self._end(surplus(silent, server.most_silent))
            if reporting:
                self._seen.authenticating = count
                self._report(await asyncio.to_thread(self._logs.refused, [*self._servers]))
            await pause(_LOOK_SECONDS)

    def _find_servers(self) -> None:
        for cluster in self._fleet.serving:
            places = self._fleet.sizing_of(cluster).max_connections
            server = self._servers.setdefault(cluster.name, _Server(cluster, 0, 0))
            server.most, server.most_silent = places // _PART, places

    async def watch_pooler(self) -> None:
        """Until cancelled, lower the pooler's login timeout while many logins are unfinished.

        Raises Unavailable if it does not answer any more.
        """
        async with self._pooler.console() as console:
            while True:
                lists = {row["list"]: int(row["items"]) for row in await console.show("LISTS")}
                self._seen.pooled = lists["login_clients"]
                clients = lists["used_clients"] + lists["login_clients"]
                limit = self._pooler.memory_limit(clients)
                is_short = plan.is_short(self._pooler.memory() or 0, limit=limit)
                held = await memory.held_by_logins(console) if is_short else 0
                if self._seen.pooled > plan.MANY_LOGINS or held > plan.LARGE_LOGINS:
                    self._seen.flooded_at = time.time()
                wanted = plan.login_seconds(self._seen.pooled, held=held)
                # Read each time: a RELOAD restores the value in the file.
                config = {row["key"]: row["value"] for row in await console.show("CONFIG")}
                if float(config["client_login_timeout"]) != wanted:
                    await console.run(
                        sql.SQL("SET client_login_timeout = {}").format(sql.Literal(wanted))
                    )
                await pause(_POOLER_SECONDS)

    def _end(self, logins: list[Pending]) -> None:
        for each in logins:
            with contextlib.suppress(ProcessLookupError):
                os.kill(each.pid, signal.SIGTERM)
        if logins:
            self._ended.update(each.address or "unknown" for each in logins)
            self._seen.ended += len(logins)
            self._seen.flooded_at = time.time()

    def _report(self, refused: int) -> None:
        now, seen = time.time(), self._seen
        if self._ended:
            addresses = dict(self._ended.most_common(_MOST_ADDRESSES))
            emit(LoginsEnded(self._ended.total(), addresses))
            self._ended.clear()
        if refused:
            emit(LoginsRefused(refused))
        seen.refused_per_second = round(refused / max(0.1, now - seen.at), 1) if seen.at else 0.0
        seen.at = now
        # Losing it does no harm, so it is not worth an fsync each second.
        files.replace(_file(self._home), json.dumps(asdict(seen)))


class _Logs:
    """The logs of the clusters and of the pooler, read incrementally."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._read: Mapping[int, int] | None = None  # offset by inode

    def refused(self, clusters: list[str]) -> int:
        """Return how many logins were refused since the last call."""
        found, read = 0, {}
        for pattern in (*(f"{name}-*.log" for name in clusters), "pooler.log"):
            for path in self._folder.rglob(pattern):
                with contextlib.suppress(FileNotFoundError), path.open("rb") as file:
                    status = os.fstat(file.fileno())
                    size, inode = status.st_size, status.st_ino
                    begin = size if self._read is None else self._read.get(inode, 0)
                    begin = 0 if begin > size else max(begin, size - _MOST_LOG_BYTES)
                    file.seek(begin)
                    text = file.read(size - begin)
                    found += len(_REFUSALS.findall(text))
                    read[inode] = begin + len(text)
        self._read = read
        return found
