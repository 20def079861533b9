"""Instances that are suspended while nobody uses them, and woken by who comes."""

import json
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import httpx
import psycopg
import pytest

from answers import data, problem
from clients import (
    STRINGS,
    ask,
    changed,
    do,
    eventually,
    hurry,
    is_open,
    login,
    refusal,
    succeeded,
    verified,
)
from harness import Installation, kill
from suspending import is_suspended, stay_awake, suspended

Row = dict[str, Any]


@pytest.fixture(scope="module")
def platform() -> Iterator[Installation]:
    """An installation of its own: its parts are killed and taken down."""
    found = Installation(
        {
            "TENANTRY_WARM_POOL": "1",
            "TENANTRY_INSTANCE_MEMORY_MB": "128",
        }
    )
    try:
        found.up()
        hurry(found)
        yield found
    finally:
        found.remove()


@pytest.fixture
def api(platform: Installation) -> Iterator[httpx.Client]:
    with platform.client() as client:
        yield client


@pytest.fixture(scope="module")
def instance(platform: Installation) -> Row:
    with platform.client() as api:
        body = {"name": "shop", "kind": "dedicated", "auto_suspend_seconds": 300}
        made: Row = data(api.post("/api/databases", json=body), 202)
        assert made["auto_suspend_seconds"] == 300
        succeeded(api, made["operation_id"])
    do(made["connection_string"], "CREATE TABLE held AS SELECT 1 AS n")
    return made


def shown(api: httpx.Client, instance: Row) -> Row:
    row: Row = data(api.get(f"/api/databases/{instance['id']}"))
    return row


def test_its_time_is_checked_and_can_be_taken_back(
    platform: Installation, api: httpx.Client, instance: Row
) -> None:
    path = f"/api/databases/{instance['id']}"
    for seconds in (59, -1, 3_000_000):
        answer = api.patch(path, json={"auto_suspend_seconds": seconds})
        assert problem(answer, 422)["errors"][0]["field"] == "auto_suspend_seconds"
    for sent, shown_ in ((60, 60), (0, None), (90, 90), (None, None), (300, 300)):
        after = data(api.patch(path, json={"auto_suspend_seconds": sent}))
        assert after["auto_suspend_seconds"] == shown_
    shared = platform.create(name="beside")
    answer = api.patch(f"/api/databases/{shared['id']}", json={"auto_suspend_seconds": 300})
    assert problem(answer, 422)["errors"][0]["field"] == "auto_suspend_seconds"
    problem(api.post("/api/databases", json={"name": "x", "auto_suspend_seconds": 300}), 422)


def test_a_pooled_connection_wakes_it(
    platform: Installation, api: httpx.Client, instance: Row
) -> None:
    pooled = instance["connection_string_pooled"]
    assert ask(pooled, "SELECT n FROM held") == 1
    suspended(platform, instance)
    assert shown(api, instance)["status"] == "suspended"
    stats = data(api.get(f"/api/databases/{instance['id']}/stats"))
    assert stats["status"] == "suspended"
    clusters = {each["name"]: each for each in platform.status()["clusters"]}
    assert clusters[instance["cluster"]]["status"] == "suspended"
    assert "listener" in platform.pids()
    # Being looked at wakes nothing.
    assert is_suspended(platform, instance)

    stay_awake(platform, instance)
    with login(pooled) as session:
        assert session.execute("SELECT n FROM held").fetchone() == (1,)
        eventually(lambda: shown(api, instance)["status"] == "active")
        assert session.execute("SELECT n FROM held").fetchone() == (1,)
    assert ask(instance["connection_string"], "SELECT n FROM held") == 1


def test_the_pooler_has_the_server_to_itself_afterwards(
    platform: Installation, instance: Row
) -> None:
    suspended(platform, instance)
    stay_awake(platform, instance)
    with login(instance["connection_string_pooled"]) as session:

        def backend() -> object:
            return session.execute("SELECT pg_backend_pid()").fetchone()

        first = backend()  # reached through the listener, which the pooler then replaces
        eventually(lambda: backend() != first)
        kill(platform.pids()["listener"], signal.SIGKILL)
        assert backend() is not None


def test_many_who_come_at_once_wake_it_together(platform: Installation, instance: Row) -> None:
    suspended(platform, instance)
    stay_awake(platform, instance)
    with ThreadPoolExecutor(12) as many:
        answers = many.map(lambda _: ask(instance["connection_string_pooled"]), range(12))
        assert set(answers) == {1}


@pytest.mark.parametrize(
    ("request_", "body"),
    [
        ("POST /sql", {"sql": "SELECT n FROM held"}),
        ("PATCH ", {"statement_timeout_ms": 60_000}),
        ("POST /whitelist", {"ip_address": "127.0.0.0/8"}),
    ],
)
def test_what_the_api_is_asked_for_wakes_it(
    platform: Installation, api: httpx.Client, instance: Row, request_: str, body: Row
) -> None:
    suspended(platform, instance)
    stay_awake(platform, instance)
    method, path = request_.split(" ")
    answer = api.request(method, f"/api/databases/{instance['id']}{path}", json=body)
    assert answer.is_success, answer.text
    eventually(lambda: shown(api, instance)["status"] == "active")


def test_it_is_suspended_after_the_platform_was_down(
    platform: Installation, api: httpx.Client, instance: Row
) -> None:
    suspended(platform, instance)
    platform.down()
    platform.up()
    assert is_suspended(platform, instance)
    eventually(lambda: "listener" in platform.pids())
    stay_awake(platform, instance)
    assert ask(instance["connection_string_pooled"], "SELECT n FROM held") == 1
    eventually(lambda: shown(api, instance)["status"] == "active")


