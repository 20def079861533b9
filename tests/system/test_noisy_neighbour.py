"""A tenant that takes all it can get takes nothing from its neighbour, nor from the platform."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import httpx
import psycopg
import pytest

from answers import data
from clients import ENDPOINTS, eventually, login
from harness import Installation

MIB = 2**20
MOST = 110  # connections that one database of an installation of 1 GiB may have


class Neighbour:
    """Somebody who comes, writes, reads and goes again, by both endpoints, all the time."""

    def __init__(self, made: dict[str, Any]) -> None:
        self._made = made
        self._over = threading.Event()
        self._threads = [
            threading.Thread(target=self._work, args=(endpoint,)) for endpoint in ENDPOINTS
        ]
        self.errors: list[str] = []
        self.done = dict.fromkeys(ENDPOINTS, 0)

    def _work(self, endpoint: str) -> None:
        while not self._over.is_set():
            try:
                with login(self._made[endpoint]) as session:
                    session.execute("INSERT INTO work (at) VALUES (clock_timestamp())")
                    session.execute("SELECT count(*) FROM work")
                self.done[endpoint] += 1
            except psycopg.Error as error:
                self.errors.append(f"{endpoint}: {error}")

    def __enter__(self) -> "Neighbour":
        with login(self._made["connection_string"]) as session:
            session.execute("CREATE TABLE IF NOT EXISTS work (at timestamptz)")
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()


@pytest.fixture(scope="module")
def neighbour(platform: Installation) -> dict[str, Any]:
    return platform.create()


@pytest.fixture
def noisy(platform: Installation, api: httpx.Client) -> Iterator[dict[str, Any]]:
    made = platform.create(
        maxConnections=MOST, diskQuotaBytes=40 * MIB, tempFileLimitBytes=16 * MIB
    )
    yield made
    api.delete(f"/api/databases/{made['id']}")


@contextmanager
def undisturbed(api: httpx.Client, neighbour: dict[str, Any]) -> Iterator[None]:
    """While the block lasts, the neighbour and the platform work as ever."""
    with Neighbour(neighbour) as works:
        eventually(lambda: all(works.done.values()))
        yield
        before = dict(works.done)
        eventually(
            lambda: all(works.done[endpoint] > before[endpoint] + 5 for endpoint in ENDPOINTS)
        )
        assert api.get("/ready").status_code == 200
        made = data(api.post("/api/databases", json={"friendlyName": "Meanwhile"}), 201)
        with login(made["connection_string"]) as session:
            session.execute("SELECT 1")
        api.delete(f"/api/databases/{made['id']}")
    assert works.errors == []


@contextmanager
def many(count: int, work: Callable[[], None], over: threading.Event) -> Iterator[None]:
    """Have so many do it for as long as the block lasts."""
    threads = [threading.Thread(target=work) for _ in range(count)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join()


def test_one_that_opens_all_connections_it_may(
    api: httpx.Client, neighbour: dict[str, Any], noisy: dict[str, Any]
) -> None:
    with ExitStack() as stack:
        for _ in range(MOST):
            stack.enter_context(login(noisy["connection_string"]))
        with pytest.raises(psycopg.OperationalError, match="too many connections"):
            login(noisy["connection_string"])
        with undisturbed(api, neighbour):
            pass


def test_one_with_more_pooled_clients_than_can_be_served(
    api: httpx.Client, neighbour: dict[str, Any], noisy: dict[str, Any]
) -> None:
    over = threading.Event()

    def work() -> None:
        with contextlib.suppress(psycopg.Error), login(noisy["connection_string_pooled"]) as here:
            while not over.is_set():
                here.execute("SELECT pg_sleep(0.5)")

    with many(80, work, over), undisturbed(api, neighbour):
        pass


def test_one_that_spills_as_much_as_it_may_and_keeps_every_core_busy(
    api: httpx.Client, neighbour: dict[str, Any], noisy: dict[str, Any]
) -> None:
    over = threading.Event()
    refused = []

    def work() -> None:
        while not over.is_set():
            with login(noisy["connection_string"]) as session:
                try:
                    session.execute(
                        "SELECT count(*) FROM (SELECT md5(g::text) || g FROM"
                        " generate_series(1, 2000000) g ORDER BY 1 OFFSET 0) s"
                    )
                except psycopg.errors.ConfigurationLimitExceeded as error:
                    refused.append(error)

    with many(8, work, over), undisturbed(api, neighbour):
        eventually(lambda: refused)


def test_one_that_fills_the_disk_and_overrides_what_should_stop_it(
    platform: Installation, api: httpx.Client, neighbour: dict[str, Any], noisy: dict[str, Any]
) -> None:
    def disk() -> dict[str, Any]:
        found: dict[str, Any] = data(api.get(f"/api/databases/{noisy['id']}"))["disk"]
        return found

    over = threading.Event()

    def work() -> None:
        while not over.wait(0.05):
            with contextlib.suppress(psycopg.Error), login(noisy["connection_string"]) as session:
                session.execute("SET default_transaction_read_only = off")
                session.execute("CREATE TABLE IF NOT EXISTS growing (x text)")
                for _ in range(4):
                    session.execute(
                        "INSERT INTO growing SELECT repeat(md5(random()::text), 31)"
                        " FROM generate_series(1, 1024)"
                    )
                    over.wait(0.2)

    with many(1, work, over), undisturbed(api, neighbour):
        eventually(lambda: disk()["state"] == "stopped")
        with platform.superuser(dbname=noisy["database_name"]) as inside:
            # Not the size: vacuum still adds to it.
            written = inside.execute("SELECT count(*) FROM growing").fetchone()
            time.sleep(6)
            assert inside.execute("SELECT count(*) FROM growing").fetchone() == written
