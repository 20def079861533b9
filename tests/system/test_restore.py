"""One database of a shared cluster brought back to a second, while its neighbours go on.

The machine's clock is everybody's here: PostgreSQL's, pgBackRest's and the platform's.
"""

import datetime as dt
import json
import re
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import psycopg
import pytest
from playwright.sync_api import Browser, Page, expect

from browsing import browsing, faults
from clients import ask, changed, do, eventually, hurry, login, refusal
from harness import Installation
from unusual_schemas import Schema, inventory, together, unaccounted

TENANTS = 20
BEFORE_THE_BACKUP = 2  # each costs a restore 300 files; the others are in the log
CHECKSUM = "SELECT md5(string_agg(t::text, ',' ORDER BY id)) FROM orders t"

Database = dict[str, Any]


@dataclass
class Writer:
    """A tenant's client, which writes all the time and notes what went wrong."""

    url: str
    written: int = 0
    errors: list[str] = field(default_factory=list)

    def run(self, stopped: threading.Event) -> None:
        try:
            with login(self.url) as session:
                while not stopped.wait(0.05):
                    session.execute("INSERT INTO orders (what) VALUES ('more')")
                    self.written += 1
        except psycopg.Error as error:
            self.errors.append(str(error))


@dataclass
class Scenario:
    platform: Installation
    databases: list[Database]

    @property
    def api(self) -> httpx.Client:
        return self.platform.client()

    def wanted(self, database: Database, **asked: object) -> httpx.Response:
        with self.api as api:
            return api.post(f"/api/databases/{database['id']}/restore", json=asked)

    def ended(self, answer: httpx.Response, *, seconds: float = 90) -> dict[str, Any]:
        """The operation that an answer shows of, once it has ended."""
        assert answer.status_code == 202, answer.text
        found: dict[str, Any] = {}

        def has_ended() -> bool:
            with self.api as api:
                found.update(api.get(answer.headers["Location"]).json()["data"])
            return found["finished_at"] is not None

        eventually(has_ended, seconds=seconds)
        return found

    def restored(self, database: Database, **asked: object) -> dict[str, Any]:
        """What came of a restore."""
        done = self.ended(self.wanted(database, **asked))
        assert done["status"] == "succeeded", done["error"]
        result: dict[str, Any] = done["result"]
        return result

    def leftovers(self) -> list[str]:
        """What operations that are over have left behind."""
        home = self.platform.home
        with self.platform.superuser() as server:
            names = server.execute(
                "SELECT datname FROM pg_database WHERE datname LIKE '%restoring%'"
                " UNION ALL SELECT rolname FROM pg_roles WHERE rolname LIKE '%visitor%'"
                " AND coalesce(rolvaliduntil, 'infinity') = 'infinity'"
            ).fetchall()
        return [
            *(str(path) for path in (home / "scratch").iterdir()),
            *(str(path) for path in (home / "run").glob("side-*")),
            *(name for (name,) in names),
        ]


def now(database: Database) -> str:
    """The present moment, after all that has been committed."""
    moment = ask(database["connection_string"], "SELECT clock_timestamp()")
    assert isinstance(moment, dt.datetime)
    return moment.isoformat()


def fill(database: Database) -> None:
    do(
        database["connection_string"],
        """
        CREATE TABLE orders (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, what text);
        INSERT INTO orders (what) SELECT 'order ' || n FROM generate_series(1, 200) n
        """,
    )


@pytest.fixture(scope="module")
def scenario() -> Iterator[Scenario]:
    """A platform with a backup, and its tenants, made partly before and partly after it."""
    installation = Installation({"TENANTRY_BACKUPS": "on", "TENANTRY_WARM_POOL": "0"})
    try:
        installation.up()
        hurry(installation)
        databases = [
            installation.create(friendlyName=f"Tenant {number}", shadow=number == 0)
            for number in range(BEFORE_THE_BACKUP)
        ]
        installation.back_up("shared-1")
        databases += [
            installation.create(friendlyName=f"Tenant {number}", shadow=False)
            for number in range(BEFORE_THE_BACKUP, TENANTS)
        ]
        for database in databases:
            fill(database)
        yield Scenario(installation, databases)
    finally:
        installation.remove()


