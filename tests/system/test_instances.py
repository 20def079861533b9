"""A dedicated instance from its creation to its deletion, with all that a database can do."""

import datetime as dt
import html
import os
import re
import signal
from collections.abc import Iterator
from functools import partial
from typing import Any

import httpx
import psycopg
import pytest
from playwright.sync_api import Page, Route, expect

from answers import data, problem
from browsing import TABS, faults, visiting
from clients import (
    ENDPOINTS,
    STRINGS,
    ask,
    changed,
    do,
    eventually,
    hurry,
    is_open,
    login,
    port_of,
    refusal,
    succeeded,
    verified,
)
from harness import Installation, adjacent_ports

Row = dict[str, Any]


@pytest.fixture(scope="module")
def platform() -> Iterator[Installation]:
    """An installation of its own: it is backed up, taken down, and counts what is there."""
    ports = adjacent_ports(2)
    found = Installation(
        {
            "TENANTRY_BACKUPS": "on",
            "TENANTRY_WARM_POOL": "1",
            "TENANTRY_INSTANCE_PORTS": f"{ports[0]}-{ports[1]}",
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
        body = {"name": "shop", "kind": "dedicated", "cpus": 1, "memory_mb": 256}
        made: Row = data(api.post("/api/databases", json=body), 202)
        succeeded(api, made["operation_id"])
    do(made["connection_string"], "CREATE TABLE held AS SELECT 1 AS n")
    return made


def change(api: httpx.Client, instance: Row, verb: str) -> None:
    operation = data(api.post(f"/api/databases/{instance['id']}/{verb}"), 202)
    assert operation["kind"] == f"instance.{verb}"
    succeeded(api, operation["id"])


def shown(api: httpx.Client, instance: Row) -> Row:
    row: Row = data(api.get(f"/api/databases/{instance['id']}"))
    return row


def stats(api: httpx.Client, instance: Row) -> Row:
    found: Row = data(api.get(f"/api/databases/{instance['id']}/stats"))
    return found


def test_it_is_reached_by_every_string(
    platform: Installation, api: httpx.Client, instance: Row
) -> None:
    assert (instance["kind"], instance["status"]) == ("dedicated", "creating")
    assert instance["container_name"] == "shop-production-postgres"
    assert shown(api, instance)["status"] == "active"
    for name in STRINGS:
        assert ask(instance[name]) == 1
        assert ask(verified(platform, instance[name])) == 1
    assert port_of(instance["connection_string"]) != platform.pg_port
    assert port_of(instance["connection_string_pooled"]) == platform.pool_port
    assert ask(instance["connection_string"], "SHOW shared_buffers") == "64MB"
    found = {part["name"]: part for part in platform.get("/ready").json()["parts"]}
    assert (found["instances"]["state"], found["instances"]["detail"]) == ("up", "1 running")


def test_its_login_creates_databases_and_is_no_superuser(api: httpx.Client, instance: Row) -> None:
    direct = instance["connection_string"]
    do(direct, "CREATE DATABASE reports")
    mine = changed(direct, dbname="reports")
    do(mine, "CREATE TABLE t AS SELECT 2 AS n")
    assert ask(mine, "SELECT n FROM t") == 2
    assert stats(api, instance)["unmanaged"] == ["reports"]
    refusal(changed(instance["connection_string_pooled"], dbname="reports"))
    assert ask(direct, "SELECT pg_has_role('pg_read_all_stats', 'USAGE')") is True
    username = instance["username"]
    for statement in (
        f"ALTER ROLE {username} SUPERUSER",
        f"ALTER ROLE {username} REPLICATION",
        f"ALTER ROLE {username} CONNECTION LIMIT 1000",
        "CREATE ROLE other",
        f"GRANT pg_execute_server_program TO {username}",
        f"GRANT pg_read_server_files TO {username}",
        f"GRANT pg_write_server_files TO {username}",
        f"GRANT tenantry_owner TO {username}",
        "SET ROLE tenantry_admin",
        "SET SESSION AUTHORIZATION tenantry_platform",
        "COPY held FROM PROGRAM 'id'",
        "COPY held TO '/tmp/tenantry-held'",
        "SELECT pg_read_file('postgresql.conf')",
        "SELECT pg_ls_dir('.')",
        "SELECT rolpassword FROM pg_authid",
        "SELECT * FROM pg_hba_file_rules",
        "ALTER SYSTEM SET max_connections = 1000",
        "SELECT pg_reload_conf()",
        "CREATE EXTENSION dblink",
        "CREATE DATABASE stolen TEMPLATE tenantry_auth",
        f"ALTER DATABASE {instance['database_name']} CONNECTION LIMIT 1000",
        f"DROP DATABASE {instance['database_name']}_shadow",
    ):
        with pytest.raises(psycopg.Error) as refused:
            do(direct, statement)
        assert refused.value.sqlstate in {"42501", "42P01", "0A000"}, statement
    for closed in ("postgres", "template1", "tenantry_auth", "tenantry_template"):
        assert "permission denied" in refusal(changed(direct, dbname=closed))


def test_an_allowlist_holds_on_both_ports_and_for_all_its_databases(
    api: httpx.Client, instance: Row
) -> None:
    path = f"/api/databases/{instance['id']}/whitelist"
    reports = changed(instance["connection_string"], dbname="reports")
    with login(instance["connection_string"]) as direct, login(reports) as beside:
        data(api.put(path, json={"entries": [{"ip_address": "203.0.113.7"}]}))
        assert not is_open(direct)
        assert not is_open(beside)
    for url in (*(instance[name] for name in ENDPOINTS), reports):
        refusal(url)
    here = [{"ip_address": "203.0.113.7"}, {"ip_address": "127.0.0.0/8"}, {"ip_address": "::1"}]
    data(api.put(path, json={"entries": here}))
    for url in (*(instance[name] for name in ENDPOINTS), reports):
        assert ask(url) == 1
    data(api.put(path, json={"entries": []}))


def test_a_role_and_a_password(api: httpx.Client, instance: Row) -> None:
    path = f"/api/databases/{instance['id']}"
    role = data(api.post(f"{path}/roles", json={"name": "reporting"}), 201)
    for name in ENDPOINTS:
        assert ask(role[name], "SELECT n FROM held") == 1
    renewed = data(api.post(f"{path}/rotate-password"))
    for name in STRINGS:
        instance[name] = renewed[name]
    for name in ENDPOINTS:
        assert ask(instance[name], "SELECT n FROM held") == 1


def test_its_use_is_reported(platform: Installation, api: httpx.Client, instance: Row) -> None:
    with login(instance["connection_string"]) as session:
        session.execute("SELECT 1")
        found = stats(api, instance)
    assert found["status"] == "running"
    assert found["connections"] >= 1
    assert found["memory_limit_bytes"] == 256 << 20
    assert found["memory_bytes"] > 0
    assert found["uptime_seconds"] >= 0
    assert re.fullmatch(r"[\d.]+%", found["cpu"])
    assert found["memory"].endswith("/ 256 MB")
    assert "/ 256 MB" in platform.tenantry("db", "stats", "shop").stdout
    majors = data(api.get("/api/versions"))
    assert shown(api, instance)["version"] in {row["major"] for row in majors if row["installed"]}
    assert "installed" in platform.tenantry("versions").stdout


def test_its_page_is_live_and_asks_before_it_stops(
    platform: Installation, instance: Row, page: Page
) -> None:
    page.goto(f"{platform.url}/databases/{instance['id']}/instance")
    expect(page.get_by_role("heading", name="Running")).to_be_visible()
    # A second value has come, and the line goes on from the first.
    line = page.locator(".chart.live path").first
    expect(line).to_have_attribute("d", re.compile("L.*L"))
    assert faults(page) == []
    page.set_viewport_size({"width": 390, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    asked: list[Route] = []

    def hold(route: Route) -> None:
        asked.append(route)

    page.route("**/stop", hold)
    page.get_by_role("button", name="Stop…").click()
    for _ in range(2):  # the page renews itself while its form waits for an answer
        with page.expect_response("**/instance"):
            pass
    asked[0].continue_()
    page.unroute("**/stop")
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("reports")
    expect(page.locator("form.htmx-request")).to_have_count(0)  # its button is grey
    assert faults(page) == []
    dialog.get_by_role("button", name="Cancel").click()
    page.goto(f"{platform.url}/databases/new")
    expect(page.get_by_label("PostgreSQL version")).to_be_hidden()
    page.get_by_label("Its own: an instance").check(force=True)
    page.get_by_label("Name").fill("blog")
    expect(page.locator("[data-container]")).to_have_text("blog-production-postgres")
    expect(page.get_by_label("PostgreSQL version")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert faults(page) == []


def test_restores_and_branches(platform: Installation, api: httpx.Client, instance: Row) -> None:
    platform.back_up(instance["cluster"])
    path = f"/api/databases/{instance['id']}"
    moment = dt.datetime.now(dt.UTC).isoformat()
    do(instance["connection_string"], "DELETE FROM held")
    wanted = {"to": moment, "as": "in_place"}
    succeeded(api, data(api.post(f"{path}/restore", json=wanted), 202)["id"])
    for name in ENDPOINTS:
        assert ask(instance[name], "SELECT n FROM held") == 1
    branch = data(api.post(f"{path}/branches", json={"name": "b"}), 202)
    succeeded(api, branch["operation"]["id"])
    assert branch["cluster"] == instance["cluster"]
    for name in ENDPOINTS:
        assert ask(branch[name], "SELECT n FROM held") == 1
    mine = changed(instance["connection_string"], dbname="reports")
    do(mine, "CREATE SCHEMA own; ALTER DATABASE reports SET work_mem = '8MB'")
    refused = problem(api.delete(path), 409)
    assert "also has b" in refused["detail"]
    problem(api.post(f"/api/databases/{branch['id']}/stop"), 409)
    assert api.delete(f"/api/databases/{branch['id']}").is_success
    eventually(lambda: api.get(f"/api/databases/{branch['id']}").status_code == 404)


def test_it_stops_stays_stopped_and_starts(
    platform: Installation, api: httpx.Client, instance: Row
) -> None:
    path = f"/api/databases/{instance['id']}"
    with login(instance["connection_string"]) as direct:
        change(api, instance, "stop")
        assert not is_open(direct)
    change(api, instance, "stop")
    refusal(instance["connection_string_pooled"], seconds=30)
    answer = "the instance shop-production-postgres is stopped"
    eventually(lambda: answer in refusal(verified(platform, instance["connection_string"])))
    os.kill(platform.pids()["listener"], 9)
    eventually(lambda: answer in refusal(instance["connection_string"]))
    assert shown(api, instance)["status"] == "stopped"
    found = stats(api, instance)
    assert (found["status"], found["memory_bytes"]) == ("stopped", 0)
    refused = problem(api.post(f"{path}/rotate-password"), 409)
    assert refused["detail"] == "The instance shop-production-postgres is stopped."
    with visiting(platform, platform.key) as visitor:
        for tab in (*TABS, "/instance"):
            visitor.page(f"/databases/{instance['id']}{tab}")
        assert "Stopped" in visitor.page("/databases?search=shop").partition("<tbody>")[2]
        assert "Stopped" in visitor.page("/clusters")
    # Its allowlist is changed meanwhile, and nobody else's has to wait for it.
    data(api.put(f"{path}/whitelist", json={"entries": [{"ip_address": "203.0.113.7"}]}))
    platform.down()
    platform.up()
    assert instance["cluster"] not in platform.pids()
    assert platform.is_ready()
    eventually(lambda: answer in refusal(instance["connection_string"]))
    status = {each["name"]: each for each in platform.status()["clusters"]}
    assert status[instance["cluster"]]["status"] == "stopped"
    assert status[instance["cluster"]]["kind"] == "dedicated"
    assert status[instance["cluster"]]["warnings"] == []
    platform.reconcile()
    assert instance["cluster"] not in {each["subject"] for each in data(api.get("/api/alerts"))}
    with visiting(platform, platform.key) as visitor:
        accepted = visitor.http.post(f"{path[4:]}/start", data={"once": "start"})
        assert accepted.headers["location"] == f"{path[4:]}/instance?done=begun"
    (operation, *_) = data(api.get(f"/api/operations?resource_id={instance['id']}"))
    assert operation["kind"] == "instance.start"
    succeeded(api, operation["id"])
    for name in ENDPOINTS:
        refusal(instance[name])
    data(api.put(f"{path}/whitelist", json={"entries": []}))
    for name in ENDPOINTS:
        assert ask(instance[name], "SELECT n FROM held") == 1
    assert ask(changed(instance["connection_string"], dbname="reports"), "SELECT n FROM t") == 2
    eventually(lambda: "listener" not in platform.pids())
    before = platform.pids()[instance["cluster"]]
    change(api, instance, "restart")
    assert ask(instance["connection_string"], "SELECT n FROM held") == 1
    assert platform.pids()[instance["cluster"]] != before
    os.kill(platform.pids()[instance["cluster"]], 9)
    eventually(lambda: platform.pids().get(instance["cluster"]))


def test_one_that_does_not_answer_stops_nobody_else(
    platform: Installation, api: httpx.Client, instance: Row
) -> None:
    other = platform.create(name="neighbour")

    def admit(database: Row, *addresses: str) -> None:
        body = {"entries": [{"ip_address": address} for address in addresses]}
        data(api.put(f"/api/databases/{database['id']}/whitelist", json=body))

    eventually(lambda: is_served(instance["connection_string"]))
    server = platform.pids()[instance["cluster"]]
    os.kill(server, signal.SIGSTOP)
    try:
        admit(instance, "203.0.113.7")
        admit(other, "203.0.113.7")
    finally:
        os.kill(server, signal.SIGCONT)
    for database in (instance, other):
        refusal(database["connection_string"])
        admit(database)
        assert ask(database["connection_string"]) == 1

    # Its version of PostgreSQL is removed.
    major = platform.home / "clusters" / instance["cluster"] / "data" / "PG_VERSION"
    made_by = major.read_text()
    major.write_text("9\n")  # before its end, after which it is started again at once
    os.kill(server, signal.SIGKILL)
    platform.down()
    platform.up()
    assert platform.is_ready()
    assert ask(other["connection_string_pooled"]) == 1
    admit(other, "127.0.0.0/8", "::1")
    assert stats(api, instance)["status"] == "error"
    major.write_text(made_by)
    eventually(lambda: platform.pids().get(instance["cluster"]))


def test_its_quota_counts_and_closes_what_it_has_beside(api: httpx.Client, instance: Row) -> None:
    path = f"/api/databases/{instance['id']}"
    reports = changed(instance["connection_string"], dbname="reports")
    eventually(lambda: is_served(reports))
    data(api.patch(path, json={"disk_quota_bytes": 32 << 20}))
    rows = "SELECT repeat(n::text, 40) FROM generate_series(1, 200000) n"
    for number, state in enumerate(("read_only", "stopped")):
        do(reports, f"CREATE TABLE t{number} AS {rows}")
        eventually(partial(is_in, api, instance, state))
    eventually(lambda: not is_served(reports))
    assert "too many connections" in refusal(reports)
    data(api.patch(path, json={"disk_quota_bytes": 1 << 30}))
    eventually(lambda: is_served(reports))
    do(reports, "DROP TABLE t0, t1")


def is_in(api: httpx.Client, instance: Row, state: str) -> bool:
    return bool(shown(api, instance)["disk"]["state"] == state)


def is_served(url: str) -> bool:
    try:
        return bool(ask(url) == 1)
    except psycopg.OperationalError:
        return False


@pytest.mark.usefixtures("instance")
def test_what_cannot_be_had_is_refused(platform: Installation, api: httpx.Client) -> None:
    def refused(status: int, **asked: object) -> str:
        body = {"name": "other", "kind": "dedicated"} | asked
        found = problem(api.post("/api/databases", json=body), status)
        return str(found.get("errors") or found["detail"])

    assert "not installed" in refused(422, version=99)
    assert "512 MiB" in refused(409, memory_mb=100_000)
    assert "container engine" in refused(500, driver="docker")
    assert "shop" in refused(409, name="shop")
    assert "characters" in refused(422, name="a" * 60)
    assert "is of instances" in refused(422, kind="shared", memory_mb=256)
    assert "name is needed" in refused(422, name=None, friendly_name="Other")
    problem(api.post(f"/api/databases/{platform.create(name='s')['id']}/stop"), 409)


def is_limited_by_its_plan(platform: Installation, api: httpx.Client, theirs: Row) -> None:
    """What the owner of an instance, which has the size of its plan, is refused."""
    assert (theirs["memory_mb"], theirs["cpus"]) == (128, min(2, len(os.sched_getaffinity(0))))
    scopes = ["databases:read", "databases:write"]
    body = {"name": "ann", "scopes": scopes, "customer_email": theirs["owner_email"]}
    key = data(api.post("/api/api-keys", json=body), 201)["key"]
    with platform.client(key) as ann:
        for size, granted in (
            ({"memory_mb": 129}, "128"),
            ({"cpus": 3}, "2"),
            ({"cpus": None}, "2"),
        ):
            said = problem(ann.patch(f"/api/databases/{theirs['id']}", json=size), 403)["detail"]
            assert f"above what the plan standard grants: {granted}" in said
            if None not in size.values():
                more = {"name": "other", "kind": "dedicated", **size}
                assert problem(ann.post("/api/databases", json=more), 403)["detail"] == said
        data(api.patch("/api/plans/standard", json={"max_instances": 1}))
        more = {"name": "other", "kind": "dedicated"}
        full = (
            "A customer with the plan standard may have 1 instance, with those that are retained"
            " after a move."
        )
        assert problem(ann.post("/api/databases", json=more), 409)["detail"] == full
        shared = data(ann.post("/api/databases", json={"name": "small"}), 201)
        for dry_run in (True, False):
            moved = {"kind": "dedicated", "dry_run": dry_run}
            found = problem(ann.post(f"/api/databases/{shared['id']}/move", json=moved), 409)
            assert found["detail"] == full
        assert ann.delete(f"/api/databases/{shared['id']}").is_success


@pytest.mark.usefixtures("instance")
def test_one_is_created_in_the_console(platform: Installation, api: httpx.Client) -> None:
    form = {"kind": "dedicated", "environment": "production"}
    data(api.patch("/api/plans/standard", json={"instance_memory_mb": 128}))
    with visiting(platform, platform.key) as visitor:
        wrong = visitor.create("shop", version="99", **form)
        assert (wrong.status_code, "is not installed" in wrong.text) == (422, True)
        owner = {"owner_email": "ann@example.com", "new_customer": "yes"}
        made = visitor.create("shop", **form, **owner)
        (theirs,) = data(api.get("/api/databases?owner=ann@example.com"))
        assert re.fullmatch(r"shop-production-postgres-[a-z0-9]{4}", theirs["container_name"])
        assert f"{theirs['container_name']} is being created" in made.text
        path = f"/databases/{theirs['id']}"
        assert f'data-onward="{path}/instance"' in made.text
        for page in (*TABS, "/instance", "/connected", "/stop"):
            visitor.page(f"{path}{page}")
        more = {"name": "other", "kind": "dedicated", "memory_mb": 128}
        assert "No port" in problem(api.post("/api/databases", json=more), 503)["detail"]
        (operation,) = data(api.get(f"/api/operations?resource_id={theirs['id']}"))
        succeeded(api, operation["id"])
        is_limited_by_its_plan(platform, api, theirs)
        found = re.search(r'<textarea id="string"[^>]*>([^<]*)<', made.text)
        assert found
        assert ask(html.unescape(found[1])) == 1
        assert "Running" in visitor.page(f"{path}/instance")
        visitor.page(f"/databases/{platform.create(name='t')['id']}/instance", 404)
        assert api.delete(f"/api{path}").is_success
        eventually(lambda: api.get(f"/api{path}").status_code == 404)
        # Whoever looks on is led to where it is said what has become of it.
        gone = visitor.http.get(f"{path}/instance", headers={"HX-Request": "true"})
        assert gone.headers["hx-redirect"] == "/operations"


def test_nothing_is_left_of_it(platform: Installation, api: httpx.Client, instance: Row) -> None:
    name = instance["cluster"]
    do(instance["connection_string"], "CREATE DATABASE more")
    assert api.delete(f"/api/databases/{instance['id']}").is_success
    eventually(lambda: api.get(f"/api/databases/{instance['id']}").status_code == 404)
    for url in (instance[endpoint] for endpoint in ENDPOINTS):
        refusal(url, seconds=30)
    platform.reconcile()
    assert name not in {row["name"] for row in data(api.get("/api/clusters"))}
    for path in (platform.home / "clusters" / name, platform.home / "run" / name):
        assert not path.exists()
    assert not list((platform.home / "logs").glob(f"{name}-*"))
    assert name not in (platform.home / "clusters.json").read_text()
    assert name not in (platform.home / "pooler" / "databases.ini").read_text()
    assert platform.is_ready()
    # Its backups are removed when those of its time are.
    with platform.control() as control:
        left = control.execute("SELECT cluster_name FROM left_repositories").fetchall()
        assert (name,) in left
        control.execute("UPDATE left_repositories SET since = now() - interval '1 year'")
    eventually(lambda: not list(platform.home.rglob(f"archive/{name}")))
