"""How long it takes to get data back, and what the neighbours notice of it meanwhile.

A gigabyte over a hundred databases of one server. A neighbour writes by both doors all the
time; its latencies are told for each of the things that are done. The peers are what one
would do by hand: pgBackRest itself on the same cluster, and pg_dump into pg_restore.
"""

import datetime as dt
import os
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from support import (
    MIB,
    Aim,
    Api,
    Installation,
    Report,
    as_service_user,
    machine,
    run,
    say,
    settle,
    summary,
)

DOORS = {"direct": "connection_string", "pooled": "connection_string_pooled"}
PACE = 0.02  # seconds between the neighbour's transactions, by each door
ROW = "repeat(md5(random()::text), 31)"  # about a kilobyte
PATIENCE = 1800.0
_BACKUP = (  # as Tenantry's own
    "--no-archive-check",
    "--repo1-bundle",
    "--repo1-retention-full=9",
    "--compress-type=zst",
    "--start-fast",
    f"--process-max={max(1, len(os.sched_getaffinity(0)) // 2)}",
)

Figures = dict[str, Any]


class Neighbour:
    """A tenant that updates a row again and again by one door, and keeps how long each took."""

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


class Asking:
    """The API, over a connection for each request: there may be minutes between two."""

    def __init__(self, here: Installation) -> None:
        self._here = here

    def __call__(self, method: str, path: str, **body: object) -> tuple[int, Any]:
        with Api(self._here) as api:
            return api(method, path, **body)

    def log(self) -> str:
        """The platform's last words."""
        return self._here.log_tail()


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
            f"neighbour_{door}": summary(each.since(began) or [0.0])
            for door, each in self._neighbours.items()
        }
        say(f"{name}: {seconds:.2f} s")
        return seconds


# ── asking for it ────────────────────────────────────────────────────────────


def begun(answer: tuple[int, Any]) -> str:
    """The id of the operation that an answer tells of."""
    status, body = answer
    if status not in {201, 202}:
        raise RuntimeError(body)
    data = body["data"]
    followed = data["operation"]["id"] if "operation" in data else data.get("operation_id")
    return str(followed or data["id"])


def ended(api: Asking, operation_id: str) -> Figures:
    """What came of an operation. Raises RuntimeError if it failed."""
    give_up = time.monotonic() + PATIENCE
    while True:
        row: Figures = api("GET", f"/api/operations/{operation_id}")[1]["data"]
        if row["status"] == "succeeded":
            result: Figures = row["result"]
            return result
        if row["status"] in {"failed", "cancelled"}:
            raise RuntimeError(f"{row['kind']} at {row['step']}: {row['error']}\n{api.log()}")
        if time.monotonic() > give_up:
            raise TimeoutError(f"operation {operation_id} at step {row['step']}")
        time.sleep(0.1)


def settled(api: Asking) -> None:
    """Wait until the first backups, which come by themselves, have been made."""
    give_up = time.monotonic() + PATIENCE
    while not all(row["last_backup_at"] for row in api("GET", "/api/clusters")[1]["data"]):
        if time.monotonic() > give_up:
            raise TimeoutError("no first backup")
        time.sleep(0.5)
    for status in ("queued", "running"):
        for row in api("GET", f"/api/operations?status={status}")[1]["data"]:
            ended(api, row["id"])


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
    here.converge()  # removes the shadows that were not wanted: a third of all bytes
    return made


# ── the peers ────────────────────────────────────────────────────────────────


def as_service(*command: str | Path) -> None:
    done = subprocess.run(
        [str(each) for each in command],
        capture_output=True,
        text=True,
        check=False,
        cwd="/",
        env=os.environ | {"PGBACKREST_REPO1_CIPHER_PASS": "a benchmark's"},
        **as_service_user(),
    )
    if done.returncode != 0:
        raise RuntimeError(f"{command[0]}: {done.stdout}{done.stderr}")


@contextmanager
def plain_repository(here: Installation) -> Iterator[list[str]]:
    """pgBackRest by itself, on the same cluster and with the same options. Its words so far."""
    folder = Path(tempfile.mkdtemp(prefix="tnt-plain-"))
    if os.geteuid() == 0:
        shutil.chown(folder, "tenantry", "tenantry")
    data = here.home / "clusters" / "shared-1" / "data"
    try:
        yield [
            "pgbackrest",
            "--no-config",
            "--stanza=plain",
            f"--pg1-path={data}",
            f"--pg1-socket-path={here.home / 'run' / 'shared-1'}",
            f"--pg1-port={here.pg_port}",
            "--pg1-user=tenantry_admin",
            f"--repo1-path={folder}/repository",
            "--repo1-cipher-type=aes-256-cbc",
            "--log-level-file=off",
            f"--lock-path={folder}/lock",
        ]
    finally:
        shutil.rmtree(folder, ignore_errors=True)


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
        return ended(api, begun(api("POST", path, **body)))

    settle(here)
    with (
        Neighbour(tenant[DOORS["direct"]]) as direct,
        Neighbour(tenant[DOORS["pooled"]]) as pooled,
        plain_repository(here) as plain,
    ):
        clock = Clock({"direct": direct, "pooled": pooled})
        clock.time("quiet", lambda: time.sleep(10))
        as_service(*plain, "stanza-create", "--no-online")
        for kind in ("full", "incr"):
            clock.time(f"backup, {kind}", partial(ask, backups, type=kind))
            clock.time(
                f"plain pgBackRest, {kind}",
                partial(as_service, *plain, "backup", f"--type={kind}", *_BACKUP),
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


def recover(here: Installation, found: dict[str, Figures]) -> None:
    """Everything back from the repository alone, in a home and at ports of its own."""
    here.down()
    with tempfile.TemporaryDirectory(prefix="tnt-kept-") as folder:
        kept = Path(folder)
        kept.chmod(0o755)
        subprocess.run(
            ["cp", "-a", here.home / "backups" / "repository", kept / "repository"], check=True
        )
        shutil.copy2(here.home / "backup.key", kept / "backup.key")
        if os.geteuid() == 0:
            shutil.chown(kept / "backup.key", "tenantry", "tenantry")
        there = Installation(dict(here.environment))
        there.patience = PATIENCE
        try:
            began = time.perf_counter()
            words = ["--from", str(kept / "repository"), "--key-file", str(kept / "backup.key")]
            there.tenantry("recover", *words, "--yes")
            seconds = time.perf_counter() - began
        finally:
            there.remove()
    found["disaster recovery, everything"] = {"seconds": round(seconds, 2)}
    say(f"disaster recovery: {seconds:.2f} s")


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
        recover(here, found)
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
    run("restore", __doc__.partition("\n")[0], benchmark)