@pytest.fixture
def load(scenario: Scenario) -> Iterator[list[Writer]]:
    """All tenants but the first write meanwhile."""
    stopped = threading.Event()
    endpoints = ("connection_string", "connection_string_pooled")
    writers = [
        Writer(database[endpoints[number % 2]])
        for number, database in enumerate(scenario.databases[1:])
    ]
    threads = [threading.Thread(target=each.run, args=(stopped,)) for each in writers]
    for thread in threads:
        thread.start()
    yield writers
    stopped.set()
    for thread in threads:
        thread.join()


def test_a_wrecked_table_is_had_back_as_new_and_in_place_while_others_write(
    scenario: Scenario, load: list[Writer]
) -> None:
    wrecked = scenario.databases[0]
    before = ask(wrecked["connection_string"], CHECKSUM)
    moment = now(wrecked)
    do(wrecked["connection_string"], "DELETE FROM orders")

    asked = {"to": moment, "friendlyName": "As it was", "name": "as-it-was", "as": "new"}
    new = scenario.restored(wrecked, **asked)
    assert new["name"] == "as-it-was"
    for again in ({}, {"as": "in_place"}):
        refused = scenario.wanted(wrecked, **asked | again)
        assert refused.json()["code"] == ("invalid_input" if again else "name_taken")
    with scenario.api as api:
        opened = api.post(f"/api/databases/{new['database_id']}/rotate-password").json()["data"]
    assert (opened["name"], opened["friendly_name"]) == ("as-it-was", "As it was")
    assert ask(opened["connection_string"], CHECKSUM) == before
    assert ask(opened["connection_string_pooled"], CHECKSUM) == before
    do(opened["connection_string"], "INSERT INTO orders (what) VALUES ('mine')")
    assert ask(wrecked["connection_string"], "SELECT count(*) FROM orders") == 0

    with login(wrecked["connection_string_pooled"]) as pooled:
        pooled.execute("SELECT 1")
        errors: list[psycopg.Error] = []
        longest = 0.0
        stopped = threading.Event()

        def use() -> None:
            nonlocal longest
            while not stopped.wait(0.01):
                began = time.monotonic()
                try:
                    pooled.execute("SELECT count(*) FROM orders")
                except psycopg.Error as error:
                    errors.append(error)
                    return
                longest = max(longest, time.monotonic() - began)

        user = threading.Thread(target=use)
        user.start()
        try:
            result = scenario.restored(wrecked, to=moment, **{"as": "in_place"})
        finally:
            stopped.set()
            user.join()
        assert not errors
        assert longest < 5  # 0.1 s was seen
        row = pooled.execute(CHECKSUM.encode()).fetchone()
        assert row is not None
        assert row[0] == before
    assert result["database_name"] == wrecked["database_name"]
    assert ask(wrecked["connection_string"], CHECKSUM) == before
    assert [each.errors for each in load] == [[] for _ in load]
    assert all(each.written > 10 for each in load)
    assert scenario.leftovers() == []


