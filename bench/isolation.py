"""Customers of one database through the pooled port: whether rows cross, and what a context costs.

Fifty customers at once share a few server connections. Each transaction reads all that it can
see, and another customer's row by its key; some fail half-way, some have no context. Then a
primary-key read in a transaction is timed with the context and without, in turns.
"""

import statistics
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import psycopg

from support import Aim, Report, installation, machine, run, say
from tenantry_rls import TenantContext, tables, tenant_transaction
from tenantry_rls.check import check

CUSTOMERS = 50
ROWS = 20  # of each customer
MOST_SLOWER = 1.15  # of the same read without a context

Conn = psycopg.Connection[tuple[Any, ...]]


class _Interrupted(Exception):
    """What an application raises half-way."""


def prepare(url: str) -> None:
    """A secured table, and the same one bare. The owner is under the policies as well."""
    with psycopg.connect(url) as owner:
        owner.execute(
            "CREATE TABLE sites (id bigint PRIMARY KEY, customer_id bigint NOT NULL,"
            " name text NOT NULL)"
        )
        owner.execute("CREATE TABLE bare (LIKE sites INCLUDING ALL)")
        owner.execute(
            "INSERT INTO sites SELECT n, n %% %s, 'site ' || n FROM generate_series(0, %s) n",
            (CUSTOMERS, CUSTOMERS * ROWS - 1),
        )
        owner.execute("ALTER TABLE bare RENAME customer_id TO whose")  # else it were a hole
        owner.execute("INSERT INTO bare TABLE sites")
        tables.enable(owner, "sites")


def turn(conn: Conn, customer: int, number: int) -> str:
    """One transaction: ``own``, ``nothing`` or ``crossed`` is what it saw."""
    other = (customer + 1) % CUSTOMERS
    if number % 10 == 0:
        return "crossed" if conn.execute("SELECT FROM sites").rowcount else "nothing"
    seen: set[int] = set()
    with suppress(_Interrupted), tenant_transaction(conn, TenantContext(customer)):
        seen = {row[0] for row in conn.execute("SELECT customer_id FROM sites")}
        stolen = conn.execute("SELECT FROM sites WHERE id = %s", (other,)).rowcount
        if stolen:
            return "crossed"
        if number % 10 == 5:
            raise _Interrupted
    return "own" if seen == {customer} else "crossed"


def mingle(url: str, transactions: int) -> tuple[Counter[str], int]:
    """What all of them saw, and by how many server connections."""
    seen: Counter[str] = Counter()
    backends: set[int] = set()
    lock = threading.Lock()

    def work(customer: int) -> None:
        mine: Counter[str] = Counter()
        with psycopg.connect(url, autocommit=True) as conn:
            for number in range(transactions // CUSTOMERS):
                mine[turn(conn, customer, number)] += 1
            row = conn.execute("SELECT pg_backend_pid()").fetchone()
        with lock:
            seen.update(mine)
            backends.update(row or ())

    with ThreadPoolExecutor(CUSTOMERS) as threads:
        for each in [threads.submit(work, customer) for customer in range(CUSTOMERS)]:
            each.result()
    return seen, len(backends)


def compare(url: str, reads: int) -> dict[str, float]:
    """Medians in microseconds of a primary-key read in a transaction, in turns."""
    took: dict[str, list[float]] = {"without": [], "with": []}
    with psycopg.connect(url, autocommit=True) as conn:
        for number in range(reads):
            key = number % CUSTOMERS
            began = time.perf_counter()
            with conn.transaction():
                conn.execute("SELECT name FROM bare WHERE id = %s", (key,)).fetchone()
            between = time.perf_counter()
            with tenant_transaction(conn, TenantContext(key)):
                conn.execute("SELECT name FROM sites WHERE id = %s", (key,)).fetchone()
            took["without"].append(between - began)
            took["with"].append(time.perf_counter() - between)
    return {name: round(statistics.median(each) * 1e6, 1) for name, each in took.items()}


def benchmark(quick: bool) -> Report:
    with installation(warm_pool=1) as here:
        database = here.create()
        prepare(database["connection_string"])
        pooled = database["connection_string_pooled"]
        transactions = 5_000 if quick else 100_000
        say(f"{transactions} transactions of {CUSTOMERS} customers")
        began = time.monotonic()
        seen, backends = mingle(pooled, transactions)
        rate = transactions / (time.monotonic() - began)
        with psycopg.connect(pooled) as conn:
            holes = check(conn).errors
        say("a primary-key read with a context and without")
        doors = {
            "pooled": compare(pooled, 500 if quick else 5_000),
            "direct": compare(database["connection_string"], 500 if quick else 5_000),
        }
        slower = "a pooled read with a context, of one without"
        ratios = {door: round(each["with"] / each["without"], 3) for door, each in doors.items()}
        return Report(
            machine(here),
            {
                "transactions": transactions,
                "seen": dict(seen),
                "server_connections_in_the_end": backends,
                "transactions_a_second": round(rate),
                "microseconds": doors,
                "ratio": ratios,
            },
            [
                Aim.at_most("transactions that saw another's row", seen["crossed"], 0),
                Aim.at_most(slower, ratios["pooled"], MOST_SLOWER),
                Aim.at_most("holes that the check finds", len(holes), 0),
            ],
        )


if __name__ == "__main__":
    run("isolation", __doc__ or "", benchmark)
