"""Actions of the console that come after the daily ones: each does what the API's route does."""

import datetime as dt
import hashlib
import html
import json
import re
import uuid
from collections.abc import Callable, Iterator

import httpx
import psycopg
import pyotp
import pytest
from playwright.sync_api import FilePayload, Page, expect

from answers import data
from browsing import Visitor, faults, some_name, visiting
from clients import ask, do, eventually
from harness import Installation
from persons import PASSWORD, Person

ORDERS = "CREATE TABLE orders (\n  id bigint PRIMARY KEY);\r\n"


@pytest.fixture
def admin(platform: Installation) -> Iterator[Visitor]:
    with visiting(platform, platform.key) as visitor:
        yield visitor


Send = Callable[..., httpx.Response]


@pytest.fixture
def send(admin: Visitor) -> Send:
    def send(path: str, **form: str) -> httpx.Response:
        return admin.http.post(path, data={"once": uuid.uuid4().hex, **form})

    return send


@pytest.fixture
def path(platform: Installation) -> str:
    return f"/databases/{platform.create(name=some_name())['id']}"


def started(answer: httpx.Response) -> bool:
    return str(answer.headers.get("location", "")).endswith("/operations?done=begun")


def ended(api: httpx.Client, path: str) -> str:
    """How the newest operation of a database has ended."""
    newest: dict[str, str] = {}

    def over() -> bool:
        listed = api.get("/api/operations", params={"resource_id": path.rpartition("/")[2]})
        newest.update(data(listed)[0])
        return newest["finished_at"] is not None

    eventually(over)
    return newest["status"]


def test_tables_are_maintained_and_indexes_created(
    platform: Installation, api: httpx.Client, send: Send
) -> None:
    made = platform.create(name=some_name())
    path = f"/databases/{made['id']}"
    do(made["connection_string"], 'CREATE TABLE orders (id int PRIMARY KEY, "a b" text)')
    asked = {"table": "public.orders", "columns": "a b, id", "method": "btree", "unique": "true"}
    assert started(send(f"{path}/indexes", **asked))
    assert ended(api, path) == "succeeded"
    definition = "SELECT pg_get_indexdef('\"orders_a b_id_idx\"'::regclass)"
    assert 'UNIQUE INDEX "orders_a b_id_idx"' in str(ask(made["connection_string"], definition))
    assert send(f"{path}/indexes", **asked | {"columns": " , "}).status_code == 422
    assert send(f"{path}/reindex").status_code == 422
    assert started(send(f"{path}/reindex", table="public.orders"))
    assert ended(api, path) == "succeeded"
    assert send(f"{path}/queries/reset").headers["location"].endswith("?done=counted-again")
    for form in ({}, {"end_clients": "yes"}):
        answer = send(f"{path}/pool/reconnect", **form)
        assert answer.headers["location"].endswith("/sessions?done=reconnected")


def test_a_whole_allowlist_is_replaced_after_what_it_changes_was_shown(
    platform: Installation, api: httpx.Client, admin: Visitor, send: Send
) -> None:
    made = platform.create(name=some_name())
    path = f"/databases/{made['id']}"
    listed = f"/api{path}/whitelist"
    data(api.post(listed, json={"ip_address": "198.51.100.7", "description": "home"}), 201)
    assert "198.51.100.7/32 # home\n" in html.unescape(admin.page(f"{path}/access"))
    text = (
        "203.0.113.0/24 2031-01-31T12:00:00Z # it's the office\r\n\r\n198.51.100.7 # our home\r\n"
    )
    wrong = send(f"{path}/whitelist/preview", entries="198.51.100.7\r\nlocalhost")
    assert (wrong.status_code, "Entries: line 2: is neither" in wrong.text) == (422, True)
    shown = html.unescape(send(f"{path}/whitelist/preview", entries=text).text)
    assert "<td>added</td>" in shown
    assert "<del>home</del> <ins>our home</ins>" in shown
    assert "which is not on the list" in shown
    assert [each["description"] for each in data(api.get(listed))] == ["home"]
    (version,) = re.findall(r'name="version" value="(\w+)"', shown)
    (entries,) = re.findall(r'name="entries" value="([^"]+)"', shown)
    data(api.post(listed, json={"ip_address": "192.0.2.1"}), 201)
    form = {"version": version, "entries": entries}
    assert send(f"{path}/whitelist/replace", **form).status_code == 409
    again = send(f"{path}/whitelist/preview", entries=entries).text
    assert "<td>removed</td>" in again
    (form["version"],) = re.findall(r'name="version" value="(\w+)"', again)
    answer = send(f"{path}/whitelist/replace", **form)
    assert answer.headers["location"] == f"{path}/access?done=list-replaced"
    assert {each["ip_address"]: each["description"] for each in data(api.get(listed))} == {
        "198.51.100.7/32": "our home",
        "203.0.113.0/24": "it's the office",
    }
    assert "nothing changes" in send(f"{path}/whitelist/preview", entries=entries).text
    assert "every address is admitted" in send(f"{path}/whitelist/preview").text


