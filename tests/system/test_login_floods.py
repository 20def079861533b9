"""Connections that never finish their login, while a neighbour logs in again and again."""

import os
import re
import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import psycopg
import pytest

from answers import data
from clients import ask, eventually, hurry
from flooding import Neighbour, flood, silent, stopping_in_scram
from harness import Installation

PLACES = 200
LOGINS = 30  # of a neighbour, at least
REFUSED = {"scram": 0.1, "silent": 2.0}  # for each that gets in


@pytest.fixture(scope="module")
def platform() -> Iterator[Installation]:
    """A machine so small that PostgreSQL has 200 places."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    installation = Installation({"TENANTRY_MEMORY_MB": "512"})
    try:
        installation.up()
        hurry(installation)
        yield installation
    finally:
        installation.remove()


@pytest.fixture(scope="module")
def noisy(platform: Installation) -> dict[str, Any]:
    return platform.create(shadow=False)


@pytest.fixture(scope="module")
def neighbour(platform: Installation) -> dict[str, Any]:
    return platform.create(shadow=False)


def measure(platform: Installation, name: str) -> float:
    with platform.client() as api:
        text = api.get("/metrics").text
    found = re.findall(rf"^{name}(?:{{.*}})? (\S+)$", text, re.MULTILINE)
    return sum(float(value) for value in found)


def gets_in(made: dict[str, Any]) -> bool:
    try:
        return ask(made["connection_string"]) == 1
    except psycopg.OperationalError:  # no place, by one of two messages, or cut off in the login
        return False


@contextmanager
def undisturbed(
    api: httpx.Client, neighbour: dict[str, Any], endpoint: str, *, most_refused: float = 0
) -> Iterator[None]:
    """While the block lasts a neighbour logs in, and the platform works.

    ``most_refused`` is how many logins may be refused or cut off for each that gets in.
    """
    with Neighbour(neighbour[endpoint], patience=60) as works:
        yield
        before = len(works.seconds)
        eventually(lambda: len(works.seconds) > before + LOGINS, seconds=120)
        made = data(api.post("/api/databases", json={"friendlyName": "Meanwhile"}), 201)
        api.delete(f"/api/databases/{made['id']}")
    assert len(works.errors) <= most_refused * len(works.seconds), works.errors


@pytest.mark.parametrize("kind", ["scram", "silent"])
def test_who_stops_in_a_login_keeps_nobody_out(
    platform: Installation,
    api: httpx.Client,
    noisy: dict[str, Any],
    neighbour: dict[str, Any],
    kind: str,
) -> None:
    open_one = (
        stopping_in_scram(platform.pg_port, noisy) if kind == "scram" else silent(platform.pg_port)
    )
    ended = measure(platform, "tenantry_logins_ended_total")
    with flood(open_one, 3 * PLACES) as opened:
        # All have come, and it is answered: what arrives at once takes places until it is seen.
        eventually(lambda: opened() > 3 * PLACES)
        eventually(lambda: measure(platform, "tenantry_logins_ended_total") > ended)
        eventually(lambda: gets_in(neighbour))
        # Those that are ended come again, and take places until the next look; and of connections
        # that have sent nothing a login may be among the oldest. It gets in again and again.
        with undisturbed(api, neighbour, "connection_string", most_refused=REFUSED[kind]):
            pass
        assert measure(platform, "tenantry_login_flood") == 1
    parts = {part["name"]: part for part in api.get("/ready").json()["parts"]}
    assert parts["logins"]["state"] == "warning"
    assert "never finish" in parts["logins"]["detail"]


def test_without_the_watch_nobody_gets_in(
    platform: Installation, noisy: dict[str, Any], neighbour: dict[str, Any]
) -> None:
    """So the attempt is a real one: with the worker stopped, all places are taken."""
    worker = platform.pids()["worker"]
    os.kill(worker, signal.SIGSTOP)
    try:
        with flood(stopping_in_scram(platform.pg_port, noisy), 2 * PLACES):
            eventually(lambda: not gets_in(neighbour))
    finally:
        os.kill(worker, signal.SIGCONT)
    eventually(lambda: ask(neighbour["connection_string"]) == 1)


def test_an_unfinished_login_has_seconds_only(
    platform: Installation, noisy: dict[str, Any]
) -> None:
    with platform.superuser() as server:
        assert server.execute("SHOW authentication_timeout").fetchone() == ("10s",)
    with stopping_in_scram(platform.pg_port, noisy)() as stopped:
        stopped.settimeout(30)
        while stopped.recv(1024):
            pass
