"""Which databases nobody uses."""

import datetime as dt
import os
import signal
import uuid
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from answers import data, problem
from clients import ask, login
from harness import Installation
from inside import inside
from tenantry.base import logs, settings
from tenantry.control import audit
from tenantry.services.activity import Activity
from tenantry.services.platform import open_platform
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
    logs.configure("look")  # to standard error
    async with open_platform(settings.load()) as platform:
        await Activity(platform.store, platform.clusters).look()


async def look_after_own_visit(_: Repositories, database_id: str) -> None:
    """Two looks, with a visit of the worker's to a database in between."""
    logs.configure("look")
    async with open_platform(settings.load()) as platform:
        activity = Activity(platform.store, platform.clusters)
        await activity.look()
        await platform.extensions.of_database(audit.PLATFORM, uuid.UUID(database_id))
        await activity.look()


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

    row = shown(api, database)
    assert (row["last_active_at"], row["watched_since"]) == (None, None)
    inside(platform, look_after_own_visit, database["id"])
    row = shown(api, database)
    assert row["last_active_at"] is None
    assert row["watched_since"] is not None
    assert database["id"] not in unused()  # it may have been used before
    age(platform, database, 31)
    assert database["id"] in unused()

    ask(database["shadow_database_url"])  # a session that has come and gone
    inside(platform, look)
    assert shown(api, database)["last_active_at"] is not None
    assert database["id"] not in unused()
    age(platform, database, 31)
    with login(database["connection_string"]) as session:
        session.execute("SELECT 1")
        inside(platform, look)
        assert database["id"] not in unused()
        age(platform, database, 31)
        inside(platform, look)  # it is idle, and there
        assert database["id"] not in unused()
    age(platform, database, 31)
    inside(platform, look)
    assert database["id"] in unused()
    problem(api.get("/api/databases", params={"unused_since": "30d"}), 422)
    assert "idle" in platform.tenantry("db", "list", "--unused-for", "30d").stdout
