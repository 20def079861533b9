"""How long it takes until an application has its database.

``POST /api/databases`` beside ``CREATE ROLE; CREATE DATABASE`` on the same server in the
same run, while the warm pool refills and while it rests; a burst that is larger than the
pool; new passwords, deletions, and lists of many databases.

The peers make one database, open to everybody. A creation gives two, the shadow included,
hardened and opened to one role, with its limits and its audit.
"""

import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
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
    over_http,
    percentile,
    run,
    say,
    settle,
    summary,
    timed,
)

BLOCKS = 10
SPARE = 20  # more than are taken, so that the pool is never empty
REMOVED_OF = 3  # one of so many that were created: a removal takes much longer
BURST_POOL, BURST = 16, 60
SHARE_OF_RAW = 0.2
PAGE_SECONDS = 0.025

Figures = dict[str, Any]


# ── the platform ─────────────────────────────────────────────────────────────


def create(api: Api, number: int) -> dict[str, Any]:
    status, answer = api("POST", "/api/databases", friendlyName=f"Number {number}")
    assert status == 201, answer
    data: dict[str, Any] = answer["data"]
    return data


def rotate(api: Api, database: str) -> None:
    status, answer = api("POST", f"/api/databases/{database}/rotate-password")
    assert status == 200, answer


def delete(api: Api, database: str) -> tuple[float, float]:
    """The seconds until the answer came, and until nothing was left."""
    began = time.perf_counter()
    status, answer = api("DELETE", f"/api/databases/{database}")
    answered = time.perf_counter() - began
    assert status in {200, 202}, answer
    while status != 404:
        status, _ = api("GET", f"/api/databases/{database}")
        if status != 404:
            time.sleep(0.01)
    return answered, time.perf_counter() - began


def get(api: Api, path: str) -> dict[str, Any]:
    status, answer = api("GET", path)
    assert status == 200, answer
    found: dict[str, Any] = answer
    return found


def get_each_time(path: str, api: Api, _: int) -> None:
    get(api, path)


# ── the peers ────────────────────────────────────────────────────────────────


def statements(number: int) -> list[str]:
    return [
        f"CREATE ROLE raw_{number} LOGIN PASSWORD 'secret'",
        f"CREATE DATABASE raw_{number} OWNER raw_{number}",
    ]


def psql(here: Installation, *arguments: str) -> list[str]:
    socket, port = str(here.home / "run" / "shared-1"), str(here.pg_port)
    to = ["--host", socket, "--port", port, "--username", "tenantry_admin", "postgres"]
    return ["psql", "-qAtXw", "-v", "ON_ERROR_STOP=1", *arguments, *to]