def test_what_was_replaced_is_kept_closed_and_can_be_put_back(scenario: Scenario) -> None:
    database = scenario.databases[1]
    url = database["connection_string"]
    with scenario.api as api:
        path = f"/api/databases/{database['id']}"
        reader = api.post(f"{path}/roles", json={"name": "early", "access": "read_only"}).json()
        do(url, "CREATE POLICY own ON orders TO " + reader["data"]["username"] + " USING (true)")
        api.post(f"{path}/whitelist", json={"ip_address": "127.0.0.1"}).raise_for_status()
    me = database["username"]
    do(url, f"ALTER ROLE {me} IN DATABASE {database['database_name']} SET search_path = a, public")
    moment = now(database)
    do(url, "CREATE TABLE later AS SELECT 1 AS n")
    with scenario.api as api:
        later = api.post(f"{path}/roles", json={"name": "late", "access": "read_write"}).json()
    restore = ("restore", database["database_name"], "--to")
    reported = scenario.platform.tenantry(*restore, moment, "--as", "in-place", "--yes")
    assert "is restored; what it was is kept as" in reported.stderr
    (result,) = json.loads(
        scenario.platform.tenantry("db", "replaced", database["database_name"], "--json").stdout
    )

    assert ask(url, "SELECT to_regclass('later')") is None
    assert ask(url, "SHOW search_path") == "a, public"
    assert ask(url, "SELECT count(*) FROM pg_policy") == 1
    early = reader["data"]["connection_string"]
    assert int(str(ask(early, "SELECT count(*) FROM orders"))) > 0
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        do(changed(early, options="-cdefault_transaction_read_only=off"), "DELETE FROM orders")
    do(later["data"]["connection_string"], "INSERT INTO orders (what) VALUES ('by late')")
    refused = refusal(changed(url, dbname=result["database_name"]))
    # The second where a list of addresses admits the role, to whatever database.
    assert re.search(r"no pg_hba\.conf entry|permission denied for database", refused)

    with scenario.api as api:
        (kept,) = api.get(f"{path}/replaced").json()["data"]
        assert kept["id"] == result["id"]
        assert kept["size_bytes"] > 7_000_000
        assert kept["expires_at"] > kept["replaced_at"]
        # A role goes, also where it still has rights in what is kept.
        role = later["data"]["id"]
        assert api.delete(f"{path}/roles/{role}").status_code in {200, 202}
    unsaid = scenario.wanted(database, to="previous")
    assert (unsaid.status_code, unsaid.json()["code"]) == (409, "conflict")
    assert "in_place" in unsaid.json()["hint"]
    words = ("previous", "--as", "in-place", "--yes", "--json")
    done = json.loads(scenario.platform.tenantry(*restore, *words).stdout)
    assert ask(url, "SELECT n FROM later") == 1
    assert ask(url, "SHOW search_path") == "a, public"
    assert ask(early, "SELECT n FROM later") == 1
    with scenario.api as api:
        (kept,) = api.get(f"{path}/replaced").json()["data"]
        assert kept["database_name"] == done["result"]["replaced"] != result["database_name"]
        assert scenario.leftovers() == []
        assert api.delete(path).status_code in {200, 202}
    eventually(
        lambda: not any(database["username"][5:] in n for n in scenario.platform.inventory()[1])
    )


def test_a_database_that_is_being_restored_is_neither_deleted_nor_restored_again(
    scenario: Scenario,
) -> None:
    database = scenario.databases[2]
    before = ask(database["connection_string"], CHECKSUM)
    started = scenario.wanted(database, to="latest", **{"as": "in_place"})
    again = scenario.wanted(database, to="latest")
    assert (again.status_code, again.json()["code"]) == (409, "conflict")
    with scenario.api as api:
        refused = api.delete(f"/api/databases/{database['id']}")
        assert (refused.status_code, refused.json()["code"]) == (409, "conflict")

        def is_restoring() -> bool:
            step = api.get(started.headers["Location"]).json()["data"]["step"]
            return step in {"restore", "recover", "dump", "load"}

        eventually(is_restoring)
        api.post(f"{started.headers['Location']}/cancel", json={}).raise_for_status()
    assert scenario.ended(started)["status"] == "cancelled"
    assert scenario.leftovers() == []
    assert ask(database["connection_string"], CHECKSUM) == before
    with scenario.api as api:
        assert api.get(f"/api/databases/{database['id']}/replaced").json()["data"] == []


@pytest.mark.parametrize(
    ("to", "status", "code"),
    [
        ("2020-01-01T00:00:00Z", 422, "outside_window"),
        ("2099-01-01T00:00:00Z", 422, "outside_window"),
        ("2026-11-21T12:00:00", 422, "invalid_input"),
        ("yesterday", 422, "invalid_input"),
        ("previous", 404, "not_found"),
        ("0b7c1a52-f3aa-4c8d-a021-3b0daf01c7d5", 404, "not_found"),
    ],
)
def test_what_cannot_be_restored_is_refused_at_the_endpoint(
    scenario: Scenario, to: str, status: int, code: str
) -> None:
    answer = scenario.wanted(scenario.databases[-1], to=to)
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
    assert answer.json().get("hint") or answer.json()["errors"]


