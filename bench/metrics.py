"""What GET /metrics takes, and how much of it is due to the number of databases.

The databases are rows in the control database, said to be on the control cluster, where
reconciliation looks for no tenant's. With and without them it is asked in turns.
"""

import http.client
import os
import time
from pathlib import Path

from support import Aim, Installation, Report, installation, machine, run, say, summary

DATABASES = 2_000
ROUNDS = 5
REQUESTS = 10  # of a round
MOST_MORE_MS = 50.0  # of the processor's time, for all of them


def write_rows(here: Installation, count: int) -> None:
    """Have so many databases that are somebody's and measured."""
    with here.control() as control, control.transaction():
        control.execute("DELETE FROM databases WHERE username LIKE 'user\\_other%'")
        control.execute(
            "WITH made AS (INSERT INTO databases (id, cluster_id, database_name, username,"
            " status, friendly_name) SELECT gen_random_uuid(), c.id, 'tenant_other' || n,"
            " 'user_other' || n, 'active', 'other' FROM clusters c, generate_series(1, %s) n"
            " WHERE c.kind = 'control' RETURNING id)"
            " INSERT INTO disk_usage (database_id, used_bytes, measured_at)"
            " SELECT id, 8000000, now() FROM made",
            (count,),
        )


def processor_seconds(pid: int) -> float:
    """What a process has used of the processors since it began (proc(5), utime and stime)."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def ask(here: Installation) -> tuple[float, int]:
    """The seconds that it takes to be answered, and the bytes of the answer."""
    began = time.perf_counter()
    connection = http.client.HTTPConnection("127.0.0.1", here.api_port, timeout=120)
    connection.request("GET", "/metrics")
    answer = connection.getresponse()
    read = len(answer.read())
    connection.close()
    if answer.status != http.client.OK:
        raise RuntimeError(f"GET /metrics: {answer.status}")
    return time.perf_counter() - began, read


def benchmark(quick: bool) -> Report:
    """Ask with and without the databases, in turns."""
    rounds = 1 if quick else ROUNDS
    seconds: dict[int, list[float]] = {0: [], DATABASES: []}
    spent = {0: 0.0, DATABASES: 0.0}
    sizes: dict[int, int] = {}
    with installation(warm_pool=0) as here:
        about = machine(here)
        for number in range(rounds):
            for count in seconds:
                write_rows(here, count)
                sizes[count] = ask(here)[1]
                pid = here.pids()["api"]
                before = processor_seconds(pid)
                seconds[count] += [ask(here)[0] for _ in range(REQUESTS)]
                spent[count] += processor_seconds(pid) - before
            say(f"round {number + 1} of {rounds}")
    each = {count: round(1000 * spent[count] / rounds / REQUESTS, 2) for count in spent}
    results: dict[str, object] = {
        f"databases_{count}": {
            **summary(seconds[count]),
            "api_processor_ms": each[count],
            "bytes": sizes[count],
        }
        for count in seconds
    }
    more = each[DATABASES] - each[0]
    return Report(about, results, [Aim.at_most("more_processor_ms", more, MOST_MORE_MS)])


if __name__ == "__main__":
    run("metrics", __doc__.partition("\n")[0], benchmark)