def test_one_that_is_stopped_is_not_woken(
    platform: Installation, api: httpx.Client, instance: Row
) -> None:
    suspended(platform, instance)
    change(api, instance, "stop")
    assert shown(api, instance)["status"] == "stopped"
    refusal(instance["connection_string_pooled"], seconds=30)
    assert shown(api, instance)["status"] == "stopped"
    stay_awake(platform, instance)
    change(api, instance, "start")
    for name in STRINGS[:2]:
        eventually(partial(admits, instance[name]))  # the pooler remembers the refusal


def change(api: httpx.Client, instance: Row, verb: str) -> None:
    operation = data(api.post(f"/api/databases/{instance['id']}/{verb}"), 202)
    succeeded(api, operation["id"])


def test_a_direct_connection_wakes_it_where_the_allowlist_admits_it(
    platform: Installation, api: httpx.Client, instance: Row
) -> None:
    direct = instance["connection_string"]
    suspended(platform, instance)
    for changes in ({"user": "tenantry_admin"}, {"sslmode": "disable"}):
        assert "no encrypted session is admitted" in refusal(changed(direct, **changes))
    assert is_suspended(platform, instance)
    stay_awake(platform, instance)
    assert ask(verified(platform, direct), "SELECT n FROM held") == 1
    eventually(lambda: shown(api, instance)["status"] == "active")
    assert "password" in refusal(changed(direct, password="another"))

    whitelist = f"/api/databases/{instance['id']}/whitelist"
    assert api.put(whitelist, json={"entries": []}).is_success
    with login(direct) as session:
        added = data(api.post(whitelist, json={"ip_address": "192.0.2.0/24"}), 201)
        eventually(lambda: not is_open(session))
    assert "no encrypted session is admitted" in refusal(direct)
    assert api.delete(f"{whitelist}/{added['id']}").is_success
    eventually(lambda: admits(direct))


def admits(url: str) -> bool:
    try:
        return ask(url) == 1
    except psycopg.OperationalError:
        return False


def test_a_forwarded_session_carries_all(instance: Row) -> None:
    with login(instance["connection_string"]) as session:
        rows = session.execute("SELECT repeat('x', 1000000) FROM generate_series(1, 20)").fetchall()
        assert sum(len(row[0]) for row in rows) == 20_000_000
        with session.cursor().copy("COPY held FROM STDIN") as copy:
            copy.write("2\n" * 500_000)
        assert session.execute("SELECT count(*) FROM held").fetchone() == (500_001,)
        session.execute("DELETE FROM held WHERE n = 2")
        with ThreadPoolExecutor(1) as other:
            sleeping = other.submit(session.execute, "SELECT pg_sleep(600)")

            def is_cancelled() -> bool:
                session.cancel_safe()
                return sleeping.done()

            eventually(is_cancelled)
            assert isinstance(sleeping.exception(), psycopg.errors.QueryCanceled)


def test_its_owner_can_have_the_direct_port_for_postgresql_alone(
    platform: Installation, api: httpx.Client, instance: Row
) -> None:
    direct = instance["connection_string"]
    path = f"/api/databases/{instance['id']}"
    data(api.patch(path, json={"auto_suspend_direct": "refuse"}))
    assert ask(direct, "SELECT inet_client_addr()") is None  # until the next start
    suspended(platform, instance)
    eventually(lambda: "is suspended" in refusal(direct))
    assert is_suspended(platform, instance)
    stay_awake(platform, instance)
    assert ask(instance["connection_string_pooled"]) == 1
    assert ask(direct, "SELECT inet_client_addr()") is not None
    data(api.patch(path, json={"auto_suspend_direct": "wake", "auto_suspend_seconds": 300}))
    suspended(platform, instance)
    stay_awake(platform, instance)
    eventually(lambda: admits(direct))
    assert ask(direct, "SELECT inet_client_addr()") is None


def test_a_server_without_a_port_has_the_listeners_until_its_next_start(
    platform: Installation, api: httpx.Client, instance: Row
) -> None:
    direct = instance["connection_string"]
    path = f"/api/databases/{instance['id']}"
    assert ask(direct, "SELECT inet_client_addr()") is None

    def listed() -> object:
        members = json.loads((platform.home / "clusters.json").read_text())
        return {each["name"]: each["auto_suspend_seconds"] for each in members}

    data(api.patch(path, json={"auto_suspend_seconds": None}))
    eventually(lambda: listed() == {instance["cluster"]: None})
    kill(platform.pids()["listener"], signal.SIGKILL)
    eventually(partial(admits, direct))
    for megabytes in (5, 6, 7):  # the instance is changed, and its port stays
        parameters = {"parameters": {"work_mem": f"{megabytes}MB"}}
        data(api.patch(f"{path}/settings", json=parameters))
        eventually(partial(admits, direct))
    change(api, instance, "restart")
    eventually(partial(admits, direct))
    assert ask(direct, "SELECT inet_client_addr()") is not None
    data(api.patch(path, json={"auto_suspend_seconds": 300}))


def test_many_databases_are_migrated_with_one_that_is_suspended(
    platform: Installation, api: httpx.Client, instance: Row
) -> None:
    suspended(platform, instance)
    stay_awake(platform, instance)
    files = [{"name": "1_a.up.sql", "sql": "CREATE TABLE migrated (id int);"}]
    body = {"files": files, "environment": "production"}
    operation = data(api.post("/api/migrations", json=body), 202)
    succeeded(api, operation["id"])
    assert ask(instance["connection_string_pooled"], "SELECT count(*) FROM migrated") == 0