def test_an_allowlist_is_replaced_in_a_browser(platform: Installation, page: Page) -> None:
    made = platform.create(name=some_name())
    page.goto(f"{platform.url}/databases/{made['id']}/access")
    page.get_by_text("Replace the whole list", exact=True).first.click()
    entries = page.get_by_label("Entries, one in each line")
    entries.fill("203.0.113.0/24 # office\nlocalhost\n")
    show = page.get_by_role("button", name="Show what changes")
    show.click()
    expect(page.get_by_text("Entries: line 2: is neither an address")).to_be_visible()
    assert faults(page) == []
    entries.fill("203.0.113.0/24 # office\n192.0.2.7\n")
    with psycopg.connect(made["connection_string"], autocommit=True) as session:
        session.execute("SELECT 1")
        show.click()
        dialog = page.get_by_role("dialog")
        ending = dialog.get_by_role("row").filter(has_text=made["username"])
        expect(ending).to_contain_text("127.0.0.1")
        assert faults(page) == []
        dialog.get_by_role("button", name="Replace it").click()
        expect(page.get_by_text("The allowlist was replaced")).to_be_visible()
        with pytest.raises(psycopg.OperationalError):
            session.execute("SELECT 1")
    expect(page.get_by_role("table", name="Admitted addresses")).to_contain_text("192.0.2.7/32")


def test_backups_are_scheduled_and_verified(
    api: httpx.Client, admin: Visitor, send: Send, path: str
) -> None:
    schedule = {
        "every": "week",
        "hour": "5",
        "format": "plain",
        "keep_count": "3",
        "keep_days": "9",
    }
    assert "that of its environment" in admin.page(f"{path}/backups")
    assert send(f"{path}/backups/schedule", **schedule | {"hour": "24"}).status_code == 422
    assert send(f"{path}/backups/schedule", **schedule).status_code == 303
    assert "its own" in admin.page(f"{path}/backups")
    found = data(api.get(f"/api{path}/backups/schedule"))
    assert (found["every"], found["hour"], found["keep_manual_days"]) == ("week", 5, None)
    assert send(f"{path}/backups/schedule/remove").status_code == 303
    assert "that of its environment" in admin.page(f"{path}/backups")
    before = data(api.get("/api/backup-defaults"))
    try:
        assert send("/backup-schedules/development", **schedule).status_code == 303
        assert "on Sundays at 05:00 UTC; the newest 3" in admin.page("/backup-schedules")
    finally:
        (usual,) = [each for each in before if each.pop("environment") == "development"]
        api.put("/api/backup-defaults/development", json=usual)
    assert started(send(f"{path}/backups"))
    assert ended(api, path) == "succeeded"
    (verify,) = re.findall(r'action="([^"]+/verify)"', admin.page(f"{path}/backups"))
    assert started(send(verify))
    assert ended(api, path) == "succeeded"


