"""How fast one folder of migrations reaches hundreds of databases, and what stops it.

500 databases and 10 files, by `POST /api/migrations` beside what one would do by hand in the
same run: a loop of `psql -1 -f`, a psql for each file of each database (over a fifth of them,
as it takes so long); the same by `xargs -P`; and, as a floor, one psql for each database that
runs all its files. Then one database fails in the middle, the worker is killed in the middle,
and clients read on the pooled port meanwhile. Each file leaves a row behind in each database,
so that one that ran twice, or never, is found.

At the end one database gets a folder of 64 MiB (``migrate_folder``), which ``PARTS=folder`` makes
alone.
"""

import datetime as dt
import os
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg

import migrate_folder
from migrate_files import SQL, UNDO
from support import (
    Aim,
    Api,
    Installation,
    Report,
    installation,
    machine,
    percentile,
    run,
    say,
    settle,
    summary,
)

PARALLEL = 8  # of the fleet, and of xargs
SERIAL_EVERY = 5  # of so many databases one is migrated by the loop
CREATORS = 4
BROKEN_FILE = 6
CLIENTS = 8
PACE = 0.002  # seconds between a client's reads
PATIENCE = 900.0
OWNER = "fleet@example.com"

Figures = dict[str, Any]


class Field:
    """An installation with the databases that are to be migrated, and the files."""

    def __init__(self, here: Installation, databases: list[Figures], folder: Path) -> None:
        self.here = here
        self.databases = databases
        self.files = [folder / name for name in SQL]
        for path in self.files:
            path.write_text(SQL[path.name])

    @property
    def urls(self) -> list[str]:
        return [str(each["connection_string"]) for each in self.databases]

    def everywhere(
        self, work: Callable[[psycopg.Connection[Any]], object], *, every: int = 1
    ) -> list[Any]:
        """Do something in each database, or in one of so many, outside of what is measured."""

        def each(url: str) -> object:
            with psycopg.connect(url, autocommit=True) as session:
                return work(session)

        with ThreadPoolExecutor(PARALLEL) as threads:
            return list(threads.map(each, self.urls[::every]))

    def undo(self) -> None:
        """Have all databases empty again, and nobody's arrears in the next measurement."""
        self.everywhere(lambda session: session.execute(UNDO))
        settle(self.here)

    def wrong(self, *, recorded: bool = True, every: int = 1) -> int:
        """How many databases are not at the last version with each file applied exactly once."""
        once = [(number,) for number in range(1, len(SQL) + 1)]

        def is_wrong(session: psycopg.Connection[Any]) -> bool:
            if session.execute("SELECT version FROM ran ORDER BY at").fetchall() != once:
                return True
            query = "SELECT version, dirty FROM schema_migrations"
            return recorded and session.execute(query).fetchall() != [(len(SQL), False)]

        return sum(self.everywhere(is_wrong, every=every))

    # ── the fleet ────────────────────────────────────────────────────────────

    def begin(self, *, files: int = len(SQL), max_failures: int = 0) -> str:
        """Begin a run with the first of the files. Returns the operation's id."""
        with Api(self.here) as api:
            status, answer = api(
                "POST",
                "/api/migrations",
                files=[{"name": name, "sql": SQL[name]} for name in list(SQL)[:files]],
                owner_email=OWNER,
                parallel=PARALLEL,
                max_failures=max_failures,
            )
        if status != 202:
            raise RuntimeError(answer)
        return str(answer["data"]["id"])

    def ended(self, operation: str) -> Figures:
        """The operation once it is over."""
        give_up = time.monotonic() + PATIENCE
        while True:
            with Api(self.here) as api:
                row: Figures = api("GET", f"/api/operations/{operation}")[1]["data"]
            if row["finished_at"] is not None:
                return row
            if time.monotonic() > give_up:
                raise TimeoutError(str(row))
            time.sleep(0.05)

    def report(self, operation: str) -> list[Figures]:
        """What came of a run in each database."""
        with Api(self.here) as api:
            rows: list[Figures] = api("GET", f"/api/migrations/{operation}?limit=1000")[1]["data"]
        return rows

    def fleet(
        self, *, files: int = len(SQL), max_failures: int = 0
    ) -> tuple[Figures, list[Figures], float]:
        """A run to its end: the operation, the report, the seconds from asking to the end."""
        began = time.perf_counter()
        operation = self.begin(files=files, max_failures=max_failures)
        row = self.ended(operation)
        return row, self.report(operation), time.perf_counter() - began


def statuses(report: Sequence[Figures]) -> dict[str, int]:
    found = [row["status"] for row in report]
    return {status: found.count(status) for status in sorted(set(found))}


