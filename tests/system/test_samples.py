"""What databases do is sampled, and its owner sees series of it."""

import datetime as dt
import json
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import httpx
import psycopg
import pytest
from psycopg import sql
from psycopg.rows import TupleRow

from answers import data, problem
from clients import ENDPOINTS, do, eventually, login
from harness import Installation

Row = dict[str, Any]
ROWS = 10_000
INSERTED = 10  # a second, which the rows of catalogs are not


@dataclass(frozen=True)
class Owned:
    """A database, with its owner's key."""

    made: Row
    api: httpx.Client

    @property
    def path(self) -> str:
        return f"/api/databases/{self.made['id']}"

    def values(self) -> dict[str, list[float]]:
        """The known values of each series, of the last half hour."""
        asked: dict[str, str | int] = {"step": 15, "from": _ago(minutes=30)}
        found = data(self.api.get(f"{self.path}/metrics", params=asked))["series"]
        return {
            each["name"]: [value for _, value in each["points"] if value is not None]
            for each in found
        }


def _ago(**span: float) -> str:
    return (dt.datetime.now(dt.UTC) - dt.timedelta(**span)).isoformat()


def owned(platform: Installation, api: httpx.Client) -> Owned:
    email = f"s{uuid.uuid4().hex[:8]}@example.com"
    made = platform.create(ownerEmail=email)
    asked = {"name": "own", "scopes": ["databases:read"], "customerEmail": email}
    key = data(api.post("/api/api-keys", json=asked), 201)["key"]
    return Owned(made, platform.client(key))


@pytest.fixture(scope="module")
def both(platform: Installation) -> Iterator[tuple[Owned, Owned]]:
    """A database that was used through both ports, until it has been sampled, and an idle one."""
    with platform.client() as api:
        busy, idle = owned(platform, api), owned(platform, api)
        with busy.api, idle.api:
            direct, pooled = (busy.made[endpoint] for endpoint in ENDPOINTS)
            eventually(lambda: busy.values().get("commits") is not None)
            do(direct, "CREATE TABLE t (n int, x text)")
            with login(direct) as session, login(pooled) as other:
                insert = "INSERT INTO t SELECT n, repeat('x', 1000) FROM generate_series(1, %s) n"
                for _ in range(20):
                    session.execute(insert, (ROWS // 20,))
                    other.execute("SELECT count(*) FROM t")
            # What a session did may be reported only when it ends.
            with login(direct) as session:
                session.execute("BEGIN; SELECT 1")
                eventually(lambda: _works(session) and _is_sampled(busy))
            yield busy, idle


def _is_sampled(one: Owned) -> bool:
    found = one.values()
    inserted = max(found.get("rows_inserted", ()), default=0) > INSERTED
    pooled = any(found.get("pooled_queries", ()))
    computed = any(found.get("cpu_percent", ()))
    return inserted and pooled and computed and any(found.get("direct_in_transaction", ()))


def _works(session: psycopg.Connection[TupleRow]) -> bool:
    """Use a processor for a moment: only that of sessions that two samples see is counted."""
    session.execute("SELECT count(*) FROM generate_series(1, 300000)")
    return True


def test_what_a_database_did_is_in_its_series(both: tuple[Owned, Owned]) -> None:
    busy, _ = both
    found = busy.values()
    assert max(found["rows_inserted"]) > INSERTED
    assert max(found["commits"]) > 1
    assert max(found["rows_read"]) > 100
    assert max(found["longest_transaction_seconds"]) > 0
    assert max(found["cpu_percent"]) > 0
    assert max(found["memory_bytes"]) > 100_000
    assert max(found["size_bytes"]) > 10_000_000
    assert max(found["shadow_bytes"]) > 1_000_000
    assert max(found["pooled_queries"]) > 1
    assert max(found["pooled_query_ms"]) > 0
    assert all(0 <= each <= 1 for each in found["cache_hit_ratio"])
    assert all(each >= 0 for values in found.values() for each in values)


def test_nothing_is_counted_twice_or_lost(
    both: tuple[Owned, Owned], platform: Installation
) -> None:
    def inserted() -> int:
        with platform.control() as control:
            row = control.execute(
                "SELECT sum(rows_inserted)::int8 FROM samples_raw WHERE database_id = %s",
                (both[0].made["id"],),
            ).fetchone()
            assert row
            return int(row[0])

    # A session reports what it did at the latest when it has ended.
    eventually(lambda: inserted() >= ROWS)
    assert inserted() < ROWS + 200  # those of catalogs


def test_the_answer_says_what_it_has(both: tuple[Owned, Owned]) -> None:
    busy, _ = both
    answer = data(busy.api.get(f"{busy.path}/metrics"))
    assert answer["database_id"] == busy.made["id"]
    assert answer["step_seconds"] == 300
    (size,) = (each for each in answer["series"] if each["name"] == "size_bytes")
    assert size["unit"] == "bytes"
    times = [dt.datetime.fromisoformat(at) for at, _ in size["points"]]
    assert times[0] == dt.datetime.fromisoformat(answer["from"])
    assert {b - a for a, b in pairwise(times)} == {dt.timedelta(seconds=300)}
    assert times[-1] < dt.datetime.fromisoformat(answer["to"])
    # Of this day there is nothing but the last minutes.
    known = [value is not None for _, value in size["points"]]
    assert known[0] is False
    assert known[-1] is True or known[-2] is True


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"from": "yesterday"}, "from"),
        ({"from": "2031-01-01T00:00:00"}, "from"),
        ({"from": "9999-12-31T23:59:59Z"}, "from"),
        ({"to": "0001-01-01T00:00:00Z"}, "to"),
        ({"step": "0"}, "step"),
        ({"step": "1m"}, "step"),
        ({"step": "15", "from": "2020-01-01T00:00:00Z"}, "step"),
    ],
)
def test_what_cannot_be_drawn_is_explained(
    both: tuple[Owned, Owned], query: dict[str, str], field: str
) -> None:
    busy, _ = both
    refused = problem(busy.api.get(f"{busy.path}/metrics", params=query), 422)
    assert [each["field"] for each in refused["errors"]] == [field]


