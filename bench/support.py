"""What the benchmarks share: an installation, callers that are timed, and the report."""

import argparse
import http.client
import json
import os
import platform
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

__all__ = [
    "Engine",
    "Installation",
    "adjacent_ports",
    "as_service_user",
    "database_row",
    "free_ports",
    "missing",
]
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from container_engines import Engine, missing
from database_rows import database_row
from harness import Installation, adjacent_ports, as_service_user, free_ports
from tenantry.host import processes

T = TypeVar("T")
MIB = 1024 * 1024
_PATIENCE = 600.0  # seconds for an operation


def say(text: str) -> None:
    """Tell a person how far it is."""
    print(f"{time.strftime('%H:%M:%S')}  {text}", file=sys.stderr, flush=True)


# ── the installation ─────────────────────────────────────────────────────────


@contextmanager
def installation(*, warm_pool: int, **settings: str) -> Iterator[Installation]:
    """A platform with this machine's own sizing that is up; gone with all it holds at the end.

    Its data API has one process, whatever the machine, as the programs beside it have.
    """
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // MIB
    here = Installation(
        {
            "TENANTRY_WARM_POOL": str(warm_pool),
            "TENANTRY_MEMORY_MB": str(memory),
            "TENANTRY_REST_PROCESSES": "1",
            **settings,
        }
    )
    try:
        here.up()
        yield here
    finally:
        here.remove()


def fill(here: Installation, count: int) -> float:
    """Wait until so many warm databases are ready. Returns the seconds it took."""
    began = time.monotonic()
    with here.control() as control:
        while True:
            row = control.execute("SELECT count(*) FROM databases WHERE status = 'warm'").fetchone()
            if row and row[0] >= count:
                return time.monotonic() - began
            if time.monotonic() > began + 10 + count:
                raise TimeoutError(f"{row} of {count} databases are ready")
            time.sleep(0.1)


def settle(here: Installation) -> None:
    """Have the cluster's own arrears written, so that they fall into nobody's measurement."""
    with here.superuser() as server:
        server.execute("CHECKPOINT")


# ── callers ──────────────────────────────────────────────────────────────────


class Api:
    """One HTTP connection that stays open. The standard library's: it costs the least."""

    def __init__(self, here: Installation) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", here.api_port, timeout=120)
        self._headers = {"X-API-Key": here.key, "Content-Type": "application/json"}

    def __call__(self, method: str, path: str, **body: object) -> tuple[int, Any]:
        """The status and the JSON of an answer."""
        text = json.dumps(body) if body else None
        self._connection.request(method, path, text, self._headers)
        answer = self._connection.getresponse()
        return answer.status, json.loads(answer.read())

    def __enter__(self) -> "Api":
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()


def finished(here: Installation, operation_id: str) -> dict[str, Any]:
    """Wait for an operation to succeed, and return it."""
    give_up = time.monotonic() + _PATIENCE
    with Api(here) as api:
        while True:
            row: dict[str, Any] = api("GET", f"/api/operations/{operation_id}")[1]["data"]
            if row["finished_at"]:
                if row["status"] != "succeeded":
                    raise RuntimeError(row)
                return row
            if time.monotonic() > give_up:
                raise TimeoutError(row)
            time.sleep(0.005)


@dataclass(frozen=True, slots=True)
class Timed(Generic[T]):
    """What each call took, in seconds, and gave."""

    seconds: list[float]
    results: list[T]


Caller = Callable[[], AbstractContextManager[Callable[[int], T]]]


def timed(open_caller: Caller[T], numbers: Iterable[int], *, callers: int = 1) -> Timed[T]:
    """Call once for each number, so many callers side by side, each when its last call is done.

    Opening and closing a caller is not timed.
    """
    numbers = iter(list(numbers))
    done: list[tuple[float, T]] = []
    ready = threading.Barrier(callers, timeout=60)

    def work() -> None:
        with open_caller() as call:
            ready.wait()
            for number in numbers:
                began = time.perf_counter()
                result = call(number)
                done.append((time.perf_counter() - began, result))

    with ThreadPoolExecutor(callers) as threads:
        for each in [threads.submit(work) for _ in range(callers)]:
            each.result()
    return Timed([seconds for seconds, _ in done], [result for _, result in done])


