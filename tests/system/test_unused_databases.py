"""Which databases nobody uses."""

import datetime as dt
import os
import signal
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from answers import data, problem
from clients import ask, login
from harness import Installation
from inside import inside
from tenantry.base import settings
from tenantry.control import audit
from tenantry.services.activity import Activity
from tenantry.services.platform import Platform, open_platform
from tenantry.services.repository.service import Repositories

Row = dict[str, Any]


@pytest.fixture
def alone(platform: Installation) -> Iterator[None]:
    """Without the worker, which looks too."""
    worker = platform.pids()["worker"]
    os.kill(worker, signal.SIGSTOP)
    yield
    os.kill(worker, signal.SIGCONT)


async def look(_: Repositories) -> None:
    """A look of a worker's that has just been started."""
    async with open_platform(settings.load()) as platform:
        await Activity(platform.store, platform.clusters).look()


async def look_after_own_visits(_: Repositories) -> None:
    """Two looks, with a visit of the worker's to each database in between."""
    async with open_platform(settings.load()) as platform:
        activity = Activity(platform.store, platform.clusters)
        await activity.look()
        await _look_through_all(platform)
        await activity.look()


async def _look_through_all(platform: Platform) -> None:
    async with platform.store.transaction(audit.PLATFORM) as tx:
        await tx.execute("DELETE FROM ownership_checks")
    while await platform.ownership.check_next():
        pass


def age(platform: Installation, database: Row, days: int) -> None:
    with platform.control() as control:
        control.execute(
            """
            UPDATE database_activity SET watched_since = watched_since - %(d)s * interval '1 day',
                last_active_at = last_active_at - %(d)s * interval '1 day'
            WHERE database_id = %(id)s
            """,
            {"d": days, "id": database["id"]},
        )


def shown(api: httpx.Client, database: Row) -> Row:
    row: Row = data(api.get(f"/api/databases/{database['id']}"))
    return row


@pytest.mark.usefixtures("alone")
def test_databases_that_nobody_uses_are_listed(platform: Installation, api: httpx.Client) -> None:
    database = platform.create(name="idle")
    month_ago = (dt.datetime.now(dt.UTC) - dt.timedelta(days=30)).isoformat()

    def unused() -> set[str]:
        rows = data(api.get("/api/databases", params={"unused_since": month_ago, "limit": 500}))
        return {row["id"] for row in rows}

    assert (shown(api, database)["last_active_at"], shown(api, database)["watched_since"]) == (
        None,
        None,
    )
    inside(platform, look)
    row = shown(api, database)
    assert row["last_active_at"] is None
    assert row["watched_since"] is not None
    assert database["id"] not in unused()  # it may have been used before
    age(platform, database, 31)
    inside(platform, look_after_own_visits)
    assert shown(api, database)["last_active_at"] is None
    assert database["id"] in unused()

    # A session that has come and gone, one that stays, and one in the shadow.
    for use in ("connection_string", "connection_string_pooled", "shadow_database_url"):
        ask(database[use])
        inside(platform, look)
        assert shown(api, database)["last_active_at"] is not None, use
        assert database["id"] not in unused()
        age(platform, database, 31)
        if use == "connection_string_pooled":  # whose server connection is open for a minute more
            data(api.post(f"/api/databases/{database['id']}/pool/reconnect"))
            with platform.superuser() as server:
                server.execute(
                    "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
                    " WHERE usename = %s",
                    (database["username"],),
                )
        inside(platform, look)
        assert database["id"] in unused(), use
    with login(database["connection_string"]):
        inside(platform, look)
        age(platform, database, 31)
        inside(platform, look)
        assert database["id"] not in unused()
    problem(api.get("/api/databases", params={"unused_since": "30d"}), 422)
    listed = platform.tenantry("db", "list", "--unused-for", "30d").stdout
    assert "idle" not in listed
