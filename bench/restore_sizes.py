"""How backups and restores of one cluster grow with the number of databases on it.

All but one are empty, and each has its shadow. After each of pgBackRest's own verbs Tenantry's are
timed, on the same cluster and in the same minutes. Run by ``restore.py --databases``.
"""

import datetime as dt
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import psycopg

from restoring import (
    BACKUP,
    PATIENCE,
    Asking,
    Figures,
    as_service,
    ended,
    idle,
    plain_repository,
    recovered,
    settled,
    started,
)
from support import MIB, Aim, Installation, Report, machine, say, settle

ROWS = 100_000
ROW = "repeat(md5(random()::text), 3)"  # about a hundred bytes
CALLERS = 4
RESTORE_SECONDS = {400: 15.0, 1000: 30.0}  # one database to a second, at most
WAYS = ("as new", "in place", "as a branch")
NEW_SECONDS = 60.0  # the backup that first covers 400 new databases, at most


class Growing:
    """A cluster whose databases become more."""

    def __init__(self, here: Installation, plain: list[str]) -> None:
        self._here, self._plain = here, plain
        self._api = Asking(here)
        self._there = 1
        self._first = here.create(friendlyName="Filled")
        with psycopg.connect(self._first["connection_string"]) as session:
            session.execute(
                f"CREATE TABLE held AS SELECT g AS id, {ROW} AS text"  # noqa: S608
                f" FROM generate_series(1, {ROWS}) g"
            )
            session.execute("ALTER TABLE held ADD PRIMARY KEY (id)")
        settled(self._api)
        clusters = self._api("GET", "/api/clusters")[1]["data"]
        shared = next(row for row in clusters if row["kind"] == "shared")
        self._backups = f"/api/clusters/{shared['id']}/backups"
        as_service(*plain, "stanza-create", "--no-online")
        as_service(*plain, "backup", "--type=full", *BACKUP)

    def grow(self, count: int) -> None:
        """Have so many databases."""
        wanted = range(self._there, count)
        with ThreadPoolExecutor(CALLERS) as threads:
            list(threads.map(lambda n: self._here.create(friendlyName=f"Empty {n}"), wanted))
        self._there = count
        settle(self._here)

    def measure(self) -> Figures:
        """What each verb takes at this number."""
        data = self._here.home / "clusters" / "shared-1" / "data"
        found: Figures = {
            "files": sum(len(names) for _, _, names in os.walk(data / "base")),
            "load": round(os.getloadavg()[0], 1),
        }

        def clock(name: str, act: Callable[[], object]) -> None:
            idle(self._api)
            began = time.perf_counter()
            act()
            found[name] = round(time.perf_counter() - began, 1)
            say(f"{self._there} databases, {name}: {found[name]} s")

        plainly = partial(as_service, *self._plain, "backup", "--type=incr", *BACKUP)
        asked = partial(self._ask, self._backups, type="incr")
        clock("backup that first covers the new databases", asked)
        clock("the same by pgBackRest", plainly)
        clock("next incremental", asked)
        clock("the same incremental by pgBackRest", plainly)
        moment = dt.datetime.now(dt.UTC).isoformat()
        mine = f"/api/databases/{self._first['id']}"
        for name, path, body in (
            ("as new", "restore", {"to": moment, "as": "new"}),
            ("in place", "restore", {"to": moment, "as": "in_place"}),
            ("as a branch", "branches", {"name": f"at-{self._there}", "at": moment}),
        ):
            clock(f"pgBackRest restore --db-include, before that {name}", self._restore_plainly)
            clock(f"one database to a second, {name}", partial(self._ask, f"{mine}/{path}", **body))
        return found

    def _ask(self, path: str, **body: object) -> Figures:
        while (answer := self._api("POST", path, **body))[0] == 409:
            idle(self._api)  # one that has begun by itself in between
        return ended(self._api, started(answer))

    def _restore_plainly(self) -> None:
        folder = Path(tempfile.mkdtemp(prefix="tnt-plain-"))
        if os.geteuid() == 0:
            shutil.chown(folder, "tenantry", "tenantry")
        words = [each for each in self._plain if not each.startswith("--pg1-")]
        try:
            as_service(
                *words,
                "restore",
                f"--pg1-path={folder}",
                f"--spool-path={folder}-spool",  # it looks there
                f"--db-include={self._first['database_name']}",
                f"--process-max={len(os.sched_getaffinity(0))}",
            )
        finally:
            shutil.rmtree(folder)


def benchmark(sizes: Sequence[int]) -> Report:
    """The figures at each of these numbers of databases."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // MIB
    here = Installation(
        {"TENANTRY_WARM_POOL": "2", "TENANTRY_MEMORY_MB": str(memory), "TENANTRY_BACKUPS": "on"}
    )
    here.patience = PATIENCE
    found: dict[str, Figures] = {}
    try:
        here.up()
        of = machine(here)
        with plain_repository(here) as plain:
            growing = Growing(here, plain)
            for size in sizes:
                growing.grow(size)
                found[str(size)] = growing.measure()
                seconds = recovered(here)
                found[str(size)]["everything, on an empty machine"] = round(seconds, 1)
                say(f"{size} databases, everything: {seconds:.1f} s")
                if size != sizes[-1]:
                    here.up()
    finally:
        here.remove()
    return Report(of, dict(found), _aims(found))


def _aims(found: dict[str, Figures]) -> list[Aim]:
    aims = []
    for size, seconds_at_most in RESTORE_SECONDS.items():
        figures = found.get(str(size), {})
        for way in WAYS if figures else ():
            peer = figures[f"pgBackRest restore --db-include, before that {way}"]
            most = max(seconds_at_most, 2 * peer)
            seconds = figures[f"one database to a second, {way}"]
            aims.append(Aim.at_most(f"{size} databases, {way}", seconds, most))
    if "400" in found:
        seconds = found["400"]["backup that first covers the new databases"]
        aims.append(Aim.at_most("first backup of the new ones up to 400", seconds, NEW_SECONDS))
    return aims