class Peers:
    """CREATE ROLE and CREATE DATABASE by hand."""

    def __init__(self, here: Installation) -> None:
        self._here = here

    @contextmanager
    def process(self) -> Iterator[Callable[[int], None]]:
        """A psql for each database."""

        def call(number: int) -> None:
            role, database = statements(number)
            subprocess.run(psql(self._here, "-c", role, "-c", database), check=True)

        yield call

    @contextmanager
    def session(self) -> Iterator[Callable[[int], None]]:
        """A psql that stays connected: the stricter peer."""
        with subprocess.Popen(
            psql(self._here), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as process:
            asks, shows = process.stdin, process.stdout
            assert asks is not None
            assert shows is not None

            def call(number: int) -> None:
                asks.write(";\n".join([*statements(number), f"\\echo {number}\n"]))
                asks.flush()
                assert shows.readline() == f"{number}\n"

            yield call
            asks.close()

    def drop(self, numbers: range) -> None:
        with self._here.superuser() as server:
            for number in numbers:
                server.execute(f"DROP DATABASE raw_{number}")
                server.execute(f"DROP ROLE raw_{number}")


# ── the measurements ─────────────────────────────────────────────────────────


def creations(callers: int, count: int) -> tuple[Figures, list[Aim]]:
    """Creations beside the peers; then new passwords and deletions of what was created."""
    with installation(warm_pool=count + SPARE) as here:
        seconds = fill(here, count + SPARE)
        say(f"{callers} callers: the pool was filled in {seconds:.0f} s")
        settle(here)
        refilling = timed(over_http(here, create), range(count), callers=callers)
        fill(here, count + SPARE)
        say("created while it refilled, and filled again")
        # From now on nothing is made that was not asked for.
        here.down()
        here.environment["TENANTRY_WARM_POOL"] = "0"
        here.up()
        found = beside_peers(here, callers, count)
        figures: Figures = {
            "callers": callers,
            "warm_databases_made_per_second": round((count + SPARE) / seconds, 1),
            "created_while_refilling": summary(refilling.seconds),
        } | {name: summary(seconds) for name, seconds in found.items()}
        say("changing passwords and deleting")
        databases = [database["id"] for database in refilling.results[: count // REMOVED_OF]]
        rotations = timed(
            over_http(here, lambda api, number: rotate(api, databases[number])),
            range(len(databases)),
            callers=callers,
        )
        deletions = timed(
            over_http(here, lambda api, number: delete(api, databases[number])),
            range(len(databases)),
            callers=callers,
        )
        figures["rotated"] = summary(rotations.seconds)
        figures["deletion_answered"] = summary([answered for answered, _ in deletions.results])
        figures["deletion_complete"] = summary([gone for _, gone in deletions.results])
    aims = []
    raw = percentile(found["raw_psql_process"], 0.5)
    for state, ours in (("refilling", refilling.seconds), ("resting", found["created"])):
        what = f"{callers} callers, pool {state}"
        aims += [
            Aim.at_most(f"{what}: p50 / p50 of raw", percentile(ours, 0.5) / raw, SHARE_OF_RAW),
            Aim.at_most(f"{what}: p99 / p50 of raw", percentile(ours, 0.99) / raw, 1),
        ]
    figures["p50_of_raw_session_over_p50"] = round(
        percentile(found["raw_psql_session"], 0.5) / percentile(found["created"], 0.5), 1
    )
    return figures, aims


def beside_peers(here: Installation, callers: int, count: int) -> dict[str, list[float]]:
    """Seconds of each way, in blocks that take turns, so that a noise hits all of them."""
    peers = Peers(here)
    ways: dict[str, Any] = {
        "raw_psql_process": peers.process,
        "raw_psql_session": peers.session,
        "created": over_http(here, create),
    }
    found: dict[str, list[float]] = {name: [] for name in ways}
    timed(ways["created"], range(callers))  # the API has just been started
    for start in range(0, count, count // BLOCKS):
        numbers = range(start, start + count // BLOCKS)
        settle(here)
        for name, way in ways.items():
            found[name] += timed(way, numbers, callers=callers).seconds
            if name.startswith("raw"):
                peers.drop(numbers)
        say(f"{numbers.stop} of {count}")
    return found


def burst() -> tuple[Figures, list[Aim]]:
    """More creations at once than are ready: all answered, distinct, and open."""
    with installation(warm_pool=BURST_POOL) as here:
        fill(here, BURST_POOL)
        made = timed(over_http(here, create), range(BURST), callers=8)
        names = {database["database_name"] for database in made.results}
        opened = 0
        for database in made.results:
            url = database["connection_string"].replace("sslmode=require", "sslmode=verify-full")
            with psycopg.connect(f"{url}&sslrootcert={here.home / 'ca.crt'}") as tenant:
                tenant.execute("CREATE TABLE works (id integer)")
                opened += 1
    say(f"burst: {len(names)} databases, {opened} opened")
    figures = {"ready": BURST_POOL, "callers": 8, "created": summary(made.seconds)}
    return figures, [Aim.at_least("burst: databases that their owners can use", opened, BURST)]


def lists(rows: int, count: int) -> tuple[Figures, list[Aim]]:
    """Pages and single databases among very many."""
    with installation(warm_pool=0) as here:
        insert_rows(here, rows)
        with Api(here) as api:
            first = get(api, "/api/databases?limit=1")["data"][0]["id"]
            paths = {
                "page, the first": "/api/databases",
                "page, deep": f"/api/databases?cursor={deep_cursor(api, rows)}",
                "page of an environment": "/api/databases?environment=staging",
                "page of an owner": "/api/databases?owner=owner7@example.com",
                "page of a search that finds many": "/api/databases?search=shop",
                "page of a search that finds one": f"/api/databases?search=app-{rows // 2}-",
                "page of a search that finds none": "/api/databases?search=nowhere",
                "one database": f"/api/databases/{first}",
            }
        figures: Figures = {"rows": rows, "page_size": 50}
        aims = []
        for name, path in paths.items():
            ask = over_http(here, partial(get_each_time, path))
            timed(ask, range(10))
            seconds = timed(ask, range(count)).seconds
            figures[name] = summary(seconds)
            aims.append(
                Aim.at_most(
                    f"{name} of {rows:,}: p95 in ms",
                    percentile(seconds, 0.95) * 1000,
                    PAGE_SECONDS * 1000,
                )
            )
        return figures, aims


def insert_rows(here: Installation, count: int) -> None:
    """Databases on paper.

    They are said to be on the control cluster, where no tenant's are: reconciliation, which
    would make them, looks after the others.
    """
    with here.control() as control:
        control.execute(
            """
            INSERT INTO customers (id, email)
            SELECT gen_random_uuid(), format('owner%s@example.com', n)
            FROM generate_series(0, 199) n
            """
        )
        control.execute(
            """
            INSERT INTO databases (id, cluster_id, database_name, username, status, customer_id,
                name, friendly_name, environment, created_at)
            SELECT gen_random_uuid(), (SELECT id FROM clusters WHERE kind = 'control'),
                'tenant_' || substr(md5(n::text), 1, 12), 'user_' || substr(md5(n::text), 1, 12),
                'active',
                (SELECT id FROM customers WHERE email = format('owner%%s@example.com', n %% 200)),
                format('app-%%s-', n), (ARRAY['Shop', 'Blog', 'Billing', 'Search'])[n %% 4 + 1],
                (ARRAY['production', 'staging', 'development'])[n %% 3 + 1],
                now() - n * interval '1 minute'
            FROM generate_series(1, %s) n
            """,
            (count,),
        )
        control.execute("VACUUM ANALYZE")


def deep_cursor(api: Api, rows: int) -> str:
    """The cursor of a page nine tenths of the way down."""
    cursor, seen = "", 0
    while seen < rows * 9 // 10:
        page = get(api, f"/api/databases?limit=100{cursor and f'&cursor={cursor}'}")
        cursor, seen = page["next_cursor"], seen + page["count"]
    return cursor


def benchmark(quick: bool) -> Report:
    count, rows, asked = (20, 1_000, 50) if quick else (300, 10_000, 300)
    with installation(warm_pool=0) as here:
        of = machine(here)
    results: dict[str, object] = {}
    aims: list[Aim] = []
    parts: dict[str, Callable[[], tuple[Figures, list[Aim]]]] = {
        "create_1_caller": lambda: creations(1, count),
        "create_8_callers": lambda: creations(8, count),
        "burst": burst,
        "lists": lambda: lists(rows, asked),
    }
    for name, part in parts.items():
        results[name], more = part()
        aims += more
    return Report(of, results, aims)


if __name__ == "__main__":
    run("provision", __doc__, benchmark)
