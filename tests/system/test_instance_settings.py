"""The parameters and the size of an instance, changed while it is used."""

import asyncio
import os
import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from playwright.sync_api import Page, expect

from answers import data, problem
from browsing import faults, visiting
from clients import ENDPOINTS, ask, do, eventually, finished, hurry, is_open, login
from harness import Installation, free_ports
from tenantry.host import cgroups, processes
from tenantry.pg import presence
from tenantry.pg.connections import ADMIN, Address, connect

Row = dict[str, Any]

TOO_MUCH = "100000000"  # of max_locks_per_transaction: terabytes of shared memory


@pytest.fixture(scope="module")
def platform() -> Iterator[Installation]:
    """An installation of its own: its supervisor has to start a server that was killed."""
    (port,) = free_ports(1)
    found = Installation(
        {
            "TENANTRY_WARM_POOL": "1",
            "TENANTRY_INSTANCE_PORTS": f"{port}-{port}",
            "TENANTRY_INSTANCE_TOTAL_MB": "1024",
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


def ended(api: httpx.Client, operation_id: str, status: str = "succeeded") -> Row:
    found = finished(api, operation_id)
    assert found["status"] == status, found
    return found


@pytest.fixture(scope="module")
def instance(platform: Installation) -> Row:
    with platform.client() as api:
        body = {"name": "shop", "kind": "dedicated", "cpus": 1, "memory_mb": 256}
        made: Row = data(api.post("/api/databases", json=body), 202)
        ended(api, made["operation_id"])
    do(made["connection_string"], "CREATE TABLE held AS SELECT 1 AS n")
    return made


def settings(api: httpx.Client, instance: Row) -> Row:
    found: Row = data(api.get(f"/api/databases/{instance['id']}/settings"))
    return found


def setting(api: httpx.Client, instance: Row, name: str) -> Row:
    rows = settings(api, instance)["settings"]
    return next(each for each in rows if each["name"] == name)


def configured(api: httpx.Client, instance: Row, **parameters: object) -> Row:
    path = f"/api/databases/{instance['id']}/settings"
    found: Row = data(api.patch(path, json={"parameters": parameters}))
    return found


def restarted(api: httpx.Client, instance: Row, status: str = "succeeded", **asked: object) -> Row:
    path = f"/api/databases/{instance['id']}/settings"
    answer = api.patch(path, json={"parameters": asked, "restart": True})
    found: Row = data(answer, 202)
    assert answer.headers["location"] == f"/api/operations/{found['operation_id']}"
    return ended(api, found["operation_id"], status)


def in_force(instance: Row, name: str) -> Any:
    return ask(instance["connection_string"], f"SHOW {name}")


def test_what_needs_no_restart_is_in_force_at_once(api: httpx.Client, instance: Row) -> None:
    before = setting(api, instance, "work_mem")
    assert (before["set_to"], before["value"], before["unit"]) == (None, before["default"], "kB")
    with login(instance["connection_string"]) as session:
        found = configured(api, instance, work_mem="24MB", jit=False, random_page_cost=1.25)
        assert is_open(session)
    own = {"work_mem": "24MB", "jit": "off", "random_page_cost": "1.25"}
    assert found["parameters"] == settings(api, instance)["parameters"] == own
    assert (found["pending_restart"], found["operation_id"]) == ([], None)
    for name, value in own.items():
        assert in_force(instance, name) == value
    for endpoint in ENDPOINTS:
        assert ask(instance[endpoint], "SHOW work_mem") == "24MB"
    assert setting(api, instance, "work_mem")["set_to"] == "24MB"
    found = configured(api, instance, work_mem=None, jit=None, random_page_cost=None)
    assert found["parameters"] == {}
    assert in_force(instance, "work_mem") == before["value"]


def test_the_rest_waits_for_a_restart(
    platform: Installation, api: httpx.Client, instance: Row
) -> None:
    found = configured(api, instance, max_worker_processes=12, work_mem="9MB")
    assert found["pending_restart"] == ["max_worker_processes"]
    assert found["parameters"] == {"max_worker_processes": "12", "work_mem": "9MB"}
    assert (in_force(instance, "work_mem"), in_force(instance, "max_worker_processes")) == (
        "9MB",
        "8",
    )
    # The supervisor starts it with what it has served with.
    server = platform.pids()[instance["cluster"]]
    os.kill(server, 9)
    eventually(lambda: platform.pids().get(instance["cluster"]) not in {None, server})
    eventually(lambda: served(instance))
    assert in_force(instance, "max_worker_processes") == "8"
    assert settings(api, instance)["pending_restart"] == ["max_worker_processes"]
    operation = data(api.post(f"/api/databases/{instance['id']}/restart"), 202)
    ended(api, operation["id"])
    assert in_force(instance, "max_worker_processes") == "12"
    assert settings(api, instance)["pending_restart"] == []
    restarted(api, instance, max_worker_processes=None, work_mem=None)
    assert in_force(instance, "max_worker_processes") == "8"
    # Nothing waits: nothing is restarted.
    path = f"/api/databases/{instance['id']}/settings"
    assert data(api.patch(path, json={"restart": True}))["operation_id"] is None


def served(instance: Row) -> bool:
    try:
        return bool(ask(instance["connection_string"], "SELECT n FROM held") == 1)
    except Exception:
        return False


def test_what_keeps_it_from_starting_is_dropped_and_it_serves(
    platform: Installation, api: httpx.Client, instance: Row
) -> None:
    configured(api, instance, work_mem="9MB")
    done = restarted(api, instance, "failed", max_locks_per_transaction=TOO_MUCH)
    said = done["error"]["detail"]
    assert "what was set of max_locks_per_transaction" in said
    assert "could not map anonymous shared memory" in said
    for endpoint in ENDPOINTS:
        assert ask(instance[endpoint], "SELECT n FROM held") == 1
    assert in_force(instance, "max_locks_per_transaction") == "256"
    found = settings(api, instance)
    assert (found["parameters"], found["pending_restart"]) == ({"work_mem": "9MB"}, [])
    assert in_force(instance, "work_mem") == "9MB"

    # Taken up by a reload, whatever became of the checks: nobody would see it until a crash.
    with platform.control() as control:
        control.execute(
            """UPDATE clusters SET parameters = '{"min_wal_size": "2MB"}' WHERE name = %s""",
            (instance["cluster"],),
        )
    platform.reconcile()
    assert in_force(instance, "min_wal_size") == "2MB"
    server = platform.pids()[instance["cluster"]]
    os.kill(server, 9)
    eventually(lambda: platform.pids().get(instance["cluster"]) not in {None, server})
    eventually(lambda: served(instance))
    configured(api, instance, min_wal_size=None)


def test_what_may_not_be_set_is_refused_by_name(
    platform: Installation, api: httpx.Client, instance: Row
) -> None:
    path = f"/api/databases/{instance['id']}/settings"

    def refused(**parameters: object) -> dict[str, str]:
        found = problem(api.patch(path, json={"parameters": parameters}), 422)
        return {
            each["field"].removeprefix("parameters."): each["message"] for each in found["errors"]
        }

    said = refused(
        listen_addresses="*",
        archive_command="true",
        shared_preload_libraries="pg_cron",
        ssl=False,
        statement_timeout="1s",
        search_path="public",
        work_men="1MB",
        work_mem="1kB",
        jit="maybe",
        shared_buffers="1TB",
    )
    assert "the platform sees to" in said["listen_addresses"]
    assert "statement_timeout_ms" in said["statement_timeout"]
    assert "backups" in said["archive_command"]
    assert "code from a file" in said["shared_preload_libraries"]
    assert "ALTER ROLE" in said["search_path"]
    assert "work_mem?" in said["work_men"]
    assert "at least 64 kB" in said["work_mem"]
    assert len(said) == 9  # and what may be set is looked at further once the rest may be
    assert "half of the instance's memory" in refused(shared_buffers="129MB")["shared_buffers"]
    # What only PostgreSQL itself can say.
    assert "max_stack_depth" in refused(max_stack_depth="1GB")["parameters"]
    for value in ("a\nb", "", 5 * [1], {"a": 1}):
        problem(api.patch(path, json={"parameters": {"work_mem": value}}), 422)
    problem(api.patch(path, json={}), 422)
    assert settings(api, instance)["parameters"] == {}
    offered = {each["name"] for each in settings(api, instance)["settings"]}
    assert not offered & {"listen_addresses", "archive_command", "ssl", "search_path", "fsync"}
    shared = platform.create(name="shared")
    for answer in (
        api.get(f"/api/databases/{shared['id']}/settings"),
        api.patch(f"/api/databases/{shared['id']}/settings", json={"parameters": {"jit": True}}),
        api.patch(f"/api/databases/{shared['id']}", json={"memory_mb": 256}),
    ):
        assert "not its own" in problem(answer, 409)["detail"]


def extended(api: httpx.Client, instance: Row, name: str, **asked: object) -> httpx.Response:
    return api.post(f"/api/databases/{instance['id']}/extensions", json={"name": name, **asked})


def extension(api: httpx.Client, instance: Row, name: str) -> Row:
    rows: list[Row] = data(api.get(f"/api/databases/{instance['id']}/extensions"))
    return next(each for each in rows if each["name"] == name)


def unseen(platform: Installation, instance: Row) -> int:
    """How many processes its server has that nobody would wait for before it is suspended."""

    async def look() -> int:
        address = Address(
            platform.home / "run" / instance["cluster"], platform.ports()[instance["cluster"]]
        )
        async with connect(address, user=ADMIN) as server:
            return (await presence.look(server)).processes

    seen = asyncio.run(look())
    return len(processes.children(platform.pids()[instance["cluster"]])) - seen


def test_an_extension_is_created_once_the_server_has_loaded_its_library(
    platform: Installation, api: httpx.Client, instance: Row
) -> None:
    before = extension(api, instance, "pg_prewarm")
    assert (before["installable"], before["preloads"]) == (True, True)
    # The server has this library anyway.
    made = data(extended(api, instance, "pg_stat_statements"), 201)
    assert (made["schema"], made["pending_restart"]) == ("platform_extensions", False)
    counted = "SELECT count(*) > 0 FROM platform_extensions.pg_stat_statements"
    for endpoint in ENDPOINTS:
        assert ask(instance[endpoint], counted) is True

    waits = data(extended(api, instance, "pg_prewarm"), 202)
    assert (waits["pending_restart"], waits["operation_id"]) == (True, None)
    assert waits["installed_version"] is None
    assert settings(api, instance)["pending_restart"] == ["shared_preload_libraries"]
    answer = extended(api, instance, "pg_prewarm", restart=True)
    began = data(answer, 202)
    assert answer.headers["location"] == f"/api/operations/{began['operation_id']}"
    ended(api, began["operation_id"])
    there = extension(api, instance, "pg_prewarm")
    assert (there["schema"], there["pending_restart"]) == ("platform_extensions", False)
    assert ask(instance["connection_string"], "SELECT platform_extensions.pg_prewarm('held')") == 1
    assert in_force(instance, "pg_prewarm.autoprewarm") == "on"
    # Its process is no client, for which an idle instance would stay awake.
    eventually(lambda: unseen(platform, instance) <= 0)

    # What is set otherwise leaves it alone, and a library that is not there is dropped again.
    restarted(api, instance, max_worker_processes=9)
    with platform.control() as control:
        control.execute(
            "UPDATE clusters SET next_parameters = parameters"
            """ || '{"shared_preload_libraries": "no_such_library"}' WHERE name = %s""",
            (instance["cluster"],),
        )
    said = restarted(api, instance, "failed")["error"]["detail"]
    assert "what was set of shared_preload_libraries" in said
    assert "no_such_library" in said
    assert in_force(instance, "pg_prewarm.autoprewarm") == "on"
    restarted(api, instance, max_worker_processes=None)
    found = data(api.get(f"/api/audit-logs?resource_id={instance['id']}"))
    assert "extension.add" in {each["action"] for each in found}


def test_a_branch_has_it_and_a_shared_cluster_would_not(
    platform: Installation, api: httpx.Client, instance: Row
) -> None:
    branch = data(api.post(f"/api/databases/{instance['id']}/branches", json={"name": "twig"}), 202)
    ended(api, branch["operation"]["id"])
    warm = "SELECT platform_extensions.pg_prewarm('held')"
    assert ask(branch["connection_string"], warm) == 1
    reported = problem(extended(api, branch, "pg_prewarm"), 409)
    assert "not its own" in reported["detail"]
    path = f"/api/databases/{branch['id']}"
    assert api.delete(path).status_code in {200, 202}
    eventually(lambda: api.get(path).status_code == 404)
    move = {"kind": "shared", "dry_run": True}
    reported = problem(api.post(f"/api/databases/{instance['id']}/move", json=move), 409)
    assert "pg_prewarm, pg_stat_statements" in reported["detail"]
    shared = platform.create(shadow=False)
    reported = problem(extended(api, shared, "pg_prewarm"), 422)
    assert "needs an instance of its own" in reported["errors"][0]["message"]
    assert not extension(api, shared, "pg_prewarm")["installable"]


@pytest.mark.parametrize(
    ("asked", "code", "said"),
    [
        ({"name": "auto_explain"}, "refused_extension", "the server's log"),
        ({"name": "pg_cron"}, "refused_extension", "without a client"),
        ({"name": "file_fdw"}, "refused_extension", "is not offered"),
        ({"name": "pg_prewarm", "schema": "public"}, "invalid", "platform_extensions"),
        ({"name": "pg_prewarm", "restart": "perhaps"}, "value_error", "true or false"),
    ],
)
def test_libraries_are_allowed_by_name(
    api: httpx.Client, instance: Row, asked: Row, code: str, said: str
) -> None:
    reported = problem(extended(api, instance, **asked), 422)["errors"][0]
    assert (reported["code"], said in reported["message"]) == (code, True), reported


def test_it_is_removed_with_its_library(
    platform: Installation, api: httpx.Client, instance: Row
) -> None:
    path = f"/api/databases/{instance['id']}/extensions"
    view = "CREATE VIEW mine AS SELECT queryid FROM platform_extensions.pg_stat_statements"
    do(instance["connection_string"], view)
    reported = problem(api.delete(f"{path}/pg_stat_statements"), 409)
    assert "other objects depend on it" in reported["detail"]
    do(instance["connection_string"], "DROP VIEW mine")
    assert data(api.delete(f"{path}/pg_stat_statements"))["pending_restart"] is False
    problem(api.delete(f"{path}/pg_stat_statements"), 404)
    listed = platform.tenantry("extension", "list", "shop").stdout
    assert re.search(r"pg_prewarm +1\.\d+ +platform_extensions", listed)
    removed = platform.tenantry("extension", "remove", "shop", "pg_prewarm")
    assert "tenantry db restart shop" in removed.stdout + removed.stderr
    added = platform.tenantry("extension", "add", "shop", "pg_prewarm", "--restart")
    assert "shop has pg_prewarm" in added.stdout + added.stderr
    assert extension(api, instance, "pg_prewarm")["installed_version"] is not None
    with visiting(platform, platform.key) as visitor:
        page = visitor.page(f"/databases/{instance['id']}/extensions")
        assert "Restart the instance if needed" in page
        gone = visitor.http.post(
            f"/databases/{instance['id']}/extensions/pg_prewarm/remove",
            data={"restart": "yes", "once": "gone"},
        )
        assert gone.headers["location"] == f"/databases/{instance['id']}/instance?done=begun"
    (operation, *_) = data(api.get(f"/api/operations?resource_id={instance['id']}"))
    ended(api, operation["id"])
    there = extension(api, instance, "pg_prewarm")
    assert (there["installed_version"], there["pending_restart"]) == (None, False)
    assert settings(api, instance)["pending_restart"] == []


def limit_of(platform: Installation, instance: Row) -> int | None:
    """The limit of memory that the kernel knows, in MiB; None if the machine has none."""
    groups = cgroups.find(platform.home)
    if groups is None or not groups.has_limits:
        return None
    file = "memory.max" if groups.is_unified else "memory.limit_in_bytes"
    path = groups.folders["memory"] / "instances" / instance["cluster"] / file
    return int(path.read_text()) >> 20


def test_its_size_is_changed_while_it_runs(
    platform: Installation, api: httpx.Client, instance: Row
) -> None:
    path = f"/api/databases/{instance['id']}"
    with login(instance["connection_string"]) as session:
        found = data(api.patch(path, json={"memory_mb": 512, "cpus": 1.5}))
        assert is_open(session)
    assert (found["memory_mb"], found["cpus"]) == (512, 1.5)
    assert (found["pending_restart"], found["operation_id"]) == (["shared_buffers"], None)
    assert limit_of(platform, instance) in {None, 512}
    assert data(api.get(f"{path}/stats"))["memory_limit_bytes"] == 512 << 20
    assert in_force(instance, "effective_cache_size") == "307MB"
    assert in_force(instance, "shared_buffers") == "64MB"
    ended(api, data(api.post(f"{path}/restart"), 202)["id"])
    assert in_force(instance, "shared_buffers") == "128MB"

    refused = problem(api.patch(path, json={"memory_mb": 2000}), 409)
    assert "1,024 MiB" in refused["detail"]
    refused = problem(api.patch(path, json={"memory_mb": 128}), 409)
    assert "needs 256 MiB" in refused["detail"]
    assert data(api.get(path))["memory_mb"] == 512
    assert limit_of(platform, instance) in {None, 512}

    smaller = data(api.patch(path, json={"memory_mb": 128, "cpus": None, "restart": True}), 202)
    assert (smaller["memory_mb"], smaller["cpus"]) == (128, None)
    ended(api, smaller["operation_id"])
    assert in_force(instance, "shared_buffers") == "64MB"
    assert limit_of(platform, instance) in {None, 128}

    # While it is stopped its size is only recorded, and in force from its start.
    ended(api, data(api.post(f"{path}/stop"), 202)["id"])
    assert data(api.patch(path, json={"memory_mb": 512}))["pending_restart"] is None
    assert "is stopped" in problem(api.get(f"{path}/settings"), 409)["detail"]
    ended(api, data(api.post(f"{path}/start"), 202)["id"])
    assert in_force(instance, "shared_buffers") == "128MB"
    assert limit_of(platform, instance) in {None, 512}
    audited = {
        each["action"] for each in data(api.get(f"/api/audit-logs?resource_id={instance['id']}"))
    }
    assert {"instance.configure", "instance.resize", "instance.restart"} <= audited


def test_the_command_line_changes_both(platform: Installation, instance: Row) -> None:
    def said(*arguments: str) -> str:
        done = platform.tenantry("db", *arguments)
        return done.stdout + done.stderr

    changed = said("settings", "shop", "work_mem=9MB", "max_worker_processes=9")
    assert "tenantry db restart shop" in changed
    shown = said("settings", "shop")
    assert re.search(r"max_worker_processes +8 +9 ", shown)
    assert "waits for a restart" in shown
    assert "checkpoint_timeout" in said("settings", "shop", "--all")
    reset = ("--reset", "work_mem", "--reset", "max_worker_processes")
    assert "are changed" in said("settings", "shop", *reset)
    resized = said("resize", "shop", "--memory", "256MB", "--cpus", "2")
    assert "256 MiB" in resized
    assert "tenantry db restart shop" in resized
    assert "shop is restarted" in said("settings", "shop", "--restart")
    assert in_force(instance, "shared_buffers") == "64MB"


def test_the_console_changes_both(platform: Installation, api: httpx.Client, instance: Row) -> None:
    path = f"/databases/{instance['id']}"
    with visiting(platform, platform.key) as visitor:
        assert f'href="{path}/configuration"' in visitor.page(f"{path}/instance")
        page = visitor.page(f"{path}/configuration")
        assert "checkpoint_timeout" in page
        form = {"parameter": "work_mem", "value": "7MB", "once": "one"}
        done = visitor.http.post(f"{path}/configuration", data=form)
        assert done.headers["location"] == f"{path}/configuration?done=updated"
        assert "7MB" in visitor.page(f"{path}/configuration")
        wrong = visitor.http.post(
            f"{path}/configuration", data=form | {"value": "x", "once": "two"}
        )
        assert (wrong.status_code, "must be a number" in wrong.text) == (422, True)
        reset = {"parameter": "work_mem", "once": "three"}
        assert visitor.http.post(f"{path}/configuration", data=reset).has_redirect_location
        size = {"memory_mb": "512", "restart": "yes", "once": "four"}
        done = visitor.http.post(f"{path}/size", data=size)
        assert done.headers["location"] == f"{path}/instance?done=begun"
    (operation, *_) = data(api.get(f"/api/operations?resource_id={instance['id']}"))
    ended(api, operation["id"])
    assert (in_force(instance, "shared_buffers"), in_force(instance, "work_mem")) == (
        "128MB",
        "4MB",
    )
    found = data(api.get(f"/api/databases/{instance['id']}"))
    assert (found["memory_mb"], found["cpus"]) == (512, None)


def test_its_page_has_no_faults_and_fits(platform: Installation, instance: Row, page: Page) -> None:
    page.goto(f"{platform.url}/databases/{instance['id']}/configuration")
    expect(page.get_by_role("button", name="Resize")).to_be_visible()
    page.locator("summary", has_text="All that can be set").click()
    assert faults(page) == []
    page.set_viewport_size({"width": 390, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.get_by_label("Parameter").select_option("work_mem")
    page.get_by_label("Value").fill("much")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("alert").filter(has_text="must be a number")).to_be_visible()
