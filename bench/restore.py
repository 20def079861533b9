"""How long it takes to get data back, and what the neighbours notice of it meanwhile.

A gigabyte over a hundred databases of one server. A neighbour writes by both endpoints all the
time; its latencies are reported for each of the things that are done. The peers are what one
would do by hand: pgBackRest itself on the same cluster, and pg_dump into pg_restore.
"""

import datetime as dt
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import psycopg
from psycopg import sql

import restore_sizes
from restoring import (
    BACKUP,
    Asking,
    Figures,
    as_service,
    ended,
    plain_repository,
    recovered,
    settled,
    started,
)
from support import MIB, Aim, Installation, Report, machine, run, say, settle, summary

ENDPOINTS = {"direct": "connection_string", "pooled": "connection_string_pooled"}
PACE = 0.02  # seconds between the neighbour's transactions, by each endpoint
ROW = "repeat(md5(random()::text), 31)"  # about a kilobyte


class Neighbour:
    """A tenant that updates a row again and again by one endpoint, and keeps how long each took."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._over = threading.Event()
        self._took: list[tuple[float, float]] = []  # when it began, seconds
        self.errors = 0
        self._thread = threading.Thread(target=self._work)

    def __enter__(self) -> "Neighbour":
        with psycopg.connect(self._url, autocommit=True) as session:
            session.execute("CREATE TABLE IF NOT EXISTS counted (n bigint)")
            session.execute("INSERT INTO counted VALUES (0)")
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _work(self) -> None:
        while not self._over.is_set():
            try:
                with psycopg.connect(self._url, autocommit=True) as session:
                    while not self._over.wait(PACE):
                        began = time.perf_counter()
                        session.execute("UPDATE counted SET n = n + 1")
                        self._took.append((began, time.perf_counter() - began))
            except psycopg.Error:
                self.errors += 1

    def since(self, began: float) -> list[float]:
        """The seconds of each transaction that began after that."""
        return [seconds for at, seconds in self._took if at >= began]


class Clock:
    """Times what is done, and what the neighbours noticed of it."""

    def __init__(self, neighbours: dict[str, Neighbour]) -> None:
        self._neighbours = neighbours
        self.found: dict[str, Figures] = {}

    def time(self, name: str, act: Callable[[], object]) -> float:
        began = time.perf_counter()
        act()
        seconds = time.perf_counter() - began
        self.found[name] = {"seconds": round(seconds, 2)} | {
            f"neighbour_{endpoint}": summary(each.since(began) or [0.0])
            for endpoint, each in self._neighbours.items()
        }
        say(f"{name}: {seconds:.2f} s")
        return seconds


def filled(here: Installation, count: int, rows: int) -> list[Figures]:
    """So many databases with so many rows of a kilobyte each."""
    made = [here.create(friendlyName=f"Database {number}", shadow=False) for number in range(count)]

    def fill(database: Figures) -> None:
        with psycopg.connect(database["connection_string"]) as session:
            session.execute(
                f"CREATE TABLE held AS SELECT g AS id, {ROW} AS text"  # noqa: S608
                f" FROM generate_series(1, {rows}) g"
            )
            session.execute("ALTER TABLE held ADD PRIMARY KEY (id)")
        with psycopg.connect(database["connection_string"], autocommit=True) as session:
            session.execute("VACUUM ANALYZE held")  # else autovacuum does it meanwhile

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(fill, made))
    here.reconcile()  # removes the shadows that were not wanted: a third of all bytes
    return made


# ── the peers ────────────────────────────────────────────────────────────────


def dump_into(here: Installation, database: Figures, name: str) -> None:
    """pg_dump into pg_restore, as the superuser, by the Unix socket."""
    with here.superuser() as server:
        server.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    where = f"--host={here.home / 'run' / 'shared-1'} --port={here.pg_port} -U tenantry_admin"
    as_service(
        "sh",
        "-c",
        f"pg_dump {where} -Fc {database['database_name']} | pg_restore {where} -d {name}",
    )
    with here.superuser() as server:
        server.execute(sql.SQL("DROP DATABASE {}").format(sql.Identifier(name)))


# ── the run ──────────────────────────────────────────────────────────────────


def measure(here: Installation, count: int, rows: int) -> dict[str, Figures]:
    made = filled(here, count, rows)
    first = made[0]
    tenant = here.create(shadow=False)
    api = Asking(here)
    settled(api)
    shared = next(row for row in api("GET", "/api/clusters")[1]["data"] if row["kind"] == "shared")
    backups, mine = f"/api/clusters/{shared['id']}/backups", f"/api/databases/{first['id']}"

    def ask(path: str, **body: object) -> Figures:
        return ended(api, started(api("POST", path, **body)))

    settle(here)
    with (
        Neighbour(tenant[ENDPOINTS["direct"]]) as direct,
        Neighbour(tenant[ENDPOINTS["pooled"]]) as pooled,
        plain_repository(here) as plain,
    ):
        clock = Clock({"direct": direct, "pooled": pooled})
        clock.time("quiet", lambda: time.sleep(10))
        as_service(*plain, "stanza-create", "--no-online")
        for kind in ("full", "incr"):
            clock.time(f"backup, {kind}", partial(ask, backups, type=kind))
            clock.time(
                f"plain pgBackRest, {kind}",
                partial(as_service, *plain, "backup", f"--type={kind}", *BACKUP),
            )
        moment = dt.datetime.now(dt.UTC)
        clock.time("plain pg_dump | pg_restore", lambda: dump_into(here, first, "plain_copy"))
        clock.time(
            "one database to a moment, as new",
            lambda: ask(f"{mine}/restore", to=moment.isoformat(), **{"as": "new"}),
        )
        clock.time(
            "one database to a moment, in place",
            lambda: ask(f"{mine}/restore", to=moment.isoformat(), **{"as": "in_place"}),
        )
        clock.time("branch, now", lambda: ask(f"{mine}/branches", name="now"))
        clock.time(
            "branch, at a moment",
            lambda: ask(f"{mine}/branches", name="then", at=moment.isoformat()),
        )
        clock.time("backup of one database", lambda: ask(f"{mine}/backups", format="custom"))
        target = here.create(shadow=False)
        clock.time(
            "import of one database",
            lambda: ask(
                f"/api/databases/{target['id']}/import",
                **{"from": made[1]["connection_string"]},
            ),
        )
        clock.found["errors of the neighbour"] = {
            "direct": direct.errors,
            "pooled": pooled.errors,
        }
    return clock.found


def benchmark(quick: bool) -> Report:
    count, rows = (5, 1_000) if quick else (100, 10_000)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // MIB
    here = Installation(
        {
            "TENANTRY_WARM_POOL": "2",
            "TENANTRY_MEMORY_MB": str(memory),
            "TENANTRY_BACKUPS": "on",
            "TENANTRY_IMPORT_PRIVATE": "on",
        }
    )
    try:
        here.up()
        of = machine(here)
        found = measure(here, count, rows)
        seconds = recovered(here)
        found["disaster recovery, everything"] = {"seconds": round(seconds, 2)}
        say(f"disaster recovery: {seconds:.2f} s")
    finally:
        here.remove()
    errors = sum(found["errors of the neighbour"].values())
    by_hand = found["plain pg_dump | pg_restore"]["seconds"]
    full = found["backup, full"]["seconds"] / found["plain pgBackRest, full"]["seconds"]
    restored = found["one database to a moment, as new"]["seconds"]
    return Report(
        of,
        {"databases": count, "rows_each": rows, **found},
        [
            Aim.at_most("errors of the neighbour", errors, 0),
            Aim.at_most("full backup, of plain pgBackRest", full, 1.5),
            Aim.at_most("one database to a moment, of pg_dump into pg_restore, s more",
                        restored - by_hand, 20.0),
        ],
    )  # fmt: skip


if __name__ == "__main__":
    run("restore", __doc__.partition("\n")[0], benchmark, at_sizes=restore_sizes.benchmark)