def moment(text: str) -> dt.datetime:
    return dt.datetime.fromisoformat(text)


def paced(count: int, seconds: float) -> Figures:
    return {"seconds": round(seconds, 2), "databases_per_second": round(count / seconds, 2)}


# ── by hand ──────────────────────────────────────────────────────────────────

_PSQL = "psql -qAtXw -v ON_ERROR_STOP=1"
_A_PSQL_A_FILE = f'for file in "$FOLDER"/*; do {_PSQL} -1 -f "$file" "$0" || exit 255; done'
_A_PSQL_A_DATABASE = (
    f'for file in "$FOLDER"/*; do echo "BEGIN;"; cat "$file"; echo "COMMIT;"; done | {_PSQL} "$0"'
)


def by_hand(field: Field, command: str, *, parallel: int, every: int = 1) -> Figures:
    """A shell's command for each database, or one of so many, as many at a time."""
    urls = field.urls[::every]
    began = time.perf_counter()
    subprocess.run(
        ["xargs", "-n1", f"-P{parallel}", "sh", "-c", command],
        input="\n".join(urls),
        text=True,
        check=True,
        env=os.environ | {"FOLDER": str(field.files[0].parent)},
        stdout=subprocess.DEVNULL,
    )
    figures = paced(len(urls), time.perf_counter() - began)
    return {
        "databases": len(urls),
        **figures,
        "wrong_databases": field.wrong(recorded=False, every=every),
    }


# ── the fleet, and what can happen to it ─────────────────────────────────────


def plain(field: Field) -> Figures:
    row, report, seconds = field.fleet()
    took = [
        (moment(each["finished_at"]) - moment(each["started_at"])).total_seconds()
        for each in report
    ]
    return {
        **paced(len(report), seconds),
        "status": row["status"],
        "databases": statuses(report),
        "per_database": summary(took),
        "wrong_databases": field.wrong(),
    }


