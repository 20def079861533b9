"""An owner compares its statements with earlier hours; what the worker stored survives its kill."""

import datetime as dt
import json
import os
import signal
import uuid
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from answers import data, problem
from clients import do, eventually, login
from harness import Installation

Row = dict[str, Any]


class Owner:
    """A database, and its statements as its owner gets them."""

    def __init__(self, platform: Installation, api: httpx.Client) -> None:
        self.made = platform.create(ownerEmail=f"o{uuid.uuid4().hex[:8]}@example.com")
        asked = {
            "name": "own",
            "scopes": ["databases:read", "databases:write"],
            "customerEmail": self.made["owner_email"],
        }
        self.api = platform.client(data(api.post("/api/api-keys", json=asked), 201)["key"])
        self.path = f"/api/databases/{self.made['id']}/queries"

    def page(self, **asked: str) -> Row:
        answer = self.api.get(self.path, params=asked)
        data(answer)
        page: Row = answer.json()
        return page

    def find(self, text: str, **asked: str) -> Row:
        found: Row
        (found,) = (each for each in self.page(**asked)["data"] if text in each["query"])
        return found


@pytest.fixture
def owner(platform: Installation, api: httpx.Client) -> Iterator[Owner]:
    made = Owner(platform, api)
    with made.api:
        yield made


def taken_at(platform: Installation) -> dt.datetime:
    with platform.control() as control:
        row = control.execute(
            "SELECT coalesce(max(taken_at), '-infinity'::timestamptz) > '-infinity', max(taken_at)"
            " FROM query_snapshots s JOIN clusters c ON c.id = s.cluster_id"
            " WHERE c.name = 'shared-1'"
        ).fetchone()
    return row[1] if row and row[0] else dt.datetime.min.replace(tzinfo=dt.UTC)


def take_snapshot(platform: Installation) -> None:
    """Kill the worker: the next one begins with a snapshot."""
    before = taken_at(platform)
    os.kill(platform.pids()["worker"], signal.SIGKILL)
    eventually(lambda: taken_at(platform) > before)


def test_statements_are_compared_with_earlier_hours(
    platform: Installation, api: httpx.Client, owner: Owner
) -> None:
    # Not across the end of an hour: what is done is then in two of them.
    eventually(lambda: dt.datetime.now(dt.UTC).minute < 57, seconds=200, every=1)
    other = Owner(platform, api)
    since = (dt.datetime.now(dt.UTC) - dt.timedelta(hours=1)).isoformat()
    take_snapshot(platform)
    do(owner.made["connection_string"], "CREATE TABLE t (id int)")
    with login(owner.made["connection_string"]) as session:
        for _ in range(3):
            session.execute("SELECT pg_sleep(0.1), 'literal'")
        session.execute("INSERT INTO t SELECT generate_series(1, 1000)")
    with login(other.made["connection_string"]) as session:
        session.execute("SELECT 'neighbour' AS of_another")
    take_snapshot(platform)

    slow = owner.find("pg_sleep", since=since)
    assert slow["query"] == "SELECT pg_sleep($1), $2"
    assert (slow["calls"], slow["rows"], slow["max_ms"]) == (3, 3, None)
    assert slow["mean_ms"] == pytest.approx(slow["total_ms"] / 3)
    assert slow["share"] > 0.5
    assert owner.find("INSERT", since=since, sort="wal_bytes")["wal_bytes"] > 1000
    live = owner.find("pg_sleep")
    assert live["now"]["calls"] == 3
    assert live["now"]["mean_ms"] == pytest.approx(live["mean_ms"])
    assert (live["hour_before"], live["week_before"]) == (None, None)
    # A worker that is killed again has nothing to add.
    take_snapshot(platform)
    assert owner.find("pg_sleep", since=since)["calls"] == 3

    _pretend_a_past(platform, owner.made["id"])
    live = owner.find("pg_sleep")
    for name in ("hour_before", "day_before", "week_before"):
        assert live[name]["calls"] == 3
        assert live[name]["mean_change"] == pytest.approx(-0.5)
        assert live[name]["calls_change"] == pytest.approx(1)
        assert live[name]["incomplete"] is (name == "day_before")
    week = (dt.datetime.now(dt.UTC) - dt.timedelta(days=7, hours=1)).isoformat()
    assert owner.find("pg_sleep", since=week)["calls"] == 12
    page = owner.page(since=week, search="PG_SLEEP", limit="1")
    assert page["count"] == 1
    assert page["counted_since"] < page["incomplete_since"]
    assert owner.page(since=since, search="nowhere")["data"] == []

    name = owner.made["id"]
    printed = platform.tenantry("db", "queries", name, "--search", "pg_sleep")
    assert "-50%" in printed.stdout
    assert "-50% ?" in printed.stdout
    shown = platform.tenantry("db", "queries", name, "--since", "24h", "--json").stdout
    assert any("pg_sleep" in each["query"] for each in json.loads(shown))

    # Nothing of it is another's, and a reset leaves the history.
    assert "of_another" not in json.dumps(owner.page(since=week))
    assert "pg_sleep" not in json.dumps(other.page(since=week))
    problem(owner.api.get(other.path, params={"since": week}), 404)
    data(owner.api.post(f"{owner.path}/reset"))
    assert owner.page()["data"] == []
    assert owner.find("pg_sleep", since=week)["calls"] == 12
    for bad in ({"since": "yesterday"}, {"since": week, "sort": "max_ms"}):
        assert owner.api.get(owner.path, params=bad).status_code == 422
    for far in ("0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"):
        data(owner.api.get(owner.path, params={"since": far}))
    other.api.close()


def _pretend_a_past(platform: Installation, database_id: str) -> None:
    """As if the same had been done, in twice the time, an hour, a day and a week before."""
    with platform.control() as control:
        for distance, evictions in (("1 hour", 0), ("1 day", 1), ("7 days", 0)):
            control.execute(
                """
                INSERT INTO query_history SELECT database_id, hour - %s::interval, shadow,
                    query_id, calls, total_ms * 2, rows, 0, 0, 0, 0
                FROM query_history
                WHERE database_id = %s AND hour = (SELECT max(hour) FROM query_history)
                """,
                (distance, database_id),
            )
            control.execute(
                """
                INSERT INTO query_hours SELECT cluster_id, hour - %s::interval, seconds * 2, %s
                FROM query_hours WHERE hour = (SELECT max(hour) FROM query_hours)
                ON CONFLICT (cluster_id, hour) DO UPDATE SET seconds = excluded.seconds,
                    evictions = excluded.evictions
                """,
                (distance, evictions),
            )
