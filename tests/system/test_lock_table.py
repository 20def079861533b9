"""One tenant takes every lock that there is; the others must hardly notice."""

import contextlib
import os
import signal
import time
from typing import Any

import psycopg
import pytest
from psycopg.rows import TupleRow

from clients import ENDPOINTS, ask, eventually, login
from harness import Installation

TAKE_ALL = "SELECT count(pg_advisory_lock(i)) FROM generate_series(1, 1000000) i"


@pytest.fixture(scope="module")
def neighbour(platform: Installation) -> dict[str, Any]:
    return platform.create()


def is_served(url: str) -> bool:
    try:
        return ask(url) == 1
    except psycopg.OperationalError:
        return False


def is_open(session: psycopg.Connection[TupleRow]) -> bool:
    try:
        session.execute("SELECT 1")
    except psycopg.Error:
        return not session.closed
    return True


def is_shut_out(platform: Installation, username: str) -> bool:
    """Whether a role gets no connection any more; nobody can tell while there is no lock left."""
    try:
        with platform.superuser() as server:
            row = server.execute(
                "SELECT rolconnlimit FROM pg_roles WHERE rolname = %s", (username,)
            ).fetchone()
    except psycopg.errors.OperationalError:
        return False
    return row == (0,)


@pytest.mark.parametrize("endpoint", ENDPOINTS)
def test_who_takes_all_locks_is_ended_and_shut_out(
    platform: Installation, neighbour: dict[str, Any], endpoint: str
) -> None:
    tenant = platform.create()

    def takes_all_until_shut_out() -> bool:
        # A pooled session gives all back when its statement has failed, which may be before a look.
        with contextlib.suppress(psycopg.Error), login(tenant[endpoint]) as session:
            session.execute(TAKE_ALL)
        return is_shut_out(platform, tenant["username"])

    eventually(takes_all_until_shut_out)
    eventually(lambda: is_served(neighbour["connection_string"]))
    eventually(lambda: is_served(neighbour["connection_string_pooled"]))
    assert not is_served(tenant["connection_string"])


def test_a_visitor_that_takes_all_locks_is_ended(
    platform: Installation, neighbour: dict[str, Any]
) -> None:
    """As pg_dump would of a database with tens of thousands of tables."""
    with platform.superuser() as server:
        server.execute("CREATE ROLE tenantry_visitor_0 LOGIN PASSWORD 'x'")
        server.execute("GRANT CONNECT ON DATABASE postgres TO tenantry_visitor_0")
        url = f"host={platform.home}/run/shared-1 port={platform.pg_port} dbname=postgres"
        with login(f"{url} user=tenantry_visitor_0 password=x") as session:
            for _ in range(2):
                with pytest.raises(psycopg.Error):
                    session.execute(TAKE_ALL)
            eventually(lambda: session.closed or not is_open(session))
        eventually(lambda: is_served(neighbour["connection_string"]))
        # A pass removes visitors that nobody uses.
        with contextlib.suppress(psycopg.errors.UndefinedObject):
            server.execute("DROP OWNED BY tenantry_visitor_0")
            server.execute("DROP ROLE tenantry_visitor_0")


def test_without_the_watch_nobody_logs_in(
    platform: Installation, neighbour: dict[str, Any]
) -> None:
    """So the attempt is a real one: with the worker stopped, it holds for as long as it likes."""
    tenant = platform.create()
    worker = platform.pids()["worker"]
    os.kill(worker, signal.SIGSTOP)
    try:
        with login(tenant["connection_string"]) as session:
            for _ in range(3):  # a statement that fails gives back the last few
                with pytest.raises(psycopg.errors.OutOfMemory):
                    session.execute(TAKE_ALL)
            time.sleep(2)
            eventually(lambda: not is_served(neighbour["connection_string"]))
    finally:
        os.kill(worker, signal.SIGCONT)
    eventually(lambda: is_served(neighbour["connection_string"]))


def test_a_thousand_locks_are_no_offence(neighbour: dict[str, Any]) -> None:
    with login(neighbour["connection_string"]) as session:
        session.execute("SELECT count(pg_advisory_lock(i)) FROM generate_series(1, 1000) i")
        time.sleep(1.5)
        assert session.execute("SELECT 1").fetchone() == (1,)