def test_marks_are_deleted(api: httpx.Client, send: Send, path: str) -> None:
    assert send(f"{path}/marks", label="deploy").status_code == 303
    (mark,) = data(api.get(f"/api{path}/marks"))
    assert send(f"{path}/marks/{mark['id']}/delete").headers["location"].endswith("done=unmarked")
    assert data(api.get(f"/api{path}/marks")) == []
    assert send(f"{path}/marks/{mark['id']}/delete").status_code == 404


def test_files_are_run_as_they_are(
    platform: Installation, api: httpx.Client, page: Page, send: Send, admin: Visitor
) -> None:
    owner = f"{some_name()}@example.com"
    made = platform.create(name=some_name(), ownerEmail=owner)
    path = f"/databases/{made['id']}"
    files: list[FilePayload] = [
        {"name": name, "mimeType": "application/sql", "buffer": sql.encode()}
        for name, sql in {
            "0001_orders.up.sql": ORDERS,
            "0001_orders.down.sql": "DROP TABLE orders",
        }.items()
    ]
    page.goto(f"{platform.url}{path}/migrations")
    latin: FilePayload = {
        "name": "0002_x.up.sql",
        "mimeType": "application/sql",
        "buffer": b"SELECT '\xfc'",
    }
    page.get_by_label("Files", exact=True).set_input_files([*files, latin])
    expect(page.get_by_text("0002_x.up.sql is no text in UTF-8")).to_be_visible()
    expect(page.locator("input[name^='file:']")).to_have_count(0)
    page.get_by_label("Files", exact=True).set_input_files(files)
    expect(page.get_by_text("0001_orders.up.sql, 0001_orders.down.sql")).to_be_visible()
    assert faults(page) == []
    page.get_by_role("button", name="Migrate", exact=True).click()
    page.wait_for_url("**/operations?done=begun")
    assert ended(api, path) == "succeeded"
    assert "Version 1<" in admin.page(f"{path}/migrations")
    # The command's sum of the same file is the same: nothing was changed on the way.
    sent = [{"name": "0001_orders.up.sql", "sql": ORDERS}]
    done = data(api.post(f"/api{path}/migrations", json={"files": sent}), 202)
    eventually(lambda: data(api.get(f"/api/operations/{done['id']}"))["status"] == "succeeded")

    more = {"file:0001_orders.up.sql": ORDERS, "file:0002_notes.up.sql": "SELECT 1"}
    wanted = {"owner_email": owner, "canary": "1", "parallel": "2", "max_failures": "0"}
    answer = send("/migrations", **more, **wanted)
    assert answer.status_code == 200  # nothing is run yet: it is said where it would be
    assert "<strong>1 database</strong>" in answer.text
    box = f"database:{made['id']}"
    assert f'name="{box}" value="yes" checked' in answer.text
    wanted |= {"listed": "yes", "confirmed": "yes"}
    assert send("/migrations", **more, **wanted).status_code == 422  # none is ticked
    page.goto(f"{platform.url}/migrations")
    notes: FilePayload = {"name": "0002_notes.up.sql", "mimeType": "x/y", "buffer": b"SELECT 1"}
    page.get_by_label("Files", exact=True).set_input_files([*files, notes])
    expect(page.get_by_text("0002_notes.up.sql")).to_be_visible()
    page.get_by_label("Owner's e-mail; empty: any").fill(owner)
    page.get_by_role("button", name="Show which databases").click()
    expect(page.get_by_role("checkbox", name=made["name"])).to_be_checked()
    assert faults(page) == []
    page.get_by_role("button", name="Migrate it", exact=True).click()
    page.wait_for_url(re.compile(r"/migrations/[0-9a-f-]{36}$"))
    run = page.url.removeprefix(platform.url)
    eventually(lambda: "every 2s" not in admin.page(run))
    assert made["name"] in admin.page(f"{run}?status=succeeded")
    assert "Version 2<" in admin.page(f"{path}/migrations")


