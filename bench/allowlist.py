"""What other databases' allowlists cost who connects, and how soon a change is in force.

The lists are rules, not databases: rows in the control database, said to be on the control
cluster, where reconciliation looks for no tenant's. They come in two forms: lists that share
networks (the offices of a few customers, 100 networks in all), and lists that share none. The
sizes take turns, so that a disturbance hits all of them.
"""

import select
import statistics
import time
import uuid
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import psycopg

from support import (
    Aim,
    Api,
    Installation,
    Report,
    fill,
    installation,
    machine,
    percentile,
    run,
    say,
    summary,
)

SIZES = (10, 1_000, 10_000)  # databases with a list
SHARED_NETWORKS = 100
SESSIONS = 5  # at each endpoint, to be ended
MOST_TO_END = 1.0  # seconds, p95
MOST_SLOWER = 1.3  # with the largest size, of the smallest
HERE = "127.0.0.0/8"
ENDPOINTS = {"direct": "connection_string", "pooled": "connection_string_pooled"}

Database = dict[str, Any]


def write_lists(here: Installation, count: int, networks: int) -> None:
    """Have so many databases with a list of one address each, of so many different ones."""
    with here.control() as control, control.transaction():
        control.execute("DELETE FROM databases WHERE username LIKE 'user\\_other%'")
        control.execute(
            "WITH made AS (INSERT INTO databases (id, cluster_id, database_name, username,"
            " status, friendly_name) SELECT gen_random_uuid(), c.id, 'tenant_other' || n,"
            " 'user_other' || n, 'active', 'other' FROM clusters c, generate_series(1, %s) n"
            " WHERE c.kind = 'control' RETURNING id, substr(username, 11)::int AS n)"
            " INSERT INTO ip_whitelist (id, database_id, network)"
            " SELECT gen_random_uuid(), id, (inet '100.64.0.0' + n %% %s)::cidr FROM made",
            (count, networks),
        )


def log_in(url: str) -> float:
    """The seconds from the first packet to the first answer."""
    began = time.perf_counter()
    with psycopg.connect(url) as session:
        session.execute("SELECT 1")
        return time.perf_counter() - began


def change(api: Api, database: Database) -> float:
    """Add a network, which is in force when it is answered, and remove it. Seconds of adding."""
    path = f"/api/databases/{database['id']}/whitelist"
    began = time.perf_counter()
    status, answer = api("POST", path, ip_address=f"198.51.100.{uuid.uuid4().int % 256}/32")
    took = time.perf_counter() - began
    if status != 201:
        raise RuntimeError(answer)
    api("DELETE", f"{path}/{answer['data']['id']}")
    return took


def end_sessions(api: Api, database: Database) -> list[float]:
    """Shut out who is there, by both endpoints. Seconds from the request until each has heard."""
    path = f"/api/databases/{database['id']}/whitelist"
    with ExitStack() as stack:
        waiting = select.poll()
        for string in ENDPOINTS.values():
            for _ in range(SESSIONS):
                session = stack.enter_context(psycopg.connect(database[string]))
                waiting.register(session.fileno(), select.POLLIN)
        began = time.perf_counter()
        with ThreadPoolExecutor(1) as asking:
            asking.submit(api, "PUT", path, entries=[{"ip_address": "198.51.100.1"}])
            took: list[float] = []
            while len(took) < SESSIONS * len(ENDPOINTS):
                for descriptor, _ in waiting.poll(10_000):
                    took.append(time.perf_counter() - began)
                    waiting.unregister(descriptor)
        api("PUT", path, entries=[{"ip_address": HERE}])
    return took


def measure(here: Installation, rounds: int, logins: int) -> dict[str, dict[int, Any]]:
    """By what was done, then by how many lists there were: the seconds of each time."""
    open_to_all, closed = here.create(), here.create()
    tenants = {"without a list": open_to_all, "with a list": closed}
    found: dict[str, dict[int, Any]] = defaultdict(lambda: defaultdict(list))
    with Api(here) as api:
        api("POST", f"/api/databases/{closed['id']}/whitelist", ip_address=HERE)
        for number in range(rounds):
            for form, networks in (("shared", SHARED_NETWORKS), ("distinct", max(SIZES))):
                for size in SIZES:
                    write_lists(here, size, networks)
                    took = [change(api, closed) for _ in range(3)][1:]  # the first has the news
                    found[f"{form} networks: a change in force"][size] += took
                    found[f"{form} networks: the last session ended"][size] += [
                        max(end_sessions(api, closed)) for _ in range(4)
                    ]
                    for tenant, database in tenants.items():
                        for endpoint, string in ENDPOINTS.items():
                            url = database[string]
                            log_in(url)
                            name = f"{form} networks: {endpoint}, {tenant}"
                            found[name][size] += [log_in(url) for _ in range(logins)]
            say(f"round {number + 1} of {rounds}")
        write_lists(here, 0, 1)
    return found


def benchmark(quick: bool) -> Report:
    rounds, logins = (1, 10) if quick else (5, 40)
    with installation(warm_pool=2) as here:
        fill(here, 2)
        of = machine(here)
        found = measure(here, rounds, logins)
    results: dict[str, object] = {"sizes": SIZES, "shared_networks": SHARED_NETWORKS}
    aims: list[Aim] = []
    for name, by_size in found.items():
        results[name] = {str(size): summary(seconds) for size, seconds in by_size.items()}
        if "session" in name:
            slowest = percentile(by_size[max(SIZES)], 0.95)
            aims.append(Aim.at_most(f"{name}, 10,000 lists: p95 in s", slowest, MOST_TO_END))
        elif "change" not in name:
            medians = [statistics.median(by_size[size]) for size in (min(SIZES), max(SIZES))]
            aims.append(
                Aim.at_most(f"{name}: 10,000 lists / 10", medians[1] / medians[0], MOST_SLOWER)
            )
    return Report(of, results, aims)


if __name__ == "__main__":
    run("allowlist", __doc__.partition("\n")[0], benchmark)
