"""Limits: what a plan grants is in force at both endpoints, and no tenant can lift it."""

import itertools
import time
from contextlib import ExitStack
from typing import Any

import httpx
import psycopg
import pytest

from answers import data, problem
from clients import ENDPOINTS, STRINGS, ask, do, eventually, is_open, login, refusal
from harness import Installation

MIB = 2**20
PARAMETERS = {
    "temp_file_limit": ("temp_file_limit_bytes", 1024),
    "statement_timeout": ("statement_timeout_ms", 1),
    "lock_timeout": ("lock_timeout_ms", 1),
    "idle_in_transaction_session_timeout": ("idle_in_transaction_session_timeout_ms", 1),
}


def plans(api: httpx.Client) -> dict[str, dict[str, Any]]:
    """The limits of each plan that a database may have of its own, by the plan's name."""
    own = {field for field, _ in PARAMETERS.values()} | {
        "max_connections",
        "pool_size",
        "reserve_pool_size",
        "disk_quota_bytes",
        "cpu_weight",
    }
    return {
        plan["name"]: {name: value for name, value in plan.items() if name in own}
        for plan in data(api.get("/api/plans"))
    }


def in_force(url: str) -> dict[str, int]:
    """The limits that a new session has, in the API's units."""
    with login(url) as session:
        found: dict[str, int] = dict(
            session.execute(
                "SELECT name, setting::bigint FROM pg_settings WHERE name = ANY (%s)",
                (list(PARAMETERS),),
            ).fetchall()
        )
    return {field: found[name] * unit for name, (field, unit) in PARAMETERS.items()}


def limits_of(row: dict[str, Any]) -> dict[str, int]:
    return {field: row["limits"][field] for field, _ in PARAMETERS.values()}


def active(platform: Installation) -> set[str]:
    """The databases that are in use: not the warm pool, which is refilled meanwhile."""
    return {row["id"] for row in platform.rows() if row["status"] == "active"}


def role_limit(platform: Installation, made: dict[str, Any]) -> int:
    with platform.superuser() as server:
        found = server.execute(
            "SELECT rolconnlimit FROM pg_roles WHERE rolname = %s", (made["username"],)
        ).fetchone()
    assert found is not None
    return int(found[0])


# Plans


def test_plans_go_from_small_to_large(api: httpx.Client) -> None:
    found = data(api.get("/api/plans"))
    assert [plan["name"] for plan in found] == ["hobby", "standard", "premium"]
    for smaller, larger in itertools.pairwise(found):
        for field in (
            "max_connections",
            "pool_size",
            "reserve_pool_size",
            "disk_quota_bytes",
            "temp_file_limit_bytes",
            "cpu_weight",
            "longest_statement_seconds",
        ):
            assert smaller[field] <= larger[field]


@pytest.mark.parametrize("plan", ["hobby", "standard", "premium"])
def test_a_plan_is_in_force_from_the_first_session_on(
    platform: Installation, api: httpx.Client, plan: str
) -> None:
    made = platform.create(plan=plan)
    assert made["plan"] == plan
    assert made["limits"] == plans(api)[plan]
    assert (
        made["max_connections"] == made["limits"]["max_connections"] == role_limit(platform, made)
    )
    assert made["disk"] == {
        "used_bytes": None,
        "quota_bytes": made["limits"]["disk_quota_bytes"],
        "state": "ok",
        "detail": None,
    }
    for string in STRINGS:
        assert in_force(made[string]) == limits_of(made), string


def test_a_database_without_a_plan_has_the_standard_one(platform: Installation) -> None:
    made = platform.create()
    assert (made["plan"], made["max_connections"], made["limits"]["pool_size"]) == (
        "standard",
        50,
        25,
    )
    assert in_force(made["connection_string"]) == limits_of(made)