def test_a_file_is_typed(api: httpx.Client, send: Send, path: str) -> None:
    typed = {"file_name": "0001_notes.up.sql", "sql": "CREATE TABLE notes (id int);\r\n"}
    assert started(send(f"{path}/migrations", action="up", **typed))
    assert ended(api, path) == "succeeded"
    (file,) = data(api.get(f"/api{path}/migrations"))["applied"]
    assert file["sha256"] == hashlib.sha256(b"CREATE TABLE notes (id int);\n").hexdigest()
    wrong = typed | {"file_name": "notes.sql"}
    assert send(f"{path}/migrations", action="up", **wrong).status_code == 422


def test_a_blueprint_is_applied_and_compared(
    platform: Installation, api: httpx.Client, admin: Visitor, send: Send, path: str
) -> None:
    assert "This database has no blueprint" in admin.page(f"{path}/blueprint")
    assert "todos" in admin.page("/blueprints")
    assert "Versions, newest first" in admin.page("/blueprints/todos")
    assert "There is no blueprint" in admin.page("/blueprints/nothing", 404)
    answer = send(f"{path}/blueprint", blueprint="todos", version="1", seeds="development")
    assert started(answer) or "Password of" in answer.text
    assert ended(api, path) == "succeeded"
    shown = admin.page(f"{path}/blueprint/diff")
    assert "is as the blueprint has it" in shown
    made = data(api.get(f"/api{path}"))
    with platform.superuser(dbname=made["database_name"]) as server:
        server.execute("ALTER TABLE api.todos ADD COLUMN own_column int")
    assert "own_column" in admin.page(f"{path}/blueprint/diff")


def test_a_blueprint_of_ones_own_is_sent(
    platform: Installation, api: httpx.Client, page: Page, send: Send, path: str
) -> None:
    folder = {
        "blueprint.toml": 'title = "Mine"\ndescription = "a"\n'
        '[[versions]]\nmigration = 1\nsummary = "a"\n',
        "migrations/000001_a.up.sql": "CREATE TABLE a (i int);",
        "migrations/000001_a.down.sql": "DROP TABLE a;",
    }
    asked = {f"file:{name}": text for name, text in folder.items()}
    refused = send(f"{path}/blueprint", blueprint="mine", **{"file:x.sql": "SELECT 1"})
    assert "has no file blueprint.toml" in refused.text
    answer = send(f"{path}/blueprint", blueprint="mine", **asked)
    assert started(answer), answer.text
    assert ended(api, path) == "succeeded"
    page.goto(f"{platform.url}{path}/blueprint/diff")
    expect(page.get_by_text("is as the blueprint has it")).to_be_visible()
    assert faults(page) == []


def test_what_a_branch_has_changed_is_shown(
    platform: Installation, api: httpx.Client, admin: Visitor, page: Page
) -> None:
    made = platform.create(name=some_name())
    do(made["connection_string"], "CREATE TABLE orders (id int, old int)")
    path = f"/api/databases/{made['id']}/branches"
    branch = data(api.post(path, json={"name": some_name()}), 202)
    eventually(lambda: data(api.get(f"/api/databases/{branch['id']}"))["status"] == "active")
    difference = f"/databases/{made['id']}/branches/{branch['id']}/diff"
    eventually(lambda: "both have the same schema" in admin.page(difference))
    changes = "ALTER TABLE orders DROP COLUMN old, ALTER COLUMN id SET NOT NULL"
    do(branch["connection_string"], changes)
    do(branch["connection_string"], "CREATE INDEX orders_id ON orders (id)")
    found = {each["name"]: each for each in data(api.get(f"{path}/{branch['id']}/diff"))}
    assert found["public.orders.old"]["status"] == "removed"
    assert found["public.orders.old"]["branch"] is None
    assert found["public.orders.id"]["status"] == "changed"
    assert found["public.orders_id"]["status"] == "added"
    said = platform.tenantry("branch", "diff", branch["id"])
    assert "public.orders_id" in said.stdout
    page.goto(f"{platform.url}{difference}")
    expect(page.get_by_text("public.orders.old")).to_be_visible()
    assert faults(page) == []
    other = platform.create(name=some_name())["id"]
    assert api.get(f"/api/databases/{other}/branches/{branch['id']}/diff").status_code == 404