def test_a_moment_before_the_database_was_made_is_refused(scenario: Scenario) -> None:
    late = scenario.databases[-1]
    answer = scenario.wanted(late, to=scenario.databases[-2]["created_at"])
    assert (answer.status_code, answer.json()["code"]) == (422, "outside_window")
    assert "made at" in answer.json()["detail"]


def test_a_part_of_the_log_that_is_missing_is_reported(scenario: Scenario) -> None:
    archive = scenario.platform.home / "backups/repository/archive/shared-1"
    newest = max(archive.rglob("0*"), key=lambda each: each.name if each.is_file() else "")
    gone = newest.with_name(f"hidden-{newest.name}")
    newest.rename(gone)
    try:
        failed = scenario.ended(scenario.wanted(scenario.databases[3], to="latest"))
    finally:
        gone.rename(newest)
    assert (failed["status"], failed["error"]["code"]) == ("failed", "wal_missing")
    assert newest.name[:24] in failed["error"]["detail"]
    assert scenario.leftovers() == []


def test_a_branch_as_of_a_moment(scenario: Scenario) -> None:
    """Made and reset from the physical backups; its own, and without what came later."""
    parent = scenario.databases[3]
    url = parent["connection_string"]
    with scenario.api as api:
        path = f"/api/databases/{parent['id']}"
        api.post(f"{path}/roles", json={"name": "reads"}).raise_for_status()
        do(url, f"CREATE POLICY own ON orders TO {parent['username']}, PUBLIC USING (true)")
        before = ask(url, CHECKSUM)
        moment = now(parent)
        do(url, "DELETE FROM orders")
        answer = api.post(f"{path}/branches", json={"name": "then", "at": moment})
        done = scenario.ended(answer)
        assert done["status"] == "succeeded", done["error"]
        assert done["result"]["method"] == "restore"
        branch = answer.json()["data"]
        assert ask(branch["connection_string"], CHECKSUM) == before
        owner = "SELECT tableowner FROM pg_tables WHERE schemaname = 'public'"
        assert ask(branch["connection_string"], owner) == branch["username"]
        known = (
            "SELECT count(*) FROM pg_shdepend s JOIN pg_database d ON d.oid = s.dbid"
            " JOIN pg_roles r ON r.oid = s.refobjid WHERE d.datname = current_database()"
            " AND starts_with(r.rolname, %s)"
        )
        with login(branch["connection_string"]) as session:
            assert session.execute(known, (parent["username"],)).fetchone() == (0,)
        assert datetime_of(api, branch) == dt.datetime.fromisoformat(moment)
        do(branch["connection_string"], "INSERT INTO orders (what) VALUES ('mine')")
        reset = api.post(f"{path}/branches/{branch['id']}/reset", json={"at": moment})
        assert scenario.ended(reset)["status"] == "succeeded"
        assert ask(branch["connection_string"], CHECKSUM) == before
        assert ask(url, "SELECT count(*) FROM orders") == 0
        early = api.post(f"{path}/branches", json={"name": "x", "at": "2020-01-01T00:00:00Z"})
        assert (early.status_code, early.json()["code"]) == (422, "outside_window")
        assert scenario.leftovers() == []


def datetime_of(api: httpx.Client, branch: Database) -> dt.datetime:
    found = api.get(f"/api/databases/{branch['id']}").json()["data"]
    return dt.datetime.fromisoformat(found["branched_at"])


