"""The load of ``data_api.py``: requests by wrk, and statements by pgbench."""

import json
import os
import re
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from support import percentile

CLIENTS = 16
VARIANTS = 100  # of each request
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Sent:
    """A request of HTTP."""

    method: str
    path: str
    body: str = ""
    prefer: str | None = None


@dataclass(frozen=True, slots=True)
class Task:
    """What is asked for: ``own`` by the data API, ``peers`` in the programs beside it."""

    own: Callable[[int], Sent]
    peers: Callable[[int], Sent]


@dataclass(frozen=True, slots=True)
class Turn:
    """What one turn found; the processor time is of the serving process, if there is one."""

    per_second: float
    p50_ms: float
    p99_ms: float
    cpu_us: float | None = None


@dataclass(frozen=True, slots=True)
class Served:
    """A database with an API: what its requests and the programs beside it need."""

    name: str
    rest_port: int
    token: str
    environment: dict[str, str]  # of programs that log in as the data API does


@dataclass(frozen=True, slots=True)
class Way:
    """A program that answers, and the path that its requests begin with."""

    port: int
    pid: int
    prefix: str
    token: str
    request: Callable[[Task], Callable[[int], Sent]]

    def headers(self, sent: Sent) -> dict[str, str]:
        found = {"Authorization": f"Bearer {self.token}"}
        if sent.body:
            found["Content-Type"] = "application/json"
        return found | ({"Prefer": sent.prefer} if sent.prefer else {})


LUA = """
local numbered, headers = {}, %s
init = function()
%s
end
request = function() return numbered[math.random(#numbered)] end
%s
done = function(summary, latency)
  local e = summary.errors
  io.write(string.format(
    '\\n{"requests": %%d, "us": %%d, "failed": %%d, "p50_us": %%d, "p99_us": %%d}\\n',
    summary.requests, summary.duration, e.connect + e.read + e.write + e.status + e.timeout,
    latency:percentile(50), latency:percentile(99)))
end
"""
# Each client waits for a random time with this mean, so that requests arrive as from many.
DELAY = "delay = function() return -math.log(1 - math.random()) * %f end"


def by_wrk(
    folder: Path,
    way: Way,
    task: Task,
    seconds: float,
    rate: float | None = None,
    *,
    variants: int = VARIANTS,
) -> Turn:
    """Send requests one after another with each client, or so many a second of all together.

    So many ``variants`` of the request are sent, drawn by lot.
    """
    asked = [way.request(task)(number) for number in range(variants)]
    headers = ", ".join(
        f"[{_lua(name)}] = {_lua(value)}" for name, value in way.headers(asked[0]).items()
    )
    lines = [
        f"  numbered[{number}] = wrk.format({_lua(each.method)}, {_lua(way.prefix + each.path)},"
        f" headers, {_lua(each.body) if each.body else 'nil'})"
        for number, each in enumerate(asked, 1)
    ]
    delay = "" if rate is None else DELAY % (1000 * CLIENTS / rate)
    script = folder / "requests.lua"
    script.write_text(LUA % (f"{{{headers}}}", "\n".join(lines), delay))
    before = cpu_seconds(way.pid)
    done = subprocess.run(
        ["wrk", "-t1", f"-c{CLIENTS}", f"-d{seconds:g}s", "-s", script,
         f"http://127.0.0.1:{way.port}"],
        capture_output=True,
        text=True,
        check=True,
    )  # fmt: skip
    spent = cpu_seconds(way.pid) - before
    found = json.loads(done.stdout.splitlines()[-1])
    if found["failed"] or not found["requests"]:
        raise AssertionError(f"{found} at {asked[0].path}")
    count = found["requests"]
    return Turn(
        count / found["us"] * 1e6,
        found["p50_us"] / 1000,
        found["p99_us"] / 1000,
        spent / count * 1e6,
    )


def _lua(text: str) -> str:
    """A string of Lua; ours have no characters that JSON would escape otherwise."""
    return json.dumps(text)


def cpu_seconds(pid: int) -> float:
    """The processor time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def by_pgbench(folder: Path, served: Served, scripts: list[Path], seconds: float) -> Turn:
    """Send the statements of requests, in a pipeline as the data API does."""
    for old in folder.glob("log.*"):
        old.unlink()
    files = [f"--file={script}" for script in scripts]
    done = subprocess.run(
        ["pgbench", "--no-vacuum", "--protocol=extended", f"--client={CLIENTS}", "--jobs=1",
         f"--time={seconds:g}", "--log", f"--log-prefix={folder / 'log'}", *files],
        env=os.environ | served.environment,
        capture_output=True,
        text=True,
        check=True,
    )  # fmt: skip
    rate = re.search(r"tps = ([\d.]+)", done.stdout)
    assert rate is not None, done.stdout
    took = [
        int(line.split()[2]) / 1000
        for log in folder.glob("log.*")
        for line in log.read_text().splitlines()
    ]
    return Turn(float(rate[1]), percentile(took, 0.5), percentile(took, 0.99))
