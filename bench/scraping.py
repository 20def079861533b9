"""What it takes to scrape thousands of databases: series, time, and Prometheus's memory.

The databases are rows in the control database, each with a sample, and said to be on the control
cluster, where reconciliation and the sampler look for no tenant's. With and without them
GET /metrics is asked in turns. Then a Prometheus with the shipped rules scrapes it, as often as
docs/how-to/monitor.md says.
"""

import http.client
import os
import time
from pathlib import Path

from psycopg import sql

from support import Aim, Installation, Report, installation, machine, run, say, summary

# isort: split
# support has put the tests' folder on the path.
from prometheus_server import Prometheus, Target, prometheus
from tenantry.services.samples.model import FIELDS

DATABASES = 2_000
ROUNDS = 5
REQUESTS = 5  # of a round
SERIES = 35  # of a database
EVERY_SECONDS = 30
SCRAPES = 20
MOST_SCRAPE_SECONDS = 10.0  # Prometheus's own limit, if nothing else is configured


def write_rows(here: Installation, count: int) -> None:
    """Have so many databases that are somebody's, measured and sampled."""
    figures = sql.SQL("(random() * 1000000)::bigint")
    sampled = sql.SQL(
        "INSERT INTO newest_samples (database_id, at, {}) SELECT id, now(), {} FROM databases"
        " WHERE username LIKE 'user\\_other%'"
    ).format(
        sql.SQL(", ").join(sql.Identifier(each.name) for each in FIELDS),
        sql.SQL(", ").join(figures for _ in FIELDS),
    )
    with here.control() as control, control.transaction():
        control.execute("DELETE FROM databases WHERE username LIKE 'user\\_other%'")
        control.execute(
            "INSERT INTO databases (id, cluster_id, database_name, username, status, friendly_name)"
            " SELECT gen_random_uuid(), c.id, 'tenant_other' || n, 'user_other' || n, 'active',"
            " 'other' FROM clusters c, generate_series(1, %s) n WHERE c.kind = 'control'",
            (count,),
        )
        control.execute(
            "INSERT INTO disk_usage (database_id, used_bytes, measured_at)"
            " SELECT id, 8000000, now() FROM databases WHERE username LIKE 'user\\_other%'"
        )
        control.execute("DELETE FROM newest_samples")
        control.execute(sampled)


def work_on(here: Installation) -> None:
    """Have all samples be new ones, with more of everything counted."""
    with here.control() as control:
        control.execute(
            "UPDATE newest_samples SET at = now(), commits = commits + (random() * 1000)::bigint,"
            " blocks_hit = blocks_hit + (random() * 1000)::bigint,"
            " rows_read = rows_read + (random() * 1000)::bigint"
        )


def processor_seconds(pid: int) -> float:
    """What a process has used of the processors since it began (proc(5), utime and stime)."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_bytes(pid: int) -> int:
    """The memory of a process (proc(5), VmRSS)."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:")) * 1024


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


def asked_in_turns(here: Installation, count: int, rounds: int) -> dict[str, object]:
    """GET /metrics with so many databases, and without any."""
    seconds: dict[int, list[float]] = {0: [], count: []}
    spent = {0: 0.0, count: 0.0}
    sizes: dict[int, int] = {}
    for number in range(rounds):
        for each in seconds:
            write_rows(here, each)
            sizes[each] = ask(here)[1]
            pid = here.pids()["api"]
            before = processor_seconds(pid)
            seconds[each] += [ask(here)[0] for _ in range(REQUESTS)]
            spent[each] += processor_seconds(pid) - before
        say(f"round {number + 1} of {rounds}")
    return {
        f"databases_{each}": {
            **summary(seconds[each]),
            "api_processor_ms": round(1000 * spent[each] / rounds / REQUESTS, 2),
            "bytes": sizes[each],
        }
        for each in seconds
    }


def scraped(here: Installation, count: int, scrapes: int, every: int) -> dict[str, float]:
    """Have a Prometheus scrape so many databases so often."""
    write_rows(here, count)
    with prometheus([Target("tenantry", here.api_port)], every=f"{every}s") as server:
        before = processor_seconds(server.process.pid)
        for number in range(1, scrapes + 1):
            server.wait_for("count_over_time(up[1d])", number, seconds=every + 120)
            work_on(here)
        spent = processor_seconds(server.process.pid) - before
        return figures(server) | {
            "prometheus_processor_ms_per_scrape": round(1000 * spent / scrapes, 1)
        }


def figures(server: Prometheus) -> dict[str, float]:
    """What Prometheus says of its scrapes, and takes itself."""
    return {
        "scrapes": server.value("count_over_time(up[1d])"),
        "failed_scrapes": server.value("sum_over_time((up == bool 0)[1d:1s])"),
        "series": server.value("scrape_samples_scraped"),
        "scrape_seconds_median": server.value(
            "quantile_over_time(0.5, scrape_duration_seconds[1d])"
        ),
        "scrape_seconds_max": server.value("max_over_time(scrape_duration_seconds[1d])"),
        "prometheus_resident_bytes": resident_bytes(server.process.pid),
    }


def measured(count: int, *, rounds: int, scrapes: int, every: int) -> Report:
    """Both, with so many databases."""
    with installation(warm_pool=0) as here:
        about = machine(here)
        results = asked_in_turns(here, count, rounds)
        found = scraped(here, count, scrapes, every)
    aims = [
        Aim.at_most("scrape_seconds_max", found["scrape_seconds_max"], MOST_SCRAPE_SECONDS),
        Aim.at_most("series_per_database", found["series"] / count, SERIES + 500 / count),
    ]
    return Report(about, {**results, "scraped": found}, aims)


def benchmark(quick: bool) -> Report:
    """With 2,000 databases; quick: with 100, every 2 seconds."""
    if quick:
        return measured(100, rounds=1, scrapes=3, every=2)
    return measured(DATABASES, rounds=ROUNDS, scrapes=SCRAPES, every=EVERY_SECONDS)


def at_sizes(counts: list[int]) -> Report:
    """With so many databases, in a short run for each number."""
    reports = {count: measured(count, rounds=1, scrapes=4, every=10) for count in counts}
    last = reports[counts[-1]]
    results: dict[str, object] = {str(count): each.results for count, each in reports.items()}
    return Report(last.machine, results, [aim for each in reports.values() for aim in each.aims])


if __name__ == "__main__":
    run("scraping", __doc__.partition("\n")[0], benchmark, at_sizes=at_sizes)
