"""Customers of one database through the pooled port: whether rows cross, and what a context costs.

Fifty customers at once share a few server connections. Each transaction reads all that it can
see and another customer's row by its key, and tries to write: to another's row, in another's
name, or to its own; some fail half-way, some have no context. In between, the same customers do
the same on a bare table without a context, with the conditions that an application would write.
Then a primary-key read in a transaction of its own is timed by each driver, in short turns with
and without a context; how far apart two such series without any are, is the noise.
"""

import asyncio
import os
import statistics
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from typing import Any

import asyncpg
import psycopg
import sqlalchemy as sa

from support import Aim, Report, installation, machine, run, say
from tenantry_rls import TenantContext, tables, tenant_transaction
from tenantry_rls.check import check

CUSTOMERS = 50
ROWS = 20  # of each customer
ROUNDS = 5  # of all customers, with a context and without in turns
TURN = 10  # reads of each series after another
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
        owner.execute(
            "INSERT INTO sites SELECT n, n %% %s, 'of ' || n %% %s FROM generate_series(0, %s) n",
            (CUSTOMERS, CUSTOMERS, CUSTOMERS * ROWS - 1),
        )
        owner.execute("CREATE TABLE bare (LIKE sites INCLUDING ALL)")
        owner.execute("ALTER TABLE bare RENAME customer_id TO whose")  # else it were a hole
        owner.execute("INSERT INTO bare TABLE sites")
        owner.execute("CREATE INDEX ON bare (whose)")
        tables.enable(owner, "sites")


# ── whether rows cross ───────────────────────────────────────────────────────────


def secured(conn: Conn, customer: int, number: int) -> str:
    """One transaction, and how it went: ``crossed`` if it saw or changed what is another's."""
    other = (customer + 1) % CUSTOMERS
    if number % 10 == 0:
        return "crossed" if conn.execute("SELECT FROM sites").rowcount else "nobody's: no row"
    name = f"of {customer}"
    touched = 0
    with suppress(_Interrupted), tenant_transaction(conn, TenantContext(customer)):
        seen = {row[0] for row in conn.execute("SELECT customer_id FROM sites")}
        touched += conn.execute("SELECT FROM sites WHERE id = %s", (other,)).rowcount
        match number % 4:
            case 0:
                conn.execute("UPDATE sites SET name = %s WHERE id = %s", (name, customer))
            case 1:
                update = "UPDATE sites SET name = %s WHERE id = %s"
                touched += conn.execute(update, (name, other)).rowcount
            case 2:
                touched += conn.execute("DELETE FROM sites WHERE id = %s", (other,)).rowcount
            case _:
                insert = "INSERT INTO sites VALUES (%s, %s, %s)"
                with suppress(psycopg.errors.InsufficientPrivilege), conn.transaction():
                    touched += conn.execute(insert, (-number, other, name)).rowcount
        if touched or seen != {customer}:
            return "crossed"
        if number % 10 == 5:
            raise _Interrupted
    return "rolled back" if number % 10 == 5 else "own rows only"


def unsecured(conn: Conn, customer: int, number: int) -> str:
    """The same without a context: the conditions are the application's."""
    other = (customer + 1) % CUSTOMERS
    if number % 10 == 0:
        conn.execute("SELECT FROM bare WHERE whose = -1")
        return "nobody's: no row"
    name = f"of {customer}"
    with suppress(_Interrupted), conn.transaction():
        list(conn.execute("SELECT whose FROM bare WHERE whose = %s", (customer,)))
        conn.execute("SELECT FROM bare WHERE id = %s AND whose = %s", (other, customer))
        match number % 4:
            case 0 | 1:
                update = "UPDATE bare SET name = %s WHERE id = %s AND whose = %s"
                key = other if number % 4 else customer
                conn.execute(update, (name, key, customer))
            case 2:
                conn.execute("DELETE FROM bare WHERE id = %s AND whose = %s", (other, customer))
            case _:
                insert = "INSERT INTO bare SELECT %s, %s, %s WHERE false"
                with conn.transaction():
                    conn.execute(insert, (-number, other, name))
        if number % 10 == 5:
            raise _Interrupted
    return "rolled back" if number % 10 == 5 else "own rows only"


