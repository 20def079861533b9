"""What a neighbour notices of requests and operations that wait for somebody else.

One customer holds a lock in its database while 24 requests wait for it, names 14 import sources
that never answer, and runs three migrations that sleep. A neighbour asks for its databases, makes
and deletes roles, and backs its database up meanwhile. Each noise takes turns with quiet.
"""

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
import psycopg

from support import Aim, Installation, Report, installation, machine, run, say, summary

WAITING = 24
SILENT = 14
SLEEPING = 3
SCOPES = ["databases:read", "databases:write", "backups:read", "backups:write"]
SLEEP = {"name": "000001_sleep.up.sql", "sql": "SELECT pg_sleep(3000);"}
OPERATION_SECONDS = 30  # how long the neighbour waits for a backup

Row = dict[str, Any]


@dataclass
class Noticed:
    """The seconds of the neighbour's requests and backups, and how many did not succeed."""

    requests: list[float] = field(default_factory=list)
    operations: list[float] = field(default_factory=list)
    errors: int = 0

    def add(self, other: "Noticed") -> None:
        self.requests += other.requests
        self.operations += other.operations
        self.errors += other.errors

    @property
    def figures(self) -> dict[str, object]:
        return {
            "requests": summary(self.requests),
            "backups": summary(self.operations) if self.operations else None,
            "errors": self.errors,
        }


class Customer:
    """A key of a customer's, or one without a customer."""

    def __init__(self, here: Installation, email: str | None) -> None:
        with here.client() as administrator:
            asked = {"name": "bench", "scopes": SCOPES, "customer_email": email}
            made = administrator.post("/api/api-keys", json=asked).json()["data"]
        self.api = here.client(made["key"])
        self.api.timeout = httpx.Timeout(120)

    def database(self) -> Row:
        asked = {"friendlyName": "Bench", "shadow": False}
        made: Row = self.api.post("/api/databases", json=asked).json()["data"]
        return made


def notice(neighbour: Customer, database: Row, seconds: float) -> Noticed:
    """Work as the neighbour for so long, one request after the other."""
    found = Noticed()
    path = f"/api/databases/{database['id']}"
    until = time.monotonic() + seconds

    def ask(method: str, where: str, **body: object) -> Row:
        began = time.perf_counter()
        answer = neighbour.api.request(method, where, json=body or None)
        found.requests.append(time.perf_counter() - began)
        found.errors += not answer.is_success
        return answer.json().get("data") if answer.is_success else {}

    number = 0
    while time.monotonic() < until:
        number += 1
        ask("GET", "/api/databases")
        ask("PATCH", path, friendlyName=f"Bench {number}")
        if role := ask("POST", f"{path}/roles", name=f"r{number}"):
            ask("DELETE", f"{path}/roles/{role['id']}")
        if number % 5 == 1 and (operation := ask("POST", f"{path}/backups", part="schema")):
            began = time.perf_counter()
            backup = made_by(neighbour, operation["id"])
            found.operations.append(time.perf_counter() - began)
            if backup is None:
                found.errors += 1
                neighbour.api.post(f"/api/operations/{operation['id']}/cancel")
            else:  # a customer may have only so many
                neighbour.api.delete(f"{path}/backups/{backup}")
    return found


def made_by(neighbour: Customer, operation: str) -> str | None:
    """The id of the backup that an operation has made, or None if it made none in time."""
    until = time.monotonic() + OPERATION_SECONDS
    while time.monotonic() < until:
        row = neighbour.api.get(f"/api/operations/{operation}").json().get("data", {})
        if row.get("finished_at"):
            return str(row["result"]["backup_id"]) if row["status"] == "succeeded" else None
        time.sleep(0.05)
    return None


# ── noises ───────────────────────────────────────────────────────────────────


@contextmanager
def crowd(count: int, customer: Customer, path: str, body: Row) -> Iterator[None]:
    """So many who ask for the same again and again."""
    over = threading.Event()

    def work() -> None:
        while not over.is_set():
            with contextlib.suppress(httpx.HTTPError):
                customer.api.post(path, json=body)
            over.wait(0.05)

    with ThreadPoolExecutor(count) as threads:
        for _ in range(count):
            threads.submit(work)
        try:
            yield
        finally:
            over.set()


@contextmanager
def blocked_requests(here: Installation) -> Iterator[None]:
    customer = Customer(here, "blocked@bench.example")
    database = customer.database()
    path = f"/api/databases/{database['id']}/extensions"
    with psycopg.connect(database["connection_string"]) as session:
        session.execute("CREATE EXTENSION citext")
        with crowd(WAITING, customer, path, {"name": "citext"}):
            yield
            session.rollback()


@contextmanager
def silent_sources(here: Installation) -> Iterator[None]:
    customer = Customer(here, None)  # only these may import from this machine
    path = f"/api/databases/{customer.database()['id']}/import"
    with socket.create_server(("127.0.0.1", 0), backlog=128) as silent:
        source = f"postgresql://u:p@127.0.0.1:{silent.getsockname()[1]}/d"
        with crowd(SILENT, customer, path, {"from": source}):
            yield


@contextmanager
def sleeping_migrations(here: Installation) -> Iterator[None]:
    customer = Customer(here, "sleeping@bench.example")
    started = []
    for _ in range(SLEEPING):
        path = f"/api/databases/{customer.database()['id']}/migrations"
        started.append(customer.api.post(path, json={"files": [SLEEP]}).json()["data"]["id"])
    yield
    for each in started:
        customer.api.post(f"/api/operations/{each}/cancel")


NOISES = {
    "24 blocked requests": blocked_requests,
    "14 silent import sources": silent_sources,
    "3 sleeping migrations": sleeping_migrations,
}


def benchmark(quick: bool) -> Report:
    seconds, rounds = (4, 1) if quick else (20, 3)
    results: dict[str, object] = {}
    aims: list[Aim] = []
    with installation(warm_pool=16) as here:
        about = machine(here)
        neighbour = Customer(here, "neighbour@bench.example")
        database = neighbour.database()
        notice(neighbour, database, 1)
        for name, noise in NOISES.items():
            quiet, loud = Noticed(), Noticed()
            for number in range(rounds):
                say(f"{name}, round {number + 1} of {rounds}")
                quiet.add(notice(neighbour, database, seconds))
                with noise(here):
                    time.sleep(2)  # until it is in full swing
                    loud.add(notice(neighbour, database, seconds))
            results[name] = {"quiet": quiet.figures, "meanwhile": loud.figures}
            aims.append(Aim.at_most(f"errors during {name}", loud.errors, 0))
    return Report(about, results, aims)


if __name__ == "__main__":
    run("fairness", __doc__.splitlines()[0], benchmark)