def over_http(here: Installation, ask: Callable[[Api, int], T]) -> Caller[T]:
    """A caller of the API, each with a connection of its own."""

    @contextmanager
    def open_caller() -> Iterator[Callable[[int], T]]:
        with Api(here) as api:
            yield lambda number: ask(api, number)

    return open_caller


def percentile(seconds: list[float], share: float) -> float:
    """The smallest value that so great a share of all is not above."""
    ordered = sorted(seconds)
    return ordered[max(0, -int(-share * len(ordered) // 1) - 1)]


def summary(seconds: list[float]) -> dict[str, float]:
    """A distribution, in milliseconds."""
    figures = {f"p{share}_ms": percentile(seconds, share / 100) for share in (50, 95, 99)}
    figures["max_ms"] = max(seconds)
    return {"n": len(seconds)} | {name: round(x * 1000, 2) for name, x in figures.items()}


def computed(pid: int) -> float:
    """The seconds that a process and its children have used the processors (schedstat)."""
    seconds = 0.0
    for each in (pid, *processes.children(pid)):
        try:
            for task in Path(f"/proc/{each}/task").iterdir():
                seconds += int((task / "schedstat").read_text().split()[0]) / 1e9
        except OSError:
            continue
    return seconds


def resident(pid: int) -> int:
    """The bytes of memory of a process and its children, shared ones divided among who has them."""
    total = 0
    for each in (pid, *processes.children(pid)):
        try:
            lines = Path(f"/proc/{each}/smaps_rollup").read_text().splitlines()
        except OSError:
            continue
        total += sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))
    return total


# ── the report ───────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Aim:
    """A figure, the most (or with ``at_least`` the least) that it may be, and whether it is."""

    name: str
    value: float
    limit: float
    met: bool

    @classmethod
    def at_most(cls, name: str, value: float, limit: float) -> "Aim":
        return cls(name, round(value, 3), round(limit, 3), value <= limit)

    @classmethod
    def at_least(cls, name: str, value: float, limit: float) -> "Aim":
        return cls(name, round(value, 3), round(limit, 3), value >= limit)


def machine(here: Installation) -> dict[str, object]:
    """What the figures depend on, without what would name this machine."""
    with here.superuser() as server, Api(here) as api:
        postgres = str(server.execute("SHOW server_version").fetchone()[0])  # type: ignore[index]
        pooler = api("GET", "/api/pooler")[1]["data"]["version"]
    filesystem = subprocess.run(
        ["findmnt", "--noheadings", "--output", "FSTYPE", "--target", here.home],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    return {
        **hardware(),
        "filesystem": filesystem,
        "postgresql": postgres,
        "pgbouncer": pooler,
    }


def hardware() -> dict[str, object]:
    """The same without an installation."""
    models = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    return {
        "cores": len(os.sched_getaffinity(0)),
        "processor": models[0] if models else platform.machine(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "kernel": platform.release(),
        "system": platform.freedesktop_os_release().get("PRETTY_NAME", ""),
        "python": platform.python_version(),
    }


@dataclass(frozen=True, slots=True)
class Report:
    """What a benchmark found."""

    machine: dict[str, object]
    results: dict[str, object]
    aims: list[Aim]


def run(
    name: str,
    about: str,
    benchmark: Callable[[bool], Report],
    *,
    at_sizes: Callable[[list[int]], Report] | None = None,
) -> None:
    """Be the program: run the benchmark, and print its report as one JSON document.

    ``at_sizes`` is run instead where numbers of databases are asked for.
    """
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--quick", action="store_true", help="a small run, to see that it works")
    if at_sizes is not None:
        parser.add_argument(
            "--databases",
            type=lambda text: sorted(map(int, text.split(","))),
            help="how the figures grow with the number of databases: at these, as in 100,400",
        )
    asked = parser.parse_args()
    quick, sizes = asked.quick, getattr(asked, "databases", None)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is ended
    load = [round(os.getloadavg()[0], 2)]
    report = at_sizes(sizes) if at_sizes is not None and sizes else benchmark(quick)
    load.append(round(os.getloadavg()[0], 2))
    for aim in report.aims:
        say(f"{'met   ' if aim.met else 'MISSED'}  {aim.name}: {aim.value} (limit {aim.limit})")
    document = {
        "benchmark": name,
        "quick": quick,
        "load_before_and_after": load,
        **asdict(report),
    }
    print(json.dumps(document, indent=2))