def mingle(
    connections: list[Conn], turn: Callable[[Conn, int, int], str], transactions: int
) -> tuple[Counter[str], float]:
    """How the transactions of all customers at once went, and how many there were a second."""
    seen: Counter[str] = Counter()
    lock = threading.Lock()
    each = transactions // CUSTOMERS

    def work(customer: int) -> None:
        mine = Counter(turn(connections[customer], customer, number) for number in range(each))
        with lock:
            seen.update(mine)

    began = time.monotonic()
    with ThreadPoolExecutor(CUSTOMERS) as threads:
        list(threads.map(work, range(CUSTOMERS)))
    return seen, transactions / (time.monotonic() - began)


def crossings(url: str, transactions: int) -> dict[str, Any]:
    """What became of the transactions with a context, beside those without."""
    connections: list[Conn] = [psycopg.connect(url, autocommit=True) for _ in range(CUSTOMERS)]
    seen: Counter[str] = Counter()
    rates: dict[str, list[float]] = {"with": [], "without": []}
    for number in range(ROUNDS):
        say(f"round {number + 1} of {ROUNDS}: {transactions // ROUNDS} transactions, twice")
        went, rate = mingle(connections, secured, transactions // ROUNDS)
        seen.update(went)
        rates["with"].append(rate)
        rates["without"].append(mingle(connections, unsecured, transactions // ROUNDS)[1])
    for conn in connections:
        conn.close()
    return {
        "transactions": seen.total(),
        "went": dict(seen),
        "transactions_a_second": {
            name: round(statistics.median(each)) for name, each in rates.items()
        },
    }


def others(superuser: Conn) -> int:
    """Rows that are not as their own customers left them, whoever looks."""
    row = superuser.execute(
        "SELECT count(*) FILTER (WHERE name <> 'of ' || customer_id) + abs(count(*) - %s)"
        " FROM sites",
        (CUSTOMERS * ROWS,),
    ).fetchone()
    return int(row[0]) if row else -1


# ── what a context costs ─────────────────────────────────────────────────────────

Read = Callable[[str, int], Awaitable[None]]  # a series, a key
SERIES = ("without", "without again", "settings only", "with")
BARE, SECURED = "SELECT name FROM bare WHERE id = ", "SELECT name FROM sites WHERE id = "
QUERY = {name: SECURED if name == "with" else BARE for name in SERIES}


def _context(name: str, key: int) -> TenantContext | None:
    return TenantContext(key) if name in {"settings only", "with"} else None


@asynccontextmanager
async def by_psycopg(url: str) -> AsyncIterator[Read]:
    with psycopg.connect(url, autocommit=True) as conn:
        queries = {name: (query + "%s").encode() for name, query in QUERY.items()}

        async def read(name: str, key: int) -> None:
            context = _context(name, key)
            with tenant_transaction(conn, context) if context else conn.transaction():
                conn.execute(queries[name], (key,)).fetchone()

        yield read


@asynccontextmanager
async def by_async_psycopg(url: str) -> AsyncIterator[Read]:
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as conn:
        queries = {name: (query + "%s").encode() for name, query in QUERY.items()}

        async def read(name: str, key: int) -> None:
            context = _context(name, key)
            async with tenant_transaction(conn, context) if context else conn.transaction():
                await (await conn.execute(queries[name], (key,))).fetchone()

        yield read


@asynccontextmanager
async def by_asyncpg(url: str) -> AsyncIterator[Read]:
    conn = await asyncpg.connect(url)
    try:

        async def read(name: str, key: int) -> None:
            context = _context(name, key)
            async with tenant_transaction(conn, context) if context else conn.transaction():
                await conn.fetchrow(QUERY[name] + "$1", key)

        yield read
    finally:
        await conn.close()


@asynccontextmanager
async def by_sqlalchemy(url: str) -> AsyncIterator[Read]:
    engine = sa.create_engine(sa.make_url(url).set(drivername="postgresql+psycopg"))
    with engine.connect() as conn:
        queries = {name: sa.text(query + ":key") for name, query in QUERY.items()}

        async def read(name: str, key: int) -> None:
            context = _context(name, key)
            with tenant_transaction(conn, context) if context else conn.begin():
                conn.execute(queries[name], {"key": key}).fetchone()

        yield read
    engine.dispose()


DRIVERS = {
    "psycopg": by_psycopg,
    "psycopg, asynchronous": by_async_psycopg,
    "asyncpg": by_asyncpg,
    "SQLAlchemy over psycopg": by_sqlalchemy,
}


async def compare(url: str, driver: str, reads: int) -> dict[str, float]:
    """Medians in microseconds of each series, and their ratios."""
    took: dict[str, list[float]] = {name: [] for name in SERIES}
    async with DRIVERS[driver](url) as read:
        for name in SERIES:
            for key in range(TURN):  # until all is prepared that will be
                await read(name, key)
        for turn in range(reads // TURN):
            # Whoever comes first in a turn is no other's successor always.
            for name in SERIES[turn % 4 :] + SERIES[: turn % 4]:
                for key in range(TURN):
                    began = time.perf_counter()
                    await read(name, key)
                    took[name].append(time.perf_counter() - began)
    median = {name: statistics.median(each) * 1e6 for name, each in took.items()}
    plain = statistics.median(took["without"] + took["without again"]) * 1e6
    return {
        "without_us": round(plain, 1),
        "with_us": round(median["with"], 1),
        "ratio": round(median["with"] / plain, 3),
        "ratio_of_the_settings_only": round(median["settings only"] / plain, 3),
        "noise": round(abs(median["without again"] / median["without"] - 1), 3),
    }


def benchmark(quick: bool) -> Report:
    with installation(warm_pool=1) as here:
        database = here.create()
        endpoints = {
            "pooled": database["connection_string_pooled"],
            "direct": database["connection_string"],
        }
        prepare(endpoints["direct"])
        mingled = crossings(endpoints["pooled"], 5_000 if quick else 100_000)
        with here.superuser(dbname=database["database_name"]) as superuser:
            wrong = others(superuser)
            backends = superuser.execute(
                "SELECT count(*) - 1 FROM pg_stat_activity WHERE datname = current_database()"
            ).fetchone()
        with psycopg.connect(endpoints["pooled"]) as conn:
            holes = check(conn).errors
        reads = 400 if quick else 2_400
        busy = os.getloadavg()[0]
        costs: dict[str, dict[str, dict[str, float]]] = {}
        for endpoint, url in endpoints.items():
            say(f"a primary-key read with a context and without, {endpoint}")
            costs[endpoint] = {name: asyncio.run(compare(url, name, reads)) for name in DRIVERS}
        aims = [
            Aim.at_most(
                "transactions that saw or changed another's row",
                mingled["went"].get("crossed", 0),
                0,
            ),
            Aim.at_most("rows that are not as their customers left them", wrong, 0),
            Aim.at_most("holes that the check finds", len(holes), 0),
        ]
        aims += [
            Aim.at_most(
                f"a {endpoint} read with a context, of one without, by {name}",
                cost["ratio"],
                MOST_SLOWER,
            )
            for endpoint, by_driver in costs.items()
            for name, cost in by_driver.items()
        ]
        return Report(
            machine(here),
            {
                "mingled": mingled,
                "server_connections_of_them": backends and backends[0],
                "load_while_reading": [round(busy, 2), round(os.getloadavg()[0], 2)],
                "a_read": costs,
            },
            aims,
        )


if __name__ == "__main__":
    run("isolation", __doc__ or "", benchmark)