def test_a_plan_that_is_not_there_makes_nothing(platform: Installation, api: httpx.Client) -> None:
    before = active(platform)
    reported = problem(api.post("/api/databases", json={"friendlyName": "X", "plan": "gold"}), 422)
    assert [error["field"] for error in reported["errors"]] == ["plan"]
    assert "GET /api/plans" in reported["errors"][0]["message"]
    slip = api.post("/api/databases", json={"friendlyName": "X", "plan": "premum"})
    assert "Did you mean premium?" in problem(slip, 422)["errors"][0]["message"]
    assert active(platform) <= before
    made = platform.create()
    problem(api.patch(f"/api/databases/{made['id']}", json={"plan": "gold"}), 422)
    assert data(api.get(f"/api/databases/{made['id']}"))["plan"] == "standard"


def test_plan_and_single_limits_are_changed_and_given_back(
    platform: Installation, api: httpx.Client
) -> None:
    made = platform.create(plan="hobby", statementTimeoutMs=7000)
    path = f"/api/databases/{made['id']}"
    assert in_force(made["connection_string"])["statement_timeout_ms"] == 7000

    after = data(api.patch(path, json={"plan": "premium", "tempFileLimitBytes": 5 * MIB}))
    own = {"statement_timeout_ms": 7000, "temp_file_limit_bytes": 5 * MIB}
    assert after["limits"] == plans(api)["premium"] | own
    assert role_limit(platform, made) == after["max_connections"] == 100
    for string in STRINGS[::2]:
        assert in_force(made[string]) == limits_of(after)

    after = data(api.patch(path, json={"statement_timeout_ms": None, "pool_size": 3}))
    assert after["limits"] == plans(api)["premium"] | {
        "temp_file_limit_bytes": 5 * MIB,
        "pool_size": 3,
    }
    users = platform.home / "pooler" / "users.ini"
    eventually(
        lambda: f"{made['username']} = max_user_connections=3 pool_mode=" in users.read_text()
    )
    reported = data(api.get("/api/audit-logs", params={"resource_id": made["id"]}))
    assert {
        "plan": ["hobby", "premium"],
        "temp_file_limit_bytes": [256 * MIB, 5 * MIB],
    }.items() <= reported[1]["details"].items()


def test_more_connections_than_leave_room_for_the_others_are_refused(
    platform: Installation, api: httpx.Client
) -> None:
    with platform.superuser() as server:
        (most, reserved) = server.execute(
            "SELECT current_setting('max_connections')::int,"
            " current_setting('superuser_reserved_connections')::int"
        ).fetchone() or (0, 0)
    given = (most - 2 * reserved) * 3 // 5
    made = platform.create(maxConnections=given)
    assert role_limit(platform, made) == given
    for answer in (
        api.post("/api/databases", json={"friendlyName": "X", "maxConnections": given + 1}),
        api.patch(f"/api/databases/{made['id']}", json={"maxConnections": given + 1}),
    ):
        reported = problem(answer, 422)
        assert [error["field"] for error in reported["errors"]] == ["max_connections"]
        assert str(given) in reported["detail"]
    assert role_limit(platform, made) == given


def test_a_customer_takes_no_more_than_its_plan_grants(
    platform: Installation, api: httpx.Client
) -> None:
    key = data(
        api.post(
            "/api/api-keys",
            json={
                "name": "customer",
                "scopes": ["databases:read", "databases:write"],
                "customer_email": "limits@example.com",
            },
        ),
        201,
    )["key"]
    with platform.client(key) as customer:
        for asked in ({"plan": "premium"}, {"maxConnections": 51}, {"diskQuotaBytes": 2**40}):
            body = {"friendlyName": "X", **asked}
            problem(customer.post("/api/databases", json=body), 403)
        made = data(
            customer.post("/api/databases", json={"friendlyName": "X", "maxConnections": 5}), 201
        )
        path = f"/api/databases/{made['id']}"
        problem(customer.patch(path, json={"plan": "premium"}), 403)
        problem(customer.patch(path, json={"max_connections": 51}), 403)
        assert data(customer.patch(path, json={"max_connections": None}))["max_connections"] == 50
        for plan in ("hobby", "standard", "hobby"):
            assert data(customer.patch(path, json={"plan": plan}))["plan"] == plan
        (found,) = data(api.get("/api/customers", params={"email": "limits@example.com"}))
        data(api.patch(f"/api/customers/{found['id']}", json={"plan": "hobby"}))
        problem(customer.patch(path, json={"plan": "standard"}), 403)
        granted = plans(api)["hobby"]
        raised = ("max_connections", "pool_size", "disk_quota_bytes", "temp_file_limit_bytes")
        for limit in (*raised, "cpu_weight"):
            reported = problem(customer.patch(path, json={limit: 2 * granted[limit]}), 403)
            assert f"{limit} above" in reported["detail"]
        assert granted["reserve_pool_size"] == 0
        problem(customer.patch(path, json={"reserve_pool_size": 1}), 403)
        # What the administrator has granted it may keep.
        data(api.patch(path, json={"pool_size": 20}))
        assert data(customer.patch(path, json={"pool_size": 15}))["limits"]["pool_size"] == 15