def test_a_logical_backup_is_restored_as_new_and_in_place(scenario: Scenario) -> None:
    database = scenario.databases[4]
    url = database["connection_string"]
    with scenario.api as api:
        path = f"/api/databases/{database['id']}"
        role = api.post(f"{path}/roles", json={"name": "reader", "access": "read_only"}).json()
        do(url, f"CREATE POLICY own ON orders TO {role['data']['username']} USING (true)")
        made = scenario.ended(api.post(f"{path}/backups", json={}))
    backup = made["result"]["backup_id"]
    before = ask(url, CHECKSUM)
    do(url, "DROP TABLE orders")

    new = scenario.restored(database, to=backup)
    with scenario.api as api:
        opened = api.post(f"/api/databases/{new['database_id']}/rotate-password").json()["data"]
    assert ask(opened["connection_string"], CHECKSUM) == before
    owners = (
        "SELECT string_agg(DISTINCT tableowner, ',') FROM pg_tables WHERE schemaname = 'public'"
    )
    assert ask(opened["connection_string"], owners) == opened["username"]

    scenario.restored(database, to=backup, **{"as": "in_place"})
    assert ask(url, CHECKSUM) == before
    assert ask(url, owners) == database["username"]
    reader = role["data"]["connection_string"]
    assert int(str(ask(reader, "SELECT count(*) FROM orders"))) > 0
    assert scenario.leftovers() == []


# ── lost rows ────────────────────────────────────────────────────────────────


@pytest.fixture
def console(chromium: Browser, scenario: Scenario) -> Iterator[Page]:
    with browsing(chromium, scenario.platform) as page:
        yield page


def opened(scenario: Scenario, database: Database, moment: str) -> str:
    """The path of the database as it was at a moment."""
    path = f"/api/databases/{database['id']}/past"
    with scenario.api as api:
        done = scenario.ended(api.post(path, json={"to": moment}))
    assert done["status"] == "succeeded", done["error"]
    assert done["result"]["past_id"] == done["id"]
    return f"{path}/{done['id']}"


def count_of(url: str) -> int:
    return int(str(ask(url, "SELECT count(*) FROM orders")))


def looked_back(console: Page, scenario: Scenario, database: Database) -> str:
    """The path of the database as it was before a mark on its timeline, found in the console."""
    path = f"/databases/{database['id']}"
    console.goto(f"{scenario.platform.url}{path}/backups")
    console.get_by_role("link", name="The second before before the deploy").click()
    console.get_by_role("button", name="Look, and compare tables").click()
    # The page shows by itself that it has been restored.
    expect(console.get_by_role("button", name="Compare public.orders")).to_be_visible(
        timeout=90_000
    )
    assert faults(console) == []
    console.get_by_label("SQL, in the database as it was").fill("SELECT what FROM orders\nLIMIT 2")
    console.get_by_role("button", name="Run").click()
    expect(console.get_by_role("table", name="Result").get_by_role("row")).to_have_count(3)
    expect(console.get_by_label("SQL, in the database as it was")).to_have_value(re.compile("LIM"))
    assert faults(console) == []
    action = console.locator("form[action$='/comparisons']").get_attribute("action")
    assert action is not None
    # Without scripts, what is refused stays in the field.
    status, page = console.evaluate(
        """async (path) => {
            const body = new URLSearchParams({ sql: "SELECT nothing_here" });
            const answer = await fetch(path, { method: "POST", body });
            return [answer.status, await answer.text()];
        }""",
        action.replace("/comparisons", "/sql"),
    )
    assert status == 422
    assert "nothing_here</textarea>" in page
    return f"/api{action.removesuffix('/comparisons')}"


