"""Instances that are suspended within seconds, as tests and benchmarks need them."""

from collections.abc import Mapping
from typing import Any

from clients import eventually
from harness import Installation


def suspend_soon(here: Installation, database: Mapping[str, Any]) -> None:
    """Have an instance suspended as soon as nobody is there; its owner has to wait a minute.

    The pooler would keep its connections for a minute, too.
    """
    with here.control() as control:
        control.execute(
            "UPDATE databases SET auto_suspend_seconds = 1 WHERE id = %s", (database["id"],)
        )
    with here.superuser(database["cluster"]) as server:
        server.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
        )


def stay_awake(here: Installation, database: Mapping[str, Any]) -> None:
    """Have it stay awake once it is."""
    with here.control() as control:
        control.execute(
            "UPDATE databases SET auto_suspend_seconds = 86400 WHERE id = %s", (database["id"],)
        )


def is_suspended(here: Installation, database: Mapping[str, Any]) -> bool:
    """Whether its server does not run, and its row says so."""
    with here.control() as control:
        row = control.execute(
            "SELECT wanted FROM clusters WHERE name = %s", (database["cluster"],)
        ).fetchone()
    return row == ("suspended",) and database["cluster"] not in here.pids()


def suspended(here: Installation, database: Mapping[str, Any]) -> None:
    """Wait until an instance is suspended."""
    suspend_soon(here, database)
    eventually(lambda: is_suspended(here, database))
