"""How long a dedicated instance takes to be created, stopped, started and restored.

Beside it, in turns: initdb, pg_ctl and psql by hand, of the same version on the same disk. Where a
container engine can be started (as root, with Docker's packages), instances in containers too,
beside `docker run` of their own image. With `--databases 50` so many instances at once: memory and
processor of each while nothing happens, and how long `up`, the status and /ready take.
"""

import shutil
import subprocess
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg

from support import (
    Aim,
    Api,
    Engine,
    Installation,
    Report,
    as_service_user,
    computed,
    finished,
    free_ports,
    installation,
    machine,
    missing,
    percentile,
    resident,
    run,
    say,
    summary,
)
from tenantry.host.packages import find_postgres
from tenantry.pg import names

Row = dict[str, Any]
Steps = dict[str, Callable[[], object]]

MEMORY_MB = 128  # a home in memory (tmpfs) counts as memory of a container: it needs a disk
PATIENCE = 600.0  # seconds for a step
IDLE_SECONDS = 60.0
MOST_OF_BY_HAND = 3.0  # times what the steps take by hand, for an instance to be created
MOST_STATUS = 0.5  # seconds, p95


def answers(url: str) -> None:
    """Return once a session of its own gets an answer."""
    give_up = time.monotonic() + PATIENCE
    while True:
        try:
            with psycopg.connect(url, connect_timeout=5) as session:
                session.execute("SELECT 1")
                return
        except psycopg.OperationalError:
            if time.monotonic() > give_up:
                raise
            time.sleep(0.005)


def asked(here: Installation, method: str, path: str, **body: object) -> Row:
    with Api(here) as api:
        status, answer = api(method, path, **body)
    if status >= 300:
        raise RuntimeError(answer)
    row: Row = answer["data"]
    return row


def delete(here: Installation, row: Row) -> None:
    gone = asked(here, "DELETE", f"/api/databases/{row['id']}")
    finished(here, gone["operation_id"])


@contextmanager
def instance(here: Installation, number: int, driver: str, string: str) -> Iterator[Steps]:
    """The steps of one instance; it is deleted at the end."""
    made: Row = {}

    def create() -> None:
        body = {"name": f"bench-{driver}-{number}", "kind": "dedicated", "driver": driver}
        made.update(asked(here, "POST", "/api/databases", **body, memory_mb=MEMORY_MB))
        finished(here, made["operation_id"])
        answers(made[string])

    def change(verb: str) -> None:
        finished(here, asked(here, "POST", f"/api/databases/{made['id']}/{verb}")["id"])

    def start() -> None:
        change("start")
        answers(made[string])

    def back_up() -> None:
        here.back_up(names.instances_of(made["database_name"])[0])

    def restore() -> None:
        asked_of = f"/api/databases/{made['id']}/restore"
        operation = asked(here, "POST", asked_of, **{"to": "latest", "as": "new"})
        result = finished(here, operation["id"])["result"]
        made["restored"] = {"id": result["database_id"]}

    try:
        yield {
            "create": create,
            "stop": lambda: change("stop"),
            "start": start,
            "back up, until it can be restored": back_up,
            "restore": restore,
        }
    finally:
        if "restored" in made:
            delete(here, made["restored"])
        if made:
            delete(here, made)


@contextmanager
def by_hand(folder: Path) -> Iterator[Steps]:
    """The same with PostgreSQL's own programs."""
    bindir, (port,) = find_postgres(folder).bindir, free_ports(1)
    data = folder / f"by-hand-{port}"
    url = f"host={folder} port={port} user=postgres dbname=postgres"

    def do(program: str, *words: str) -> None:
        subprocess.run(
            [bindir / program, "-D", data, *words],
            check=True,
            stdout=subprocess.DEVNULL,
            cwd="/",
            **as_service_user(),
        )

    def start() -> None:
        options = f"-p {port} -k {folder} -c listen_addresses= -c shared_buffers=32MB"
        do("pg_ctl", "-w", "-l", f"{data}/log", "-o", options, "start")
        answers(url)

    def create() -> None:
        do("initdb", "-U", "postgres", "-A", "trust", "--no-instructions")
        start()

    try:
        yield {"create": create, "stop": lambda: do("pg_ctl", "-w", "-m", "fast", "stop"),
               "start": start}  # fmt: skip
    finally:
        if (data / "postmaster.pid").exists():
            do("pg_ctl", "-w", "-m", "immediate", "stop")
        shutil.rmtree(data, ignore_errors=True)


@contextmanager
def docker_run(engine: Engine, folder: Path) -> Iterator[Steps]:
    """The same in a container, of the image that the platform has built."""
    (port,) = free_ports(1)
    name, data = f"by-hand-{port}", folder / f"docker-{port}"
    url = f"host={folder} port={port} user=postgres dbname=postgres"
    image = engine.docker("images", "--format", "{{.Repository}}:{{.Tag}}").splitlines()[0]
    user = f"{folder.stat().st_uid}:{folder.stat().st_gid}"
    bindir = find_postgres(folder).bindir

    def create() -> None:
        subprocess.run(
            [bindir / "initdb", "-D", data, "-U", "postgres", "-A", "trust"],
            check=True,
            stdout=subprocess.DEVNULL,
            cwd="/",
            **as_service_user(),
        )
        options = ["-D", str(data), "-p", str(port), "-k", str(folder), "-c", "listen_addresses="]
        engine.docker(
            "run", "--detach", "--name", name, "--network=none", f"--user={user}", "--read-only",
            f"--volume={folder}:{folder}", "--entrypoint", str(bindir / "postgres"), image,
            *options, "-c", "shared_buffers=32MB",
        )  # fmt: skip
        answers(url)

    def start() -> None:
        engine.docker("start", name)
        answers(url)

    try:
        yield {
            "create": create,
            "stop": lambda: engine.docker("stop", "--signal=INT", name),
            "start": start,
        }
    finally:
        engine.docker("rm", "--force", name)
        shutil.rmtree(data, ignore_errors=True)