def failing(field: Field) -> Figures:
    """File 6 fails in the database in the middle: once nobody may fail, and once one may."""
    found: Figures = {}
    for name, budget in (("stops_at_once", 0), ("within_max_failures", 1)):
        field.undo()
        bad = field.databases[len(field.databases) // 2]
        with psycopg.connect(bad["connection_string"], autocommit=True) as session:
            session.execute("CREATE TYPE plan AS ENUM ()")
            row, report, seconds = field.fleet(max_failures=budget)
            session.execute("DROP TYPE plan")
        [failed] = [each for each in report if each["status"] == "failed"]
        again, after, seconds_after = field.fleet(max_failures=budget)
        found[name] = {
            "seconds": round(seconds, 2),
            "status": row["status"],
            "databases": statuses(report),
            "reported": failed["error"]["detail"],
            "failed_at": {"version": failed["version"], "dirty": failed["dirty"]},
            "again": {
                "seconds": round(seconds_after, 2),
                "status": again["status"],
                "steps": sum(each["steps"] for each in after),
                "steps_that_were_left": sum(
                    len(SQL) - (each["version"] or 0)
                    for each in report
                    if each["status"] != "succeeded"
                ),
            },
            "wrong_databases": field.wrong(),
        }
    return found


def killed(field: Field) -> Figures:
    """kill -9 of the worker when half is done."""
    field.undo()
    worker = field.here.pids()["worker"]
    half = len(field.databases) // 2
    began = time.perf_counter()
    operation = field.begin()
    with field.here.control() as control:
        done = 0
        while done < half:
            [(done,)] = control.execute(
                "SELECT count(*) FROM migration_targets"
                " WHERE operation_id = %s AND status = 'succeeded'",
                (operation,),
            ).fetchall()
            time.sleep(0.005)
    os.kill(worker, signal.SIGKILL)
    struck = time.perf_counter()
    row = field.ended(operation)
    over = time.perf_counter()
    return {
        "seconds": round(over - began, 2),
        "done_when_killed": done,
        "seconds_after_the_kill": round(over - struck, 2),
        "status": row["status"],
        "databases": statuses(field.report(operation)),
        "wrong_databases": field.wrong(),
    }


class Client:
    """Reads through the pooler by a prepared statement, and keeps how long each read took."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._over = threading.Event()
        self.took: list[float] = []
        self.errors: list[str] = []
        self._thread = threading.Thread(target=self._work)

    def __enter__(self) -> "Client":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _work(self) -> None:
        with psycopg.connect(self._url, autocommit=True, prepare_threshold=0) as session:
            while not self._over.wait(PACE):
                began = time.perf_counter()
                try:
                    session.execute("SELECT * FROM users u LEFT JOIN sites s ON s.user_id = u.id")
                except psycopg.Error as error:
                    self.errors.append(str(error))
                self.took.append(time.perf_counter() - began)


@contextmanager
def reading(field: Field) -> Iterator[list[Client]]:
    """Clients of databases all over the fleet."""
    step = max(1, len(field.databases) // CLIENTS)
    clients = [Client(each["connection_string_pooled"]) for each in field.databases[::step]]
    for client in clients:
        client.__enter__()
    try:
        yield clients
    finally:
        for client in clients:
            client.__exit__()


def with_clients(field: Field) -> Figures:
    """The last eight files, while some of the databases are read."""
    field.undo()
    field.fleet(files=2)
    with reading(field) as clients:
        time.sleep(1)
        row, report, seconds = field.fleet()
    return {
        **paced(len(report), seconds),
        "status": row["status"],
        "clients": len(clients),
        "reads": sum(len(each.took) for each in clients),
        "errors": [text for each in clients for text in each.errors][:5],
        "error_count": sum(len(each.errors) for each in clients),
        "read_p99_ms": round(
            percentile([x for each in clients for x in each.took], 0.99) * 1000, 2
        ),
        "longest_wait_ms": round(max(max(each.took) for each in clients) * 1000, 1),
        "wrong_databases": field.wrong(),
    }


def measure(field: Field) -> Figures:
    found: Figures = {}

    def section(name: str, work: Callable[[], Figures]) -> None:
        found[name] = work()
        say(f"{name}: {found[name]}")

    sections: dict[str, Callable[[], Figures]] = {
        "serial_psql": lambda: by_hand(field, _A_PSQL_A_FILE, parallel=1, every=SERIAL_EVERY),
        "xargs_psql": lambda: by_hand(field, _A_PSQL_A_FILE, parallel=PARALLEL),
        "xargs_one_psql_a_database": lambda: by_hand(field, _A_PSQL_A_DATABASE, parallel=PARALLEL),
        "fleet": lambda: plain(field),
    }
    field.undo()
    say("the databases are on the disk")
    for name, work in sections.items():
        section(name, work)
        field.undo()
    section("failing", lambda: failing(field))
    section("killed", lambda: killed(field))
    section("clients", lambda: with_clients(field))
    return found


def created(here: Installation, count: int) -> list[Figures]:
    """The databases to migrate, which nobody times, in the order in which they are."""
    began = time.perf_counter()
    with ThreadPoolExecutor(CREATORS) as threads:
        made = list(
            threads.map(
                lambda number: here.create(
                    friendlyName=f"Number {number}", ownerEmail=OWNER, shadow=False
                ),
                range(count),
            )
        )
    say(f"{count} databases are there after {time.perf_counter() - began:.0f} s")
    return sorted(made, key=lambda row: str(row["database_name"]))


def folder_alone(quick: bool) -> Report:
    with installation(warm_pool=1) as here:
        of = machine(here)
        found = migrate_folder.measure(here, quick=quick)
    return Report(of, {"large_folder": found}, [_as_psql(found)])


def _as_psql(found: Figures) -> Aim:
    worst = max(each["of_psql"] for each in found.values())
    return Aim.at_most("of psql's time for a large folder", worst, 1.5)


def benchmark(quick: bool) -> Report:
    if os.environ.get("PARTS") == "folder":
        return folder_alone(quick)
    count = 40 if quick else 500
    with installation(warm_pool=CREATORS) as here, tempfile.TemporaryDirectory() as folder:
        of = machine(here)
        found = measure(Field(here, created(here, count), Path(folder)))
        found["large_folder"] = migrate_folder.measure(here, quick=quick)
    rates = {name: found[name]["databases_per_second"] for name in ("serial_psql", "xargs_psql")}
    fleet = found["fleet"]["databases_per_second"]
    wrong = [
        *(found[name]["wrong_databases"] for name in ("fleet", "killed", "clients")),
        *(each["wrong_databases"] for each in found["failing"].values()),
    ]
    return Report(
        of,
        {"databases": count, "files": len(SQL), "parallel": PARALLEL, **found},
        [
            Aim.at_least("times as fast as the loop of psql",
                         fleet / rates["serial_psql"], 2),
            Aim.at_most("of xargs -P psql's time", rates["xargs_psql"] / fleet, 1.3),
            Aim.at_most("databases where a file ran twice or never", sum(wrong), 0),
            _as_psql(found["large_folder"]),
            Aim.at_most("errors of pooled clients", found["clients"]["error_count"], 0),
        ],
    )  # fmt: skip


if __name__ == "__main__":
    run("migrate", __doc__.partition("\n")[0], benchmark)