def test_an_authenticator_is_set_up_and_removed(
    platform: Installation, people: Callable[..., Person]
) -> None:
    person = people()
    with visiting(platform) as visitor:
        visitor.enter(email=person.email, password=PASSWORD, next="/account")

        def send(path: str, **form: str) -> httpx.Response:
            return visitor.http.post(path, data={"once": uuid.uuid4().hex, **form})

        assert "none: the password is enough" in visitor.page("/account")
        assert send("/account/totp", password="wrong").status_code == 401
        shown = send("/account/totp", password=PASSWORD).text
        assert 'role="img"' in shown
        secret = re.search(r'id="secret-1"[^>]* value="(\w+)"', shown)
        assert secret
        assert f"secret={secret[1]}" in html.unescape(shown)
        assert send("/account/totp/confirm", code="000000").status_code == 422
        shown = send("/account/totp/confirm", code=pyotp.TOTP(secret[1]).now()).text
        assert "Each login needs a code now" in shown
        page = visitor.page("/account")
        assert "10 recovery codes are left" in page
        assert "Your new recovery codes" in send("/account/recovery-codes", password=PASSWORD).text
        code = pyotp.TOTP(secret[1]).at(dt.datetime.now(dt.UTC), counter_offset=1)
        answer = send("/account/totp/remove", password=PASSWORD, code=code)
        assert answer.headers["location"] == "/account?done=totp-off"


def test_an_authenticator_is_set_up_in_a_dialog(
    platform: Installation, page: Page, people: Callable[..., Person]
) -> None:
    person = people()
    page.get_by_role("button", name="Sign out").click()
    page.get_by_label("E-mail").fill(person.email)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    page.goto(f"{platform.url}/account")
    assert faults(page) == []
    page.locator("#totp-password").fill(PASSWORD)
    page.get_by_role("button", name="Set up an authenticator").click()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_role("img", name="QR code")).to_be_visible()
    assert faults(page) == []
    secret = dialog.get_by_label("Secret", exact=True).input_value()
    dialog.get_by_label("Code that it shows now").fill(pyotp.TOTP(secret).now())
    dialog.get_by_role("button", name="Turn it on").click()
    expect(dialog.get_by_label("Recovery codes", exact=True)).to_be_visible()
    assert faults(page) == []
    dialog.get_by_role("link", name="Done").click()
    expect(page.get_by_text("10 recovery codes are left")).to_be_visible()
    assert faults(page) == []


def test_the_audit_log_is_exported_as_it_is_filtered(api: httpx.Client, admin: Visitor) -> None:
    api.post("/api/api-keys", json={"name": some_name(), "scopes": ["databases:read"]})
    export = re.search(r'href="(/audit/export[^"]*)"', admin.page("/audit?action=api_key.create"))
    assert export
    answer = admin.http.get(html.unescape(export[1]))
    assert answer.headers["content-type"] == "application/x-ndjson"
    rows = [json.loads(line) for line in answer.text.splitlines()]
    assert {each["action"] for each in rows} == {"api_key.create"}
    wanted = {"action": "api_key.create"}
    assert answer.text == api.get("/api/audit-logs/export", params=wanted).text
    assert admin.http.get("/audit/export?action=nothing").status_code == 422


def test_only_what_does_not_end_is_abandoned(api: httpx.Client, send: Send, path: str) -> None:
    assert started(send(f"{path}/analyze"))
    assert ended(api, path) == "succeeded"
    (operation,) = data(api.get("/api/operations", params={"resource_id": path[-36:]}))
    assert send(f"/operations/{operation['id']}/abandon").status_code == 409
    assert send(f"/operations/{uuid.uuid4()}/abandon").status_code == 404