@contextmanager
def container_engine() -> Iterator[Engine | None]:
    """A container engine of its own, where one can be had."""
    if missing():
        say(f"no container engine: {missing()}")
        yield None
        return
    folder = Path(tempfile.mkdtemp(prefix="tnt-docker-"))
    folder.chmod(0o755)  # the platform's user reaches the socket
    engine = Engine(folder)
    engine.start()
    try:
        yield engine
    finally:
        engine.stop()


def timed(steps: Steps, took: dict[str, list[float]]) -> None:
    """Do the steps in their order."""
    for name, step in steps.items():
        began = time.perf_counter()
        step()
        took[name].append(time.perf_counter() - began)


def rounds(
    here: Installation, count: int, engine: Engine | None
) -> dict[str, dict[str, list[float]]]:
    """The seconds of each step, by way; the ways take turns."""
    found: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    folder = here.home / "by-hand"
    folder.mkdir(mode=0o700)
    shutil.chown(folder, here.home.stat().st_uid, here.home.stat().st_gid)
    for number in range(count):
        with instance(here, number, "process", "connection_string") as steps:
            timed(steps, found["process"])
        with by_hand(folder) as steps:
            timed(steps, found["by hand"])
        if engine is not None:
            # The test's engine has a network of its own: the pooler reaches the Unix socket.
            with instance(here, number, "docker", "connection_string_pooled") as steps:
                timed(steps, found["docker"])
            with docker_run(engine, folder) as steps:
                timed(steps, found["docker run"])
        say(f"round {number + 1} of {count}")
    return found


def benchmark(quick: bool) -> Report:
    with container_engine() as engine:
        settings = {} if engine is None else {"DOCKER_HOST": engine.url}
        with installation(warm_pool=0, TENANTRY_BACKUPS="on", **settings) as here:
            about = machine(here)
            found = rounds(here, 2 if quick else 20, engine)
    aims = [
        Aim.at_most(
            f"{way}: create, in times of by hand",
            percentile(found[way]["create"], 0.5) / percentile(found[peer]["create"], 0.5),
            MOST_OF_BY_HAND,
        )
        for way, peer in (("process", "by hand"), ("docker", "docker run"))
        if way in found
    ]
    results: dict[str, object] = {
        way: {step: summary(seconds) for step, seconds in steps.items()}
        for way, steps in found.items()
    }
    return Report(about, results, aims)


# ── many at once ─────────────────────────────────────────────────────────────


def repeated(step: Callable[[], object], count: int) -> list[float]:
    seconds = []
    for _ in range(count):
        began = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - began)
    return seconds


def postmasters(here: Installation) -> list[int]:
    found = (here.home / "clusters").glob("*/data/postmaster.pid")
    return [int(each.read_text().split("\n", 1)[0]) for each in found
            if not each.parent.parent.name.startswith(("control", "shared"))]  # fmt: skip


def at_sizes(sizes: list[int]) -> Report:
    """So many instances at once, the last of the numbers."""
    count = sizes[-1]
    (port,) = free_ports(1)
    settings = {
        "TENANTRY_INSTANCE_PORTS": f"{port}-{port + count}",
        "TENANTRY_INSTANCE_TOTAL_MB": str(count * MEMORY_MB),
    }
    with installation(warm_pool=0, **settings) as here:
        about = machine(here)
        for number in range(count):
            body = {"name": f"many-{number}", "kind": "dedicated", "memory_mb": MEMORY_MB}
            finished(here, asked(here, "POST", "/api/databases", **body)["operation_id"])
            say(f"{number + 1} of {count}")
        pids = postmasters(here)
        before = sum(map(computed, pids))
        time.sleep(IDLE_SECONDS)
        used = sum(map(computed, pids)) - before
        memory = sum(map(resident, pids))
        here.down()
        began = time.monotonic()
        here.up()
        up = time.monotonic() - began
        status = repeated(here.status, 20)
        ready = repeated(lambda: here.get("/ready"), 50)
    results: dict[str, object] = {
        "instances": len(pids),
        "memory_mib_of_each": round(memory / len(pids) / 2**20, 1),
        "share_of_a_core_of_each": round(used / IDLE_SECONDS / len(pids), 5),
        "up_seconds": round(up, 1),
        "status": summary(status),
        "ready": summary(ready),
    }
    aims = [Aim.at_most("/ready: p95 in s", percentile(ready, 0.95), MOST_STATUS)]
    return Report(about, results, aims)


if __name__ == "__main__":
    run("dedicated", __doc__.partition("\n")[0], benchmark, at_sizes=at_sizes)