# What a tenant can do about it


@pytest.mark.parametrize("endpoint", ENDPOINTS)
@pytest.mark.parametrize(
    "attempt",
    [
        "SET temp_file_limit = -1",
        "ALTER ROLE CURRENT_USER SET temp_file_limit = -1",
        "ALTER ROLE CURRENT_USER IN DATABASE {database} SET temp_file_limit = -1",
        "ALTER DATABASE {database} SET temp_file_limit = -1",
        "ALTER DATABASE {database} RESET ALL",
        "ALTER DATABASE {database} SET statement_timeout = 0",
        "ALTER DATABASE {database} CONNECTION LIMIT 500",
        "ALTER ROLE CURRENT_USER CONNECTION LIMIT 500",
        "UPDATE pg_catalog.pg_db_role_setting SET setconfig = NULL",
        "DO $$ BEGIN PERFORM set_config('temp_file_limit', '-1', false); END $$",
    ],
)
def test_a_tenant_cannot_lift_what_is_enforced(
    platform: Installation, endpoint: str, attempt: str
) -> None:
    made = platform.create(plan="hobby")
    with (
        login(made[endpoint]) as session,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        session.execute(attempt.format(database=made["database_name"]).encode())
    do(made["connection_string"], "ALTER ROLE CURRENT_USER RESET ALL")
    assert in_force(made[endpoint]) == limits_of(made)


def test_temporary_files_are_bounded(platform: Installation) -> None:
    made = platform.create(tempFileLimitBytes=2 * MIB)
    for endpoint in ENDPOINTS:
        with (
            login(made[endpoint]) as session,
            pytest.raises(psycopg.errors.ConfigurationLimitExceeded, match="temp_file_limit"),
        ):
            session.execute(
                "SELECT count(*) FROM (SELECT repeat('x', 100) || g FROM"
                " generate_series(1, 1000000) g ORDER BY 1 OFFSET 0) s"
            )


def test_limits_changed_by_hand_are_put_right_and_a_tenants_own_defaults_stay(
    platform: Installation,
) -> None:
    own = platform.create()
    do(own["connection_string"], "ALTER ROLE CURRENT_USER SET statement_timeout = '5s'")
    made = platform.create(plan="hobby")
    name = made["database_name"]
    with platform.superuser() as server:
        server.execute(f"ALTER DATABASE {name} RESET ALL".encode())
        server.execute(f"ALTER DATABASE {name} CONNECTION LIMIT 3".encode())
        server.execute(f"ALTER DATABASE {name}_shadow SET lock_timeout = 1".encode())
        server.execute(f"ALTER DATABASE {name} SET intervalstyle = 'iso_8601'".encode())

    def right() -> bool:
        return all(in_force(made[string]) == limits_of(made) for string in STRINGS[::2])

    assert not right()
    platform.reconcile()
    assert right()
    assert ask(made["connection_string"], "SHOW intervalstyle") == "iso_8601"
    assert ask(own["connection_string"], "SHOW statement_timeout") == "5s"
    with platform.superuser() as server:
        assert server.execute(
            "SELECT datconnlimit FROM pg_database WHERE datname = %s", (name,)
        ).fetchone() == (made["max_connections"],)


# Disk quota


def disk(api: httpx.Client, made: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = data(api.get(f"/api/databases/{made['id']}"))["disk"]
    return found


def becomes(api: httpx.Client, made: dict[str, Any], *states: str) -> None:
    eventually(lambda: disk(api, made)["state"] in states)


def fill(session: psycopg.Connection[Any], mib: int) -> None:
    """Let a database grow by about so much, a MiB at a time."""
    for _ in range(mib):
        session.execute(
            "INSERT INTO growing"
            " SELECT repeat(md5(random()::text), 31) FROM generate_series(1, 1024)"
        )


@pytest.fixture
def full(platform: Installation, api: httpx.Client) -> dict[str, Any]:
    """A database that has overrun its quota of 40 MiB and is read-only."""
    made = platform.create(diskQuotaBytes=40 * MIB)
    with login(made["connection_string"]) as session:
        session.execute("CREATE TABLE growing (x text)")
        session.execute("CREATE TABLE small (x text)")
        fill(session, 27)
    becomes(api, made, "read_only")
    return made


def test_it_is_warned_of_and_reported(platform: Installation, api: httpx.Client) -> None:
    made = platform.create(diskQuotaBytes=40 * MIB)
    eventually(lambda: disk(api, made)["used_bytes"])
    empty = disk(api, made)
    assert (empty["state"], empty["quota_bytes"]) == ("ok", 40 * MIB)
    with login(made["connection_string"]) as session:
        session.execute("CREATE TABLE growing (x text)")
        fill(session, 19)
        becomes(api, made, "warning")
        session.execute("INSERT INTO growing VALUES ('still')")
    assert 0.8 * 40 * MIB <= disk(api, made)["used_bytes"] < 40 * MIB
    reported = data(api.get("/api/audit-logs", params={"resource_id": made["id"]}))[0]
    assert (reported["action"], reported["actor_kind"]) == ("database.quota_warning", "platform")
    assert reported["details"]["quota_bytes"] == 40 * MIB
    assert 'tenantry_databases_by_quota{state="warning"}' in platform.get("/metrics").text


def test_a_database_over_its_quota_is_reported_of_everywhere(
    platform: Installation, api: httpx.Client, full: dict[str, Any]
) -> None:
    def line_of(made: dict[str, Any]) -> str:
        lines = platform.tenantry("db", "list", "--all").stdout.splitlines()
        return next(line for line in lines if made["database_name"] in line)

    why = disk(api, full)["detail"]
    assert "until it takes less than 95 %" in why
    assert "disk_quota_bytes" in why
    assert " read-only " in line_of(full)
    shown = " ".join(platform.tenantry("db", "show", full["id"]).stdout.split())
    assert "status read-only" in shown
    assert why in shown
    ready = {each["name"]: each for each in api.get("/ready").json()["parts"]}["databases"]
    assert ready["state"] == "warning"
    said = "Over their disk quota, or held as the disk is nearly full: "
    assert said in ready["detail"]
    assert said in platform.warnings()
    other = platform.create()
    assert disk(api, other)["detail"] is None
    assert " active " in line_of(other)


@pytest.mark.parametrize("endpoint", ENDPOINTS)
def test_open_sessions_cannot_go_on_writing_either(
    platform: Installation, api: httpx.Client, endpoint: str
) -> None:
    made = platform.create(diskQuotaBytes=40 * MIB)
    with login(made[endpoint]) as session:
        session.execute("CREATE TABLE growing (x text)")
        with pytest.raises(
            (psycopg.OperationalError, psycopg.errors.ReadOnlySqlTransaction),
            match=r"terminating connection|server conn crashed|closed|database removed"  # KILL's
            r"|read-only transaction",
        ):
            fill(session, 2000)
    becomes(api, made, "read_only")


def test_a_login_that_was_under_way_is_ended_and_a_later_one_is_not(
    platform: Installation, full: dict[str, Any]
) -> None:
    url = full["connection_string"]
    with login(url) as early:
        with platform.control() as control:
            control.execute(
                "UPDATE disk_usage SET since = clock_timestamp() WHERE database_id = %s",
                (full["id"],),
            )
        with login(url) as later:
            eventually(lambda: not is_open(early))
            assert is_open(later)


def test_a_full_database_is_read_and_not_written(full: dict[str, Any]) -> None:
    for string in STRINGS:
        assert ask(full[string]) == 1
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
            do(full[string], "CREATE TABLE more (x text)")
    for endpoint in ENDPOINTS:
        assert ask(full[endpoint], "SELECT count(*) > 0 FROM growing") is True


def test_all_its_logins_are_bounded_together(api: httpx.Client, platform: Installation) -> None:
    made = platform.create(plan="hobby", maxConnections=3)
    path = f"/api/databases/{made['id']}/roles"
    asked = {"name": "reader", "access": "read_only"}
    reader = data(api.post(path, json=asked), 201)["connection_string"]
    with ExitStack() as stack:
        for url in (made["connection_string"], reader, made["connection_string"]):
            stack.enter_context(login(url))
        assert "too many connections for database" in refusal(reader)
    assert in_force(reader) == limits_of(made)


def test_a_full_database_is_given_further_logins(api: httpx.Client, full: dict[str, Any]) -> None:
    asked = {"name": "writer", "access": "read_write"}
    writer = data(api.post(f"/api/databases/{full['id']}/roles", json=asked), 201)
    with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
        do(writer["connection_string"], "INSERT INTO small VALUES ('more')")


@pytest.mark.parametrize(
    "tidy",
    ["DROP TABLE growing", "TRUNCATE growing", "DELETE FROM growing; COMMIT; VACUUM FULL growing"],
)
def test_its_tenant_makes_room_and_writes_again(
    api: httpx.Client, full: dict[str, Any], tidy: str
) -> None:
    with login(full["connection_string"]) as session:
        session.execute("SET default_transaction_read_only = off")
        for statement in tidy.split("; "):
            session.execute(statement.encode())
    becomes(api, full, "ok")
    for endpoint in ENDPOINTS:
        do(full[endpoint], "INSERT INTO small VALUES ('again')")


@pytest.mark.parametrize(
    "change", [{"plan": "standard", "disk_quota_bytes": None}, {"disk_quota_bytes": 80 * MIB}]
)
def test_a_larger_quota_is_in_force_with_the_answer(
    api: httpx.Client, full: dict[str, Any], change: dict[str, Any]
) -> None:
    after = data(api.patch(f"/api/databases/{full['id']}", json=change))
    assert after["disk"]["state"] == "ok"
    for endpoint in ENDPOINTS:
        do(full[endpoint], "INSERT INTO small VALUES ('again')")


@pytest.mark.parametrize("endpoint", ENDPOINTS)
def test_who_overrides_it_and_goes_on_is_stopped(
    platform: Installation, api: httpx.Client, full: dict[str, Any], endpoint: str
) -> None:
    do(
        full["connection_string"],
        "BEGIN READ WRITE; ALTER ROLE CURRENT_USER SET default_transaction_read_only = off; COMMIT",
    )
    inserted = 0
    deadline = time.monotonic() + 180
    while disk(api, full)["state"] != "stopped":
        assert time.monotonic() < deadline
        try:
            with login(full[endpoint]) as session:
                for _ in range(4):
                    fill(session, 1)
                    inserted += 1
                    time.sleep(0.1)
        except psycopg.Error:
            continue
    assert inserted >= 4
    for string in STRINGS[::2]:
        assert "too many connections for database" in refusal(full[string])
    for string in STRINGS[1::2]:
        refusal(full[string])
    with platform.superuser(dbname=full["database_name"]) as inside:
        # Not the size: vacuum still adds to it.
        written = inside.execute("SELECT count(*) FROM growing").fetchone()
        time.sleep(6)
        assert inside.execute("SELECT count(*) FROM growing").fetchone() == written
    with platform.superuser() as server:
        assert server.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE usename = %s", (full["username"],)
        ).fetchone() == (0,)
    reported = data(api.get("/api/audit-logs", params={"resource_id": full["id"]}))
    assert [each["action"] for each in reported][:2] == [
        "database.quota_stopped",
        "database.quota_read_only",
    ]
    assert (
        data(api.patch(f"/api/databases/{full['id']}", json={"disk_quota_bytes": 200 * MIB}))[
            "disk"
        ]["state"]
        == "ok"
    )
    for endpoint_again in ENDPOINTS:
        do(full[endpoint_again], "INSERT INTO small VALUES ('again')")
