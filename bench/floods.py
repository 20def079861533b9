"""What a neighbour notices of connections that never finish their login.

A neighbour logs in, asks one thing and leaves, again and again, while another holds as many
connections as there are places: ones that stop in the middle of SCRAM, at PostgreSQL's port and at
the pooler's, and 10,200 that say nothing at the pooler's. Each is measured as the platform is, and
with its protection taken away: the worker stopped, and the time limits as PostgreSQL and PgBouncer
have them by default.
"""

import os
import resource
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from support import Aim, Installation, Report, installation, machine, run, say, summary

# isort: split
# support has put the tests' folder on the path.
from clients import hurry
from flooding import Neighbour, Open, flood, silent, stopping_in_scram

Figures = dict[str, Any]
DEFAULTS = "authentication_timeout = '60s'\n"


@contextmanager
def unprotected(here: Installation) -> Iterator[None]:
    """The worker stopped, and the servers' own time limits in force."""
    worker = here.pids()["worker"]
    data, pooler = here.home / "clusters" / "shared-1" / "data", here.home / "pooler"
    custom, ini = data / "custom.conf", pooler / "pgbouncer.ini"
    before = custom.read_text(), ini.read_text()
    postmaster, pgbouncer = (
        int(path.read_text().split("\n", 1)[0])
        for path in (data / "postmaster.pid", here.home / "run" / "pooler.pid")
    )
    os.kill(worker, signal.SIGSTOP)
    try:
        custom.write_text(before[0] + DEFAULTS)
        ini.write_text(before[1].replace("client_login_timeout = 15", "client_login_timeout = 60"))
        os.kill(postmaster, signal.SIGHUP)
        os.kill(pgbouncer, signal.SIGHUP)
        time.sleep(1)
        yield
    finally:
        custom.write_text(before[0])
        ini.write_text(before[1])
        os.kill(postmaster, signal.SIGHUP)
        os.kill(pgbouncer, signal.SIGHUP)
        os.kill(worker, signal.SIGCONT)


def notices(url: str, seconds: float, patience: int) -> Figures:
    """What a neighbour does in so many seconds."""
    with Neighbour(url, patience=patience) as works:
        time.sleep(seconds)
    figures: Figures = {"logins": len(works.seconds), "errors": len(works.errors)}
    if works.seconds:
        figures |= summary(works.seconds)
    return figures | {"last_error": works.errors[-1] if works.errors else None}


def measure(open_one: Open, count: int, url: str, seconds: float) -> Figures:
    """The neighbour in quiet, while the flood begins, and while it goes on."""
    quiet = notices(url, seconds, 10)
    with flood(open_one, count) as opened:
        begins = notices(url, seconds, 10)
        until = time.monotonic() + 60
        while opened() < count and time.monotonic() < until:
            time.sleep(0.1)
        goes_on = notices(url, seconds, 10)
        reported = {"opened": opened()}
    time.sleep(3)
    return {"quiet": quiet, "begins": begins, "goes_on": goes_on, **reported}


def benchmark(quick: bool) -> Report:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    seconds = 5.0 if quick else 20.0
    results: Figures = {}
    with installation(warm_pool=4) as here:
        hurry(here)
        noisy, neighbour = here.create(shadow=False), here.create(shadow=False)
        with here.superuser() as server:
            row = server.execute("SELECT current_setting('max_connections')::int").fetchone()
        places = int(row[0]) if row else 0
        direct, pooled = neighbour["connection_string"], neighbour["connection_string_pooled"]
        floods: dict[str, tuple[Open, int, str]] = {
            "scram_direct": (stopping_in_scram(here.pg_port, noisy), places, direct),
            "scram_pooled": (stopping_in_scram(here.pool_port, noisy), places, pooled),
            "silent_pooled": (silent(here.pool_port), 10_200, pooled),
        }
        for name, (open_one, count, url) in floods.items():
            after = measure(open_one, count, url, seconds)
            with unprotected(here):
                before = measure(open_one, count, url, seconds)
            results[name] = {"connections": count, "before": before, "after": after}
            for way in ("before", "after"):
                figures = results[name][way]["goes_on"]
                say(
                    f"{name}, {way}: {figures['logins']} logins, p95 {figures.get('p95_ms')} ms,"
                    f" {figures['errors']} errors"
                )
        about = machine(here)
    aims = [
        Aim.at_most(f"errors while it goes on, {name}", found["after"]["goes_on"]["errors"], 0)
        for name, found in results.items()
    ]
    return Report(about, {"places": places, **results}, aims)


if __name__ == "__main__":
    run("floods", __doc__ or "", benchmark)