def bring_deleted_rows_back(console: Page, rows: int) -> None:
    """Compare a table in the console, and bring back what was deleted."""
    row = console.get_by_role("row", name="public.orders")
    expect(row.get_by_role("cell", name=f"{rows:,}", exact=True)).to_be_visible()
    expect(row.get_by_role("cell", name=f"{rows - 3:,}", exact=True)).to_be_visible()
    row.get_by_role("button", name="Compare public.orders").click()
    console.wait_for_url("**/comparisons/*")
    expect(console.get_by_role("checkbox")).to_have_count(4)
    expect(console.get_by_text("<b>", exact=True)).to_be_visible()
    assert faults(console) == []
    console.on("dialog", lambda asked: asked.accept())
    bring = console.get_by_role("button", name="Bring back", exact=True)
    every = console.get_by_role("radio", name="All 4 that were deleted or changed")
    ticked = console.get_by_role("radio", name="Those that are ticked")
    expect(every).to_be_checked()
    first = console.get_by_role("checkbox", name="Bring back 1", exact=True)
    first.check()
    expect(ticked).to_be_checked()
    first.uncheck()
    expect(every).to_be_checked()
    action = console.locator("form[action$='/bring-back']").get_attribute("action")
    both = """async (path) => {
        const body = new URLSearchParams({ which: "all", "place:1": "on" });
        return (await fetch(path, { method: "POST", body })).status;
    }"""
    assert console.evaluate(both, action) == 422  # as without scripts: one of the two is meant
    ticked.check()
    bring.click()
    expect(console.get_by_role("alert").first).to_contain_text("choose a row")
    for key in (1, 2, 3):
        console.get_by_role("checkbox", name=f"Bring back {key}", exact=True).check()
    bring.click()
    expect(console.get_by_text("3 rows are inserted again, 0 are as they were")).to_be_visible()
    expect(console.get_by_text("is back", exact=True)).to_have_count(3)
    expect(console.get_by_role("checkbox")).to_have_count(1)


def test_only_the_lost_rows_of_a_table_come_back(scenario: Scenario, console: Page) -> None:
    database = scenario.databases[5]
    url = database["connection_string"]
    scenario.platform.tenantry("db", "mark", database["database_name"], "before the deploy")
    before, rows = ask(url, CHECKSUM), count_of(url)
    do(url, "DELETE FROM orders WHERE id <= 3; UPDATE orders SET what = '<b>' WHERE id = 9")
    path = looked_back(console, scenario, database)
    with scenario.api as api:
        [counted] = api.get(f"{path}/tables").json()["data"]
        assert (counted["table"], counted["then"], counted["now"]) == ("orders", rows, rows - 3)
        [sum_] = api.post(f"{path}/sql", json={"sql": CHECKSUM}).json()["data"]["results"]
        assert sum_["rows"] == [[before]]
        limit = {"sql": "SHOW temp_file_limit"}
        live = api.post(f"/api/databases/{database['id']}/sql", json=limit).json()["data"]
        past = api.post(f"{path}/sql", json=limit).json()["data"]
        assert past["results"][0]["rows"] == live["results"][0]["rows"] != [["-1"]]
        written = api.post(f"{path}/sql", json={"sql": "DELETE FROM orders", "read_only": False})
        assert (written.status_code, written.json()["code"]) == (422, "statement_failed")
        assert "only be read" in written.json()["hint"]

        made = api.post(f"{path}/comparisons", json={"table": "orders"}).json()["data"]
        assert made["counts"] == {"deleted": 3, "changed": 1, "added": 0, "same": rows - 4}
        compared = f"{path}/comparisons/{made['id']}"
        assert api.get(compared).json()["data"] == made
        page = api.get(f"{compared}/rows", params={"kind": "changed"}).json()["data"]
        assert page["rows"][0]["then"] == ["9", "order 9"]
        assert page["rows"][0]["now"] == ["9", "<b>"]
        unknown = api.post(f"{path}/comparisons", json={"table": "none"})
        assert (unknown.status_code, unknown.json()["code"]) == (422, "cannot_compare")
        bring_deleted_rows_back(console, rows)
        done = api.post(f"{compared}/bring-back", json={}).json()["data"]
        assert (done["already"], done["updated"], done["skipped"]) == (3, 1, 0)
        assert ask(url, CHECKSUM) == before
        events = api.get(f"/api/databases/{database['id']}/timeline").json()["data"]
        assert [(each["kind"], each["label"]) for each in events] == [
            ("database.bring_back", "public.orders"),
            ("database.bring_back", "public.orders"),
            ("mark", "before the deploy"),
        ]
        early = {"label": "too early", "at": "2020-01-01T00:00:00Z"}
        refused = api.post(f"/api/databases/{database['id']}/marks", json=early)
        assert (refused.status_code, refused.json()["errors"][0]["field"]) == (422, "at")
        logged = api.get("/api/audit-logs", params={"resource_id": database["id"]}).text
        assert "<b>" not in logged
        assert "order 9" not in logged
    said = scenario.platform.tenantry("past", "compare", database["database_name"], "orders")
    assert f"0 deleted, 0 changed, 0 added, {rows:,} the same" in said.stderr
    scenario.platform.tenantry("past", "end", database["database_name"])
    with scenario.api as api:
        assert api.get(f"{path}/tables").status_code == 404
    eventually(lambda: scenario.leftovers() == [])