def test_a_customer_sees_only_its_own(both: tuple[Owned, Owned], platform: Installation) -> None:
    busy, idle = both
    ids = [each.made["id"] for each in both]
    problem(idle.api.get(f"{busy.path}/metrics"), 404)
    for each in both:
        found = data(each.api.get("/api/metrics/sparklines", params={"ids": ids}))
        assert [row["database_id"] for row in found] == [each.made["id"]]
        found = data(each.api.get("/api/metrics/latest", params={"ids": ids}))
        assert {row["database_id"] for row in found} == {each.made["id"]}
        found = data(each.api.get("/api/metrics/latest"))
        assert {row["database_id"] for row in found} == {each.made["id"]}
    with platform.client() as api:
        found = data(api.get("/api/metrics/sparklines", params={"ids": [*ids, ids[0]]}))
        assert [row["database_id"] for row in found] == ids
    with platform.control() as control, control.transaction(force_rollback=True):
        (customer,) = control.execute(
            "SELECT customer_id FROM databases WHERE id = %s", (busy.made["id"],)
        ).fetchone() or (None,)
        control.execute("SET LOCAL ROLE tenantry_customer")
        control.execute(
            "SELECT set_config('app.current_user_role', 'customer', true),"
            " set_config('app.current_customer_id', %s, true)",
            (str(customer),),
        )
        for table in ("samples_raw", "newest_samples"):
            asked = sql.SQL("SELECT DISTINCT database_id::text FROM {}")
            seen = control.execute(asked.format(sql.Identifier(table)))
            assert {row[0] for row in seen} == {busy.made["id"]}
    with platform.control() as control, control.transaction(force_rollback=True):
        control.execute("SET LOCAL ROLE tenantry_customer")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            control.execute("SELECT FROM sample_partitions.raw_2031010100")


def test_sparklines_are_short(both: tuple[Owned, Owned]) -> None:
    busy, _ = both
    for period, step in (("hour", 150), ("day", 3600), ("week", 25_200)):
        query = {"ids": busy.made["id"], "period": period}
        (row,) = data(busy.api.get("/api/metrics/sparklines", params=query))
        assert row["step_seconds"] == step
        found = {each["name"]: each["values"] for each in row["series"]}
        assert found.keys() == {"transactions", "connections", "size_bytes"}
        assert all(len(values) == 24 for values in found.values())
        assert found["transactions"][-1] or found["transactions"][-2]
    problem(busy.api.get("/api/metrics/sparklines"), 422)
    problem(busy.api.get("/api/metrics/sparklines", params={"ids": "mine"}), 422)


def test_an_idle_database_is_sampled_more_rarely(
    both: tuple[Owned, Owned], platform: Installation
) -> None:
    def sampled_at(one: Owned) -> dt.datetime:
        with platform.control() as control:
            row = control.execute(
                "SELECT max(at) FROM samples_raw WHERE database_id = %s", (one.made["id"],)
            ).fetchone()
            assert row
            at: dt.datetime = row[0]
            return at

    busy, idle = both
    with login(busy.made["connection_string"]) as session:

        def one_is_left_out() -> bool:
            session.execute("SELECT 1")
            return sampled_at(busy) - sampled_at(idle) > dt.timedelta(seconds=25)

        eventually(one_is_left_out, seconds=300)  # what the server does by itself counts as use


def test_the_command_line_draws_them(both: tuple[Owned, Owned], platform: Installation) -> None:
    busy, _ = both
    name = busy.made["database_name"]
    shown = platform.tenantry("db", "metrics", name, "--from", "1h").stdout
    rows = {line.split()[0]: line for line in shown.splitlines()}
    assert any(letter in rows["commits"] for letter in "▁▂▃▄▅▆▇█")
    assert "MiB" in rows["size"]
    found = json.loads(platform.tenantry("db", "metrics", name, "--json").stdout)
    assert {each["name"] for each in found["series"]} >= {"commits", "size_bytes"}
    clusters = json.loads(platform.tenantry("status", "--json").stdout)["clusters"]
    (activity,) = (each["activity"] for each in clusters if each["name"] == "shared-1")
    assert len(activity) == 24
    assert any(activity)
    assert "ACTIVITY" in platform.tenantry("status").stdout
    listed = platform.tenantry("db", "list", "--wide", "--search", name).stdout
    head, row = listed.splitlines()
    assert "ACTIVITY" in head
    assert any(letter in row for letter in "▁▂▃▄▅▆▇█")


def test_the_newest_sample_has_names_and_rates(
    both: tuple[Owned, Owned], platform: Installation
) -> None:
    busy, idle = both
    with platform.client() as api:
        ids = [each.made["id"] for each in both]
        found = data(api.get("/api/metrics/latest", params={"ids": ids}))
        assert {row["database_id"] for row in found} == set(ids)
        of_busy = next(row for row in found if row["database_id"] == busy.made["id"])
        assert of_busy["database_name"] == busy.made["database_name"]
        assert of_busy["transactions_per_second"] is not None
        assert len(data(api.get("/api/metrics/latest", params={"ids": ids, "limit": 1}))) == 1
    problem(idle.api.get("/api/metrics/latest", params={"sort": "age"}), 422)
    problem(idle.api.get("/api/metrics/latest", params={"limit": 501}), 422)