def test_who_may_look_into_the_past_and_bring_rows_back(scenario: Scenario) -> None:
    database = scenario.databases[6]
    path = opened(scenario, database, now(database))
    with scenario.api as api:
        keys = {}
        for scopes in (["databases:read"], ["data:read"], ["data:write"], ["databases:write"]):
            body = {"name": "k", "scopes": [*scopes]}
            keys[scopes[0]] = api.post("/api/api-keys", json=body).json()["data"]["key"]
        foreign = {"name": "k", "scopes": ["data:read"], "customer_email": "else@example.com"}
        other = api.post("/api/api-keys", json=foreign).json()["data"]["key"]
        made = api.post(f"{path}/comparisons", json={"table": "orders"}).json()["data"]

        def status(key: str, method: str, where: str, body: object = None) -> int:
            headers = {"X-API-Key": key}
            return api.request(method, f"{path}{where}", json=body, headers=headers).status_code

        compared = f"/comparisons/{made['id']}"
        assert status(keys["databases:read"], "GET", "/tables") == 200
        assert status(keys["databases:read"], "POST", "/sql", {"sql": "SELECT 1"}) == 403
        assert status(keys["databases:read"], "GET", f"{compared}/rows") == 403
        assert status(keys["data:read"], "GET", f"{compared}/rows") == 200
        for each in ("data:read", "data:write", "databases:write"):
            assert status(keys[each], "POST", f"{compared}/bring-back", {}) == 403
        assert status(other, "POST", "/sql", {"sql": "SELECT 1"}) == 404
        # Another one takes its place.
        opened(scenario, database, now(database))
        assert status(keys["databases:read"], "GET", "/tables") == 404
        [row] = api.get(f"/api/databases/{database['id']}/past").json()["data"]
        api.delete(f"/api/databases/{database['id']}/past/{row['id']}").raise_for_status()
    eventually(lambda: scenario.leftovers() == [])


def test_tables_are_restored_beside_and_by_their_rows(scenario: Scenario) -> None:
    database = scenario.databases[7]
    url = database["connection_string"]
    do(
        url,
        "CREATE TABLE lines (id int PRIMARY KEY, order_id int REFERENCES orders);"
        " INSERT INTO lines SELECT id, id FROM orders",
    )
    before, rows, moment = ask(url, CHECKSUM), count_of(url), now(database)
    do(url, "TRUNCATE lines; DELETE FROM orders WHERE id > 5; UPDATE orders SET what = 'x'")
    name = database["database_name"]
    said = scenario.platform.tenantry("restore", name, "--to", moment, "--table", "public.orders")
    copied = re.search(rf"(restored_\w+)\.orders has {rows:,} rows", said.stderr)
    assert copied is not None
    assert ask(url, CHECKSUM.replace("orders", f"{copied[1]}.orders")) == before
    result = scenario.restored(
        database, to=moment, tables=["public.lines", "orders"], **{"as": "rows"}
    )
    assert (result["inserted"], result["updated"], result["skipped"]) == (2 * rows - 5, 0, 0)
    # Those that the application has changed since are left as they are.
    assert ask(url, "SELECT count(*) FROM orders WHERE what = 'x'") == 5
    for wrong in ({"to": "latest"}, {"as": "in_place"}, {"name": "new"}, {"tables": ["a.b.c"]}):
        refused = scenario.wanted(database, **{"to": moment, "tables": ["orders"], **wrong})
        assert (refused.status_code, refused.json()["code"]) == (422, "invalid_input")
    with scenario.api as api:
        events = api.get(f"/api/databases/{database['id']}/timeline").json()["data"]
    assert [each["label"] for each in events] == ["public.lines, public.orders", "public.orders"]
    failed = scenario.ended(scenario.wanted(database, to=moment, tables=["none"]))
    assert failed["error"]["code"] == "cannot_compare"
    assert scenario.leftovers() == []


# ── what PostgreSQL accepts, and does not load again ─────────────────────────

RELOADED = [
    "in a generated",
    "in a index",
    "in a materialized view",
    "check with now",
    "check that reads a table",
    "orphans",
    "generated from a table",
    "stale materialized view",
]
LOST = "unique index that is none"


def contents(scenario: Scenario, name: str) -> dict[str, str]:
    with scenario.platform.superuser(dbname=name) as session:
        return inventory(session, is_recovered=True)


def assert_is_copy(
    scenario: Scenario, schema: Schema, before: dict[str, str], result: dict[str, Any], name: str
) -> None:
    changed = [each["object"] for each in result["changed"]]
    foretold = [*schema.changed, *schema.refreshed]
    assert [each for each in changed if not any(part in each for part in foretold)] == []
    assert [part for part in schema.changed if not any(part in each for each in changed)] == []
    assert [each["object"] for each in result["lost"]] == schema.lost
    remarks = [*result["changed"], *result["lost"]]
    assert unaccounted(before, contents(scenario, name), schema, remarks) == []


def test_whatever_ran_is_restored_and_a_drill_goes_the_same_way(scenario: Scenario) -> None:
    """Unqualified names, checks that old rows do not satisfy, what reads other tables."""
    database = scenario.databases[5]
    name, schema = database["database_name"], together(RELOADED)
    with login(database["connection_string"]) as session, scenario.api as api:
        path = f"/api/databases/{database['id']}"
        schema.create(session)
        time.sleep(0.15)  # what is checked against the time is true no more
        before = contents(scenario, name)
        # Somebody is connected, so that it is dumped.
        answer = api.post(f"{path}/branches", json={"name": "dumped"})
        done = scenario.ended(answer)
        assert done["status"] == "succeeded", done["error"]
        assert done["result"]["method"] == "dump"
        branch = answer.json()["data"]["database_name"]
        assert_is_copy(scenario, schema, before, done["result"], branch)
        backup = scenario.ended(api.post(f"{path}/backups", json={}))["result"]["backup_id"]
    new = scenario.restored(database, to=backup)
    assert_is_copy(scenario, schema, before, new, new["database_name"])
    drilled = scenario.platform.tenantry("backup", "drill", name)
    assert "can be restored" in drilled.stderr
    for part in (*schema.changed, *schema.refreshed):
        assert part in drilled.stderr.replace("\n", " ")
    in_place = scenario.restored(database, to="latest", **{"as": "in_place"})
    assert_is_copy(scenario, schema, before, in_place, name)
    assert scenario.leftovers() == []


def test_what_would_be_lost_needs_consent_and_fails_a_drill(scenario: Scenario) -> None:
    database = scenario.databases[6]
    name, schema = database["database_name"], together([LOST])
    (lost,) = schema.lost
    with login(database["connection_string"]) as session:
        schema.create(session)
    before = contents(scenario, name)
    restore = ("restore", name, "--to", "latest", "--as", "in-place", "--yes")

    drilled = scenario.platform.tenantry("backup", "drill", name, check=False)
    assert drilled.returncode == 1
    assert lost in " ".join(drilled.stderr.split())
    failed = scenario.ended(scenario.wanted(database, to="latest", **{"as": "in_place"}))
    assert failed["error"]["code"] == "restore_would_lose"
    assert lost in failed["error"]["detail"]
    assert "could not create unique index" in failed["error"]["detail"]
    assert contents(scenario, name) == before
    with scenario.api as api:
        path = f"/api/databases/{database['id']}"
        assert api.get(f"{path}/replaced").json()["data"] == []
        (proof,) = api.get(f"{path}/proofs").json()["data"]
        assert not proof["passed"]
        assert [each["object"] for each in proof["compared"]["lost"]] == [lost]
    accepted = scenario.platform.tenantry(*restore, "--accept-losses", "--json")
    assert_is_copy(scenario, schema, before, json.loads(accepted.stdout)["result"], name)
    assert scenario.leftovers() == []
