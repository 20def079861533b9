"""The console, as a browser gets it: most of it as HTTP, and the rest in Chromium."""

import datetime as dt
import html
import re
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import psycopg
import pyotp
import pytest
from playwright.sync_api import FilePayload, Page, expect

from answers import data, problem
from browsing import COOKIE, TABS, Visitor, faults, some_name, visiting
from clients import ask, do, eventually
from harness import Installation
from persons import PASSWORD, Person, make_user, some_email

PAGES = (
    "/databases",
    "/operations",
    "/migrations",
    "/blueprints",
    "/blueprints/todos",
    "/backup-schedules",
    "/alerts",
    "/alerts/channels",
    "/plans",
    "/sites",
    "/cache-prices",
    "/platform",
    "/clusters",
    "/users",
    "/customers",
    "/keys",
    "/audit",
    "/account",
)
SCRIPT = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>"
# Whether the list of databases may be asked for again.
ASKS = """document.dispatchEvent(new CustomEvent("htmx:beforeRequest", {
    cancelable: true, detail: { elt: document.querySelector("#list"), xhr: {} } }))"""
PHONE = 390  # pixels
# What a card on a phone hides or squeezes: all but rows of a customer's table, which scroll.
CUT_OFF = """[...document.querySelectorAll("main :is(.card, dl, form, .foot) *")]
    .filter((each) => each.checkVisibility() && !each.closest("[tabindex], .sr, svg, option, .sql"))
    .filter((each) => {
        const { left, right, width } = each.getBoundingClientRect();
        return left < 0 || right > innerWidth || (each.matches("tbody th") && width < 100);
    })
    .map((each) => each.outerHTML.slice(0, 200))"""


def string_in(page: str) -> str:
    found = re.search(r'<textarea id="string"[^>]*>([^<]*)</textarea>', page)
    assert found
    return html.unescape(found[1])


@pytest.fixture
def admin(platform: Installation) -> Iterator[Visitor]:
    with visiting(platform, platform.key) as visitor:
        yield visitor


# ── the way in ───────────────────────────────────────────────────────────────


def test_a_browser_is_led_to_the_console_and_a_program_is_not(platform: Installation) -> None:
    with visiting(platform) as visitor:
        answer = visitor.http.get("/")
        assert (answer.status_code, answer.headers["location"]) == (303, "/sign-in")
        problem(visitor.http.get("/", headers={"Accept": "application/json"}), 404)
        assert "Sign in" in visitor.page("/sign-in")
        answer = visitor.http.get("/databases?search=a")
        assert answer.headers["location"] == "/sign-in?next=%2Fdatabases%3Fsearch%3Da"


def test_what_does_not_exist_is_a_page_for_browsers_only(platform: Installation) -> None:
    with visiting(platform) as visitor:
        assert "This page does not exist" in visitor.page("/nowhere", 404)
        problem(visitor.http.get("/api/nowhere"), 404)
        problem(platform.get("/nowhere"), 404)


def test_signing_in_with_a_key_gives_a_cookie_for_the_console_alone(
    platform: Installation, api: httpx.Client
) -> None:
    with visiting(platform) as visitor:
        answer = visitor.enter(api_key=platform.key, next="/operations")
        assert (answer.status_code, answer.headers["location"]) == (303, "/operations")
        found = COOKIE.match(answer.headers["set-cookie"])
        assert found
        attributes = {each.lower() for each in found[2].split("; ")}
        assert attributes == {"httponly", "path=/", "samesite=lax", "secure"}
        assert platform.key not in answer.headers["set-cookie"]
        assert "Operations" in visitor.page("/operations")
        problem(visitor.http.get("/api/databases"), 401)
    (entry, *_) = data(api.get("/api/audit-logs?action=login&result=ok"))
    assert entry["resource_kind"] == "api_key"
    assert (entry["details"], entry["resource_id"]) == ({"method": "console"}, entry["actor_id"])


def test_a_wrong_key_opens_nothing(platform: Installation) -> None:
    with visiting(platform) as visitor:
        answer = visitor.enter(api_key="tnt_" + "0" * 64)
        assert answer.status_code == 401
        assert "set-cookie" not in answer.headers
        assert visitor.enter(email="", password="").status_code == 422
        answer = visitor.enter(email="tnt_" + "1" * 64, password="x")  # a key in the first field
        assert (answer.status_code, "111" in answer.text) == (401, False)
        assert visitor.http.get("/databases").headers["location"].startswith("/sign-in")


def test_a_script_is_led_to_the_way_in_when_the_session_has_ended(platform: Installation) -> None:
    with visiting(platform) as visitor:
        sent = {"HX-Request": "true", "HX-Current-URL": f"{platform.url}/operations?status=failed"}
        answer = visitor.http.get("/operations", headers=sent)
        assert answer.status_code == 204
        assert answer.headers["hx-redirect"] == "/sign-in?next=%2Foperations%3Fstatus%3Dfailed"


def test_signing_in_leads_to_no_other_site(platform: Installation) -> None:
    with visiting(platform) as visitor:
        answer = visitor.enter(api_key=platform.key, next="//evil.example/")
        assert answer.headers["location"] == "/"


def test_a_user_signs_in_with_a_code_and_signs_out(
    platform: Installation, people: Callable[..., Person]
) -> None:
    person = people()
    user = person.come_in()
    secret = data(user.post("/api/auth/totp", json={"password": PASSWORD}))["secret"]
    data(user.post("/api/auth/totp/confirm", json={"code": pyotp.TOTP(secret).now()}))
    with visiting(platform) as visitor:
        answer = visitor.enter(email=person.email, password="wrong", next="/account")
        assert answer.status_code == 401
        assert person.email in answer.text  # what was typed is kept, but for the password
        answer = visitor.enter(email=person.email, password=PASSWORD, next="/account")
        challenge = re.search(r'name="challenge" value="([^"]+)"', answer.text)
        assert challenge
        following = {"challenge": challenge[1], "next": "/account"}
        assert visitor.enter("/sign-in/code", code="000000", **following).status_code == 401
        # A code counts once: the next one is that of half a minute later.
        code = pyotp.TOTP(secret).at(dt.datetime.now(dt.UTC), counter_offset=1)
        answer = visitor.enter("/sign-in/code", code=code, **following)
        assert answer.headers["location"] == "/account"
        assert person.email in visitor.page("/account")
        changed = {"current_password": PASSWORD, "new_password": f"{PASSWORD} and more"}
        answer = visitor.http.post("/account/password", data=changed)
        assert answer.headers["location"] == "/account?done=password-changed"
        kept = visitor.http.headers["Cookie"]
        assert visitor.enter("/sign-out").headers["location"] == "/sign-in"
        visitor.http.headers["Cookie"] = kept
        answer = visitor.http.get("/account")
        assert answer.headers["location"] == "/sign-in?next=%2Faccount"


@pytest.mark.parametrize("site", ["cross-site", "same-site", "none"])
def test_a_form_of_another_site_does_nothing(api: httpx.Client, admin: Visitor, site: str) -> None:
    name = some_name()
    admin.http.headers["Sec-Fetch-Site"] = site
    assert admin.create(name).status_code == 403
    del admin.http.headers["Sec-Fetch-Site"]
    assert admin.create(name).status_code == 403
    admin.http.headers["Origin"] = "https://evil.example"
    assert admin.create(name).status_code == 403
    assert data(api.get("/api/databases", params={"search": name})) == []


# ── databases ────────────────────────────────────────────────────────────────


def test_a_form_that_is_sent_twice_creates_one_database(
    platform: Installation, api: httpx.Client, admin: Visitor
) -> None:
    name, once = some_name(), uuid.uuid4().hex
    first, second = (admin.create(name, once) for _ in range(2))
    assert (first.status_code, second.status_code) == (200, 200)
    string = string_in(first.text)
    assert string_in(second.text) == string
    with psycopg.connect(string) as session:
        assert session.info.user in string
    (row,) = data(api.get("/api/databases", params={"search": name}))
    assert row["environment"] == "staging"
    password = string.split(":")[2].split("@")[0]
    for tab in TABS:
        assert password not in admin.page(f"/databases/{row['id']}{tab}")
    assert password not in admin.page(f"/databases/{row['id']}/connect")
    assert password not in (platform.home / "logs" / "tenantry.log").read_text()


def test_what_is_wrong_is_said_in_place(admin: Visitor) -> None:
    answer = admin.create("Not A Name")
    assert answer.status_code == 422
    assert "<strong>Name</strong> may hold lower-case letters" in answer.text
    assert answer.headers["x-request-id"] in answer.text
    admin.http.headers["HX-Request"] = "true"
    answer = admin.create("Not A Name")
    assert (answer.status_code, answer.text.lstrip()[:5]) == (422, "<div ")


def test_a_new_customer_needs_consent(admin: Visitor) -> None:
    owner = f"{some_name()}@example.com"
    answer = admin.create(some_name(), owner_email=owner)
    assert (answer.status_code, owner in answer.text) == (422, True)
    assert admin.create(some_name(), owner_email=owner, new_customer="yes").status_code == 200


def test_pages_follow_each_other_and_filters_stay_in_the_address(
    platform: Installation, admin: Visitor
) -> None:
    word = some_name()
    for place in ("production", "staging", "development"):
        platform.create(name=word, environment=place)
    first = admin.page(f"/databases?search={word}&limit=2")
    shown = first.partition("<tbody>")[2]
    assert ("development" in shown, "production" in shown) == (True, False)
    following = re.search(r'rel="next" href="([^"]+)"', first)
    assert following
    second = admin.page(html.unescape(following[1])).partition("<tbody>")[2]
    assert ("production" in second, "staging" in second) == (True, False)
    only = admin.page(f"/databases?search={word}&environment=staging").partition("<tbody>")[2]
    assert ("staging" in only, "production" in only) == (True, False)
    assert "Nothing matches" in admin.page(f"/databases?search={word}x")
    made = admin.create(f"{word}-2", tags=f"Team-A, {word}")
    assert made.status_code == 200
    listed = admin.page(f"/databases?search={word}&limit=1")
    assert f'href="/databases?search={word}&amp;tag={word}"' in listed
    tagged = admin.page(f"/databases?tag={word}&tag=team-a")
    assert f'<input type="hidden" name="tag" value="{word}">' in tagged
    assert f'href="/databases?tag=team-a" aria-label="Also without the tag {word}"' in tagged
    assert f">{word}-2</a>" in tagged
    assert "Nothing matches" in admin.page(f"/databases?tag={word}&tag=other")
    assert admin.page("/databases?tag=Other", 422)
    assert admin.page("/databases?environment=other", 422)


def test_nothing_that_somebody_typed_becomes_part_of_a_page(
    platform: Installation, api: httpx.Client, admin: Visitor
) -> None:
    made = platform.create(friendlyName=SCRIPT)
    path = f"/databases/{made['id']}"
    entry = {"ip_address": "127.0.0.0/8", "description": SCRIPT}
    data(api.post(f"/api{path}/whitelist", json=entry), 201)
    with psycopg.connect(made["connection_string"], autocommit=True) as session:
        session.execute('CREATE TABLE "<script>alert(1)</script>" (id int)')
        session.execute("SELECT '<script>alert(1)</script>'")
        seen = [admin.page(f"{path}{tab}") for tab in TABS]
    seen += [admin.page(f"{path}/{dialog}") for dialog in ("connect", "delete", "rotate-password")]
    seen += [admin.page("/databases"), admin.page(f"/databases?search={SCRIPT[:30]}")]
    seen += [admin.page(f"/{SCRIPT.replace('/', '')}", 404), admin.page(f"/sign-in?next={SCRIPT}")]
    for page in seen:
        assert "<script>" not in page
        assert "<img src=x" not in page
    assert "&lt;script&gt;" in seen[0]


def test_a_customer_sees_and_does_nothing_foreign(
    platform: Installation, api: httpx.Client
) -> None:
    name = some_name()
    foreign = platform.create(name=name, ownerEmail=f"{name}@example.com")
    path = f"/databases/{foreign['id']}"
    asked = {
        "name": "own",
        "scopes": [
            "audit:read",
            *(
                f"{what}:{verb}"
                for what in ("databases", "backups", "data")
                for verb in ("read", "write")
            ),
        ],
        "customerEmail": f"other-{name}@example.com",
    }
    key = data(api.post("/api/api-keys", json=asked), 201)["key"]
    with visiting(platform, key) as visitor:
        for sort in ("", "size", "cpu", "used", "unused"):
            assert name not in visitor.page(f"/databases?sort={sort}")
        rows = "/rows?schema=public&table=orders"
        for tab in (*TABS, "/connect", "/delete", "/rotate-password", rows):
            visitor.page(f"{path}{tab}", 404)
        once = {"once": uuid.uuid4().hex}
        for verb, form in (
            ("rotate-password", {}),
            ("delete", {"typed": name}),
            ("whitelist", {"ip_address": "10.0.0.1"}),
            ("roles", {"name": "reporting"}),
            ("backups", {}),
            ("import", {"from_": "postgresql://a:b@127.0.0.1/c"}),
            ("import/preview", {"from_": "postgresql://a:b@127.0.0.1/c"}),
            ("logs/settings", {"statements": "all"}),
            ("extensions", {"name": "pg_trgm"}),
            ("data-api", {"schemas": "public"}),
            ("data-api/tokens", {}),
            ("data-api/rotate", {}),
            ("data-api/disable", {}),
            ("alerts", {"disk_percent": "7"}),
            ("branches", {"name": "b"}),
            ("masking", {"sql": "SELECT 1"}),
            ("promote", {}),
            ("sql", {"sql": "SELECT 1", "read_only": "yes"}),
            ("sql", {"sql": "DROP TABLE orders"}),
            ("advice/mute", {"code": "unused_index", "object": "public.t"}),
        ):
            answer = visitor.http.post(f"{path}/{verb}", data={**once, **form})
            assert answer.status_code == 404, (verb, answer.text)
    assert data(api.get(f"/api{path}"))["status"] == "active"


def test_who_may_only_read_is_offered_no_changes(platform: Installation, api: httpx.Client) -> None:
    made = platform.create(name=some_name())
    asked = {"name": "reads", "scopes": ["databases:read"]}
    key = data(api.post("/api/api-keys", json=asked), 201)["key"]
    with visiting(platform, key) as visitor:
        assert "Create database" not in visitor.page("/databases")
        page = visitor.page(f"/databases/{made['id']}/settings")
        assert "Rotate password" not in page
        assert "Delete" not in page
        assert "Backups" not in page
        visitor.page(f"/databases/{made['id']}/backups", 403)
        assert visitor.create(some_name()).status_code == 403


def test_limits_and_names_are_changed(
    platform: Installation, api: httpx.Client, admin: Visitor
) -> None:
    made = platform.create(name=some_name(), environment="staging")
    path, name = f"/databases/{made['id']}", some_name()
    shown = {"name": made["name"], "environment": "staging"}
    form = shown | {f"was_{field}": value for field, value in shown.items()} | {"once": "1"}
    refused = admin.http.post(f"{path}/settings", data=form)
    assert (refused.status_code, "names nothing to change" in refused.text) == (422, True)
    form |= {"name": name, "disk_gib": "7", "once": "2"}
    assert admin.http.post(f"{path}/settings", data=form).headers["location"].endswith("=updated")
    row = data(api.get(f"/api{path}"))
    assert (row["name"], row["friendly_name"], row["environment"]) == (name, name, "staging")
    assert "7 GiB" in admin.page(f"{path}/settings")
    emptied = {"was_disk_gib": "7", "friendly_name": "Bäckerei Müller", "once": "3"}
    assert admin.http.post(f"{path}/settings", data=emptied).status_code == 303
    assert data(api.get(f"/api{path}"))["limits"] == made["limits"]
    found = admin.page("/databases?search=bäckerei&sort=size").partition("<tbody>")[2]
    assert ("Bäckerei Müller" in found, name in found) == (True, True)
    renamed = {"name": name, "was_friendly_name": "Bäckerei Müller", "was_name": name, "once": "4"}
    assert admin.http.post(f"{path}/settings", data=renamed).status_code == 303
    assert data(api.get(f"/api{path}"))["friendly_name"] == name


def test_a_database_has_a_blueprint_from_its_first_moment(
    api: httpx.Client, admin: Visitor
) -> None:
    name = some_name()
    refused = admin.create(name, seeds="development")
    assert (refused.status_code, "none is named" in refused.text) == (422, True)
    answer = admin.create(name, blueprint="todos", seeds="development", friendly_name="To do")
    assert answer.status_code == 200, answer.text
    assert "It has the blueprint&#39;s schema." in answer.text
    assert ask(string_in(answer.text), "SELECT to_regclass('api.todos') IS NOT NULL")
    (row,) = data(api.get("/api/databases", params={"search": name}))
    assert (row["friendly_name"], row["blueprint"]["name"]) == ("To do", "todos")


def test_databases_are_shown_in_the_order_of_what_they_take(
    platform: Installation, admin: Visitor
) -> None:
    word = some_name()
    for each in range(3):
        platform.create(name=f"{word}-{each}")
    for sort in ("size", "cpu", "used", "unused"):
        address = f"/databases?search={word}&sort={sort}"
        page = admin.page(f"{address}&limit=2")
        assert page.partition("<tbody>")[2].count('<th scope="row">') == 2
        following = re.search(r'rel="next" href="([^"]+)"', page)
        assert following
        page = admin.page(html.unescape(following[1]))
        assert page.partition("<tbody>")[2].count('<th scope="row">') == 3
        assert ("CPU ↓" in page) == (sort == "cpu")
    admin.page("/databases?sort=name", 422)


def test_a_database_is_deleted_only_by_its_name(platform: Installation, admin: Visitor) -> None:
    made = platform.create(name=some_name())
    path = f"/databases/{made['id']}"
    answer = admin.http.post(f"{path}/delete", data={"typed": "another", "once": "1"})
    assert (answer.status_code, "nothing was done" in answer.text) == (422, True)
    answer = admin.http.post(f"{path}/delete", data={"typed": made["name"], "once": "1"})
    assert answer.headers["location"].startswith("/databases?done=delet")


def test_a_removed_address_says_whose_sessions_end(
    platform: Installation, api: httpx.Client, admin: Visitor
) -> None:
    made = platform.create(name=some_name())
    path = f"/databases/{made['id']}"
    for address in ("127.0.0.1", "198.51.100.7"):
        data(api.post(f"/api{path}/whitelist", json={"ip_address": address}), 201)
    removals = re.findall(
        rf'action="({path}/whitelist/[^"]+/remove)"', admin.page(f"{path}/access")
    )
    with psycopg.connect(made["connection_string"]):
        asked = [admin.page(each) for each in removals]
    said = sorted(re.findall(r"<p>(Removing it ends .*?)</p>", "".join(asked)))
    assert said == [
        "Removing it ends 1 session of those that are open now.",
        "Removing it ends no sessions of those that are open now.",
    ]
    assert sum("which is not on the list then" in each for each in asked) == 1
    assert admin.http.post(removals[0], data={"once": uuid.uuid4().hex}).status_code == 303
    assert "every address is admitted from then on" in admin.page(removals[1])
    admin.page(removals[0], 404)


def test_addresses_roles_and_backups(platform: Installation, admin: Visitor) -> None:
    made = platform.create(name=some_name())
    path = f"/databases/{made['id']}"

    def send(verb: str, **form: str) -> httpx.Response:
        return admin.http.post(f"{path}/{verb}", data={"once": uuid.uuid4().hex, **form})

    asked = send("whitelist", ip_address="2001:db8::/32")  # it would be the only one
    assert "This browser comes from 127.0.0.1, which is not in 2001:db8::/32" in asked.text
    assert '<input type="hidden" name="ip_address" value="2001:db8::/32">' in asked.text
    assert "Allow 127.0.0.1 (this browser)" in admin.page(f"{path}/access")
    assert send("whitelist", ip_address="127.0.0.1").status_code == 303
    assert "127.0.0.1, which is on the list" in admin.page(f"{path}/access")
    refused = send("whitelist", ip_address="not an address")
    assert refused.status_code == 422
    assert ("Address or range" in refused.text, "ip_address" in refused.text) == (True, False)
    page = admin.page(f"{path}/access")
    assert "127.0.0.1/32" in page or "127.0.0.1<" in page
    string = string_in(send("roles", name="reporting", access="read_only").text)
    with psycopg.connect(string) as session:
        assert session.info.user.endswith("_reporting")
    page = admin.page(f"{path}/access")
    (rotate,) = re.findall(rf'action="{path}/(roles/[^"]+/rotate-password)"', page)
    psycopg.connect(string_in(send(rotate).text)).close()
    limit = rotate.replace("rotate-password", "update")
    assert send(limit, max_connections="3").status_code == 303
    assert send(limit, max_connections="many").status_code == 422
    page = admin.page(f"{path}/access")
    assert 'value="3"' in page
    ends = r"(?:/remove|/delete)"
    for removal in re.findall(rf'action="{path}/((?:whitelist|roles)/[^"]+{ends})"', page):
        assert send(removal).status_code == 303
    assert "Empty" in admin.page(f"{path}/access")
    assert send("backups", description="by hand").headers["location"].endswith("done=begun")
    assert "Backup" in admin.page(f"{path}/operations")
    ready = r'href="([^"]+/download)"'
    eventually(lambda: re.search(ready, admin.page(f"{path}/backups")))
    (dump,) = re.findall(ready, admin.page(f"{path}/backups"))
    assert admin.http.get(dump).content.startswith(b"PGDMP")
    poll = {"HX-Request": "true", "HX-Target": "operations"}
    part = admin.http.get(f"{path}/operations", headers=poll).text
    assert part.startswith('<div id="operations"')
    assert "Backup" in part
    do(made["connection_string"], "CREATE TABLE orders (id int)")
    assert "<option>public.orders" in admin.page(f"{path}/tables")
    assert send("analyze", table="public.orders").headers["location"].endswith("done=begun")
    assert send("extensions", name="pg_trgm").status_code == 303
    assert f"{path}/extensions/pg_trgm/remove" in admin.page(f"{path}/extensions")
    assert send("extensions/pg_trgm/remove").status_code == 303
    assert send("logs/settings", statements="ddl", errors="yes").status_code == 303
    assert "Nothing was logged yet" in admin.page(f"{path}/logs")
    assert "must be a time" in admin.page(f"{path}/metrics?from=yesterday")
    rotated = string_in(send("rotate-password").text)
    psycopg.connect(rotated).close()


def test_a_branch_is_made_reset_and_promoted(platform: Installation, admin: Visitor) -> None:
    made = platform.create(name=some_name())
    path, name = f"/databases/{made['id']}", made["name"]

    def send(path: str, **form: str) -> httpx.Response:
        return admin.http.post(path, data={"once": uuid.uuid4().hex, **form})

    def settled(path: str) -> bool:
        return "every 2s" not in admin.page(f"{path}/operations")  # it is not asked for again

    do(made["connection_string"], "CREATE TABLE t (n int); INSERT INTO t VALUES (1)")
    assert send(f"{path}/masking", sql="UPDATE public.t SET n = 2").status_code == 303
    answer = send(f"{path}/branches", name=f"{name}-b", expires_days="7")
    string = string_in(answer.text)
    found = re.search(r'data-onward="([^"]+)"', answer.text)
    assert found
    branch = found[1]
    eventually(lambda: settled(branch))
    assert ask(string, "SELECT sum(n) FROM t") == 2
    assert f"{name}-b" in admin.page(f"{path}/branches")
    assert f"Reset to {name}" in admin.page(f"{branch}/branches")
    reset = f"{path}/branches/{branch.rpartition('/')[2]}/reset"
    assert "are replaced" not in admin.page(reset)
    assert send(reset, masked="false").headers["location"] == f"{branch}/operations?done=begun"
    eventually(lambda: settled(branch))
    assert ask(string, "SELECT sum(n) FROM t") == 1
    assert send(f"{branch}/promote", typed="another").status_code == 422
    do(string, "INSERT INTO t VALUES (3)")
    answer = send(f"{branch}/promote", typed=name)
    assert answer.headers["location"] == f"{path}/operations?done=begun"
    eventually(lambda: settled(path))
    assert ask(made["connection_string"], "SELECT sum(n) FROM t") == 4


def test_a_run_over_many_databases_is_followed(
    platform: Installation, api: httpx.Client, admin: Visitor
) -> None:
    owner = f"{some_name()}@example.com"
    made = platform.create(name=some_name(), ownerEmail=owner)
    files = [{"name": "0001_orders.up.sql", "sql": "CREATE TABLE orders (id bigint PRIMARY KEY)"}]
    run = data(api.post("/api/migrations", json={"owner_email": owner, "files": files}), 202)
    path = f"/migrations/{run['id']}"
    assert path in admin.page("/migrations")
    eventually(lambda: "every 2s" not in admin.page(path))
    page = admin.page(f"{path}?status=succeeded")
    assert made["name"] in page
    assert "No database is in this state" in admin.page(f"{path}?status=failed")
    page = admin.page(f"/databases/{made['id']}/migrations")
    assert "Version 1<" in page
    assert "0001_orders.up.sql" in page


def test_an_import_is_looked_at_first(platform: Installation, admin: Visitor) -> None:
    source, made = platform.create(), platform.create(name=some_name())
    do(source["connection_string"], "CREATE TABLE public.orders (id bigint PRIMARY KEY)")
    path = f"/databases/{made['id']}/import"

    def send(path: str, string: str) -> httpx.Response:
        form = {"once": uuid.uuid4().hex, "from_": string, "exclude_tables": "public.logs"}
        return admin.http.post(path, data=form)

    looked = send(f"{path}/preview", source["connection_string"])
    assert looked.status_code == 200, looked.text
    assert "<code>public.orders</code>" in looked.text
    assert source["password"] not in looked.text
    assert send(path, "no string").status_code == 422
    assert send(path, source["connection_string"]).headers["location"].endswith("?done=begun")
    operations = f"/databases/{made['id']}/operations"
    eventually(lambda: "every 2s" not in admin.page(operations))
    assert ask(made["connection_string"], "SELECT count(*) FROM public.orders") == 0


def test_a_dump_is_sent_and_looked_at_first(
    platform: Installation, page: Page, admin: Visitor
) -> None:
    made = platform.create(name=some_name())
    page.goto(f"{platform.url}/databases/{made['id']}/import")
    dump = b"CREATE TABLE public.orders (id bigint);\n"
    sent: FilePayload = {"name": "a.sql", "mimeType": "application/sql", "buffer": dump}
    page.get_by_label("1. File").set_input_files(sent)
    page.get_by_role("button", name="Send it").press("Enter")
    expect(page.get_by_role("group", name="What would be imported")).to_be_focused()
    expect(page.get_by_text("public.orders")).to_be_visible()
    assert faults(page) == []
    page.get_by_role("button", name="3. Import it").last.click()
    page.wait_for_url("**/operations?done=begun")
    operations = f"/databases/{made['id']}/operations"
    eventually(lambda: "every 2s" not in admin.page(operations))
    assert ask(made["connection_string"], "SELECT count(*) FROM public.orders") == 0


def test_findings_are_muted_and_reported_again(platform: Installation, admin: Visitor) -> None:
    made = platform.create(name=some_name())
    path = f"/databases/{made['id']}/advice"
    assert "public.keyless" not in admin.page(path)
    do(made["connection_string"], "CREATE TABLE public.keyless (n int)")

    def send(verb: str, **form: str) -> httpx.Response:
        return admin.http.post(f"{path}/{verb}", data={"once": uuid.uuid4().hex, **form})

    page = html.unescape(admin.page(path))
    assert "public.keyless" in page
    assert 'ALTER TABLE "public"."keyless" ADD COLUMN "id"' in page
    finding = {"code": "no_primary_key", "object": "public.keyless"}
    assert send("mute", **finding).headers["location"] == f"{path}?done=muted"
    assert "public.keyless" not in admin.page(path)
    assert "public.keyless" in admin.page(f"{path}?muted=true")
    assert send("unmute", **finding).status_code == 303
    assert "public.keyless" in admin.page(path)
    assert send("unmute", **finding).status_code == 404
    assert send("mute", code="other", object="public.keyless").status_code == 422


def test_a_data_api_is_enabled_and_its_keys_are_shown_once(
    platform: Installation, admin: Visitor, api: httpx.Client
) -> None:
    made = platform.create(name=some_name())
    path = f"/databases/{made['id']}/data-api"
    assert "No REST API yet" in admin.page(path)

    def send(verb: str = "", **form: str) -> httpx.Response:
        answer = admin.http.post(path + verb, data={"once": uuid.uuid4().hex, **form})
        assert answer.status_code in {200, 303}, answer.text
        return answer

    def shown(answer: httpx.Response) -> list[str]:
        return re.findall(
            r'<input id="secret-\d" class="mono" readonly value="([^"]+)"', answer.text
        )

    first = shown(send(schemas="public", anonymous="yes", max_rows="50"))
    assert [len(each) == 64 for each in first] == [False, False, True]
    page = admin.page(path)
    assert made["database_name"] in page
    assert not any(each in page for each in first)
    assert "No table is in public yet" in page
    do(made["connection_string"], "CREATE TABLE todos (id int)")
    page = admin.page(path)
    grants, curl = (
        html.unescape(re.findall(rf'<textarea id="example-1-{at}"[^>]*>([^<]+)</', page)[0])
        for at in (1, 2)
    )
    assert f"{made['database_name']}/rest/v1/todos?limit=5" in curl
    do(made["connection_string"], grants)
    granted = "SELECT has_table_privilege('anon', 'todos', 'SELECT')"
    assert ask(made["connection_string"], granted) is True
    assert shown(send(schemas="public", max_rows="7")) == []
    configured = data(api.get(f"/api{path}"))
    assert (configured["anonymous"], configured["max_rows"]) == (False, 7)
    assert configured["statement_timeout_ms"] is None
    (token,) = shown(send("/tokens", role="authenticated", sub="ann", hours="2"))
    assert token.count(".") == 2
    assert set(shown(send("/rotate", overlap_hours="1"))).isdisjoint(first)
    assert "the ones before end" in admin.page(path)
    send("/disable")
    assert "No REST API yet" in admin.page(path)


def test_users_and_keys_are_made_and_ended(platform: Installation, admin: Visitor) -> None:
    def send(path: str, **form: str) -> httpx.Response:
        return admin.http.post(path, data={"once": uuid.uuid4().hex, **form})

    def secret_in(page: str) -> str:
        found = re.search(r'<input id="secret-1"[^>]* value="([^"]*)"', page)
        assert found
        return html.unescape(found[1])

    email = some_email()
    refused = send("/users", email=email, role="customer")
    assert refused.status_code == 422
    assert "tick the box that says so" in refused.text
    answer = send("/users", email=email, role="customer", new_customer="yes")
    assert f"They see nothing yet: {email} has no database." in answer.text
    path = re.search(r'data-onward="(/users/[^"]+)"', answer.text)
    assert path
    with visiting(platform) as visitor:
        assert visitor.enter(email=email, password=secret_in(answer.text)).status_code == 303
        assert send(f"{path[1]}/update", disabled="yes").status_code == 303
        assert visitor.http.get("/databases").headers["location"].startswith("/sign-in")
    assert secret_in(send(f"{path[1]}/reset-password").text)
    assert send(f"{path[1]}/delete", typed="another").status_code == 422
    assert send(f"{path[1]}/delete", typed=email).headers["location"].startswith("/users?")
    assert email not in admin.page("/users")
    page = admin.page(f"/customers?search={email[1:].upper()}")
    (removal,) = re.findall(r'action="(/customers/[^"]+/remove)"', page)
    assert send(removal).status_code == 303
    assert "address has this text" in admin.page(f"/customers?search={email}")

    name = some_name()
    answer = send("/keys", name=name, **{"scope:databases:read": "yes"})
    with visiting(platform, secret_in(answer.text)) as visitor:
        visitor.page("/databases")
        for page in ("/platform", "/clusters", "/users", "/keys", "/audit", "/alerts/channels"):
            assert "lacks the scope" in visitor.page(page, 403)
        row = next(row for row in admin.page("/keys").split("<tr>") if name in row)
        (revoke,) = re.findall(r'action="(/keys/[^"]+/revoke)"', row)
        assert send(revoke).status_code == 303
        assert visitor.http.get("/databases").status_code == 303
    assert "api_key.revoke" in admin.page("/audit?action=api_key.revoke&result=ok")
    assert "api_key.revoke" in admin.page("/audit?action=api_key.revok")  # did you mean?


def test_alerts_have_thresholds_and_channels(platform: Installation, api: httpx.Client) -> None:
    owner = f"{some_name()}@example.com"
    made = platform.create(name=some_name(), ownerEmail=owner)
    path = f"/databases/{made['id']}/alerts"
    asked = {
        "name": "own",
        "scopes": ["databases:read", "databases:write"],
        "customerEmail": owner,
    }
    key = data(api.post("/api/api-keys", json=asked), 201)["key"]
    with visiting(platform, key) as visitor:

        def send(path: str, **form: str) -> httpx.Response:
            return visitor.http.post(path, data={"once": uuid.uuid4().hex, **form})

        assert send(path, disk_percent="70").status_code == 303
        assert send(path, disk_percent="170").status_code == 422
        assert 'value="70"' in visitor.page(path)
        answer = send("/alerts/channels", name="ops", kind="email", target=owner)
        assert answer.status_code == 303
        page = visitor.page("/alerts/channels")
        assert owner in page
        assert "alert.platform" not in page
        (channel,) = re.findall(r'action="(/alerts/channels/[^"]+/delete)"', page)
        assert send(channel).status_code == 303
        assert "None yet" in visitor.page("/alerts/channels")
        for page in ("/platform", "/clusters", "/users", "/customers"):
            visitor.page(page, 403)
    assert data(api.get(f"/api{path}/settings"))["disk_percent"] == 70


def test_the_overview_has_charts(platform: Installation, api: httpx.Client, admin: Visitor) -> None:
    made = platform.create(name=some_name())
    asked = {"ids": made["id"]}
    eventually(lambda: data(api.get("/api/metrics/sparklines", params=asked))[0]["series"])
    page = admin.page(f"/databases/{made['id']}")
    assert "Connections of the last day" in page
    assert re.search(r'<path d="M[0-9ML. ]+"/>', page)


def test_assets_are_kept_and_pages_are_not(admin: Visitor) -> None:
    page = admin.http.get("/databases")
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert page.headers["cache-control"] == "no-store"
    found = re.findall(r'(?:src|href)="(/assets/[^"]+)"', page.text)
    assert len(set(found)) == 7
    for url in found:
        asset = admin.http.get(url)
        assert asset.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert admin.http.get("/assets/../app.py").status_code == 404


# ── in a browser ─────────────────────────────────────────────────────────────


def test_a_database_is_created_and_what_was_copied_opens_it(page: Page) -> None:
    page.get_by_role("button", name="Create database").click()
    page.get_by_label("Name").fill(some_name())
    page.get_by_label("Environment").select_option("development")
    page.get_by_role("button", name="Create").dblclick()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_label("Connection string")).to_be_visible()
    page.get_by_role("button", name="Copy").click()
    copied = page.evaluate("navigator.clipboard.readText()")
    expect(dialog.get_by_text("Waiting for a connection")).to_be_visible()
    with psycopg.connect(copied, application_name="shop"):
        expect(dialog.get_by_text("Connected from 127.0.0.1, by shop.")).to_be_visible()
    dialog.get_by_text("Pooled").click()
    pooled = page.get_by_label("Connection string").input_value()
    psycopg.connect(pooled).close()
    assert pooled != copied
    dialog.get_by_role("link", name="Done").click()
    page.wait_for_url("**/databases/*")
    assert copied.split(":")[2].split("@")[0] not in page.content()


def test_the_keyboard_is_enough_and_typed_text_is_kept(platform: Installation, page: Page) -> None:
    taken = platform.create(name=some_name())["name"]
    page.keyboard.press("c")
    field = page.get_by_label("Name")
    expect(field).to_be_focused()
    page.keyboard.type(taken)
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog")).to_contain_text("already a database named")
    expect(field).to_have_value(taken)
    page.keyboard.type("-2")
    page.keyboard.press("Enter")
    expect(page.get_by_label("Connection string")).to_be_visible()
    page.keyboard.press("Escape")  # a password that is shown once is not closed by mistake
    expect(page.get_by_label("Connection string")).to_be_visible()
    page.keyboard.press("Escape")
    page.wait_for_url("**/databases/*-*")
    expect(page.get_by_role("heading", name=f"{taken}-2")).to_be_visible()
    page.keyboard.press("Control+k")
    page.keyboard.type("operat")
    expect(page.get_by_role("option")).to_have_text(
        ["Operationspage", "Operationsof this database"]
    )
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Operations")).to_be_visible()
    page.wait_for_load_state()
    page.keyboard.press("Control+k")
    page.keyboard.type(f"{taken}-2")
    expect(page.get_by_role("option", name="database")).to_have_text([f"{taken}-2database"])
    assert faults(page) == []
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name=f"{taken}-2")).to_be_visible()


def test_who_does_nothing_is_warned_before_the_session_ends(
    page: Page, people: Callable[..., Person]
) -> None:
    person = people()
    page.get_by_role("button", name="Sign out").click()
    page.get_by_label("E-mail").fill(person.email)
    page.get_by_label("Password").fill(PASSWORD)
    page.clock.install()
    page.get_by_role("button", name="Sign in").click()
    warning = page.get_by_role("alert").filter(has_text="your session ends")
    expect(page.get_by_role("link", name="Databases")).to_be_visible()
    expect(warning).to_have_count(0)
    page.clock.fast_forward("59:00")
    expect(warning).to_be_visible()
    assert faults(page) == []
    warning.get_by_role("button", name="Stay signed in").click()
    expect(warning).to_have_count(0)


def test_a_page_renews_itself_and_leaves_the_focus_alone(
    platform: Installation, api: httpx.Client, page: Page
) -> None:
    made = platform.create(name=some_name(), environment="staging")
    page.goto(f"{platform.url}/databases?search={made['name']}")
    link = page.get_by_role("link", name=made["name"])
    link.focus()
    page.evaluate("document.querySelector('#list tbody a').seen = true")
    data(api.patch(f"/api/databases/{made['id']}", json={"environment": "development"}))
    expect(page.locator("#list .chip")).to_have_text("development")
    expect(link).to_be_focused()
    assert page.evaluate("document.querySelector('#list tbody a').seen")
    page.route("**/databases?*", lambda route: route.fulfill(status=409))
    expect(page.locator("html.old")).to_have_count(1)
    expect(link).to_be_visible()
    page.unroute("**/databases?*")
    expect(page.locator("html.old")).to_have_count(0)
    # Nobody looks at a hidden tab.
    page.evaluate("Object.defineProperty(document, 'hidden', { value: true })")
    assert page.evaluate(ASKS) is False


def test_a_key_in_the_first_field_moves_to_its_own(platform: Installation, page: Page) -> None:
    page.get_by_role("button", name="Sign out").click()
    page.get_by_label("E-mail").fill(f" {platform.key}\n")
    key = page.get_by_label("API key")
    expect(key).to_be_focused()
    expect(page.get_by_label("E-mail")).to_have_value("")
    key.press("Enter")
    expect(page.get_by_role("link", name="Databases")).to_be_visible()


def test_everything_can_be_perceived_and_fits_a_phone(
    platform: Installation, api: httpx.Client, page: Page
) -> None:
    tags = [f"a-tag-of-{number}-words" for number in range(6)]
    made = platform.create(name=some_name(), tags=tags)
    do(made["connection_string"], "CREATE TABLE orders_of_customers (id bigint PRIMARY KEY)")
    user, cluster = make_user(api)["id"], data(api.get("/api/clusters"))[-1]["id"]
    paths = [f"/databases/{made['id']}{tab}" for tab in TABS]
    paths += [f"/users/{user}", f"/clusters/{cluster}", f"/databases?tag={tags[0]}&tag={tags[5]}"]
    for path in (*PAGES, *paths):
        page.set_viewport_size({"width": 1280, "height": 800})
        page.goto(f"{platform.url}{path}")
        assert faults(page) == [], path
        page.set_viewport_size({"width": PHONE, "height": 800})
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE, path
        assert page.evaluate(CUT_OFF) == [], path
    page.set_viewport_size({"width": 1280, "height": 800})
    page.emulate_media(color_scheme="dark")
    page.goto(f"{platform.url}{paths[0]}")
    assert faults(page) == []
    for button in ("Connect", "Rotate password…"):
        page.get_by_role("button", name=button).click()
        expect(page.get_by_role("dialog")).to_be_visible()
        assert faults(page) == [], button
        page.keyboard.press("Escape")


def test_an_operator_ends_the_session_for_which_others_wait(
    platform: Installation, page: Page
) -> None:
    name = some_name()
    made = platform.create(name=name)
    strings = made["connection_string"], made["connection_string_pooled"]
    do(strings[0], "CREATE TABLE orders (id bigint)")
    with ThreadPoolExecutor(1) as other, psycopg.connect(strings[1]) as blocker:
        blocker.execute("LOCK TABLE orders")
        pid = ask(strings[0], "SELECT pid FROM pg_locks WHERE mode = 'AccessExclusiveLock'")
        waiting = other.submit(do, strings[0], "/* " + "x" * 150 + " */ DELETE FROM orders")
        page.set_viewport_size({"width": 1280, "height": 800})
        page.goto(f"{platform.url}/databases/{made['id']}/sessions")
        end = page.get_by_role("button", name=f"End the session {pid}, for which others wait")
        expect(end).to_be_visible()  # the page renews itself
        for each in page.get_by_role("button", name="End the session").all():
            expect(each).to_be_in_viewport(ratio=1)
        assert faults(page) == []
        page.goto(f"{platform.url}/platform")
        expect(page.get_by_role("link", name=name).first).to_be_visible()  # of its pool
        expect(page.get_by_text("Write-ahead log")).to_be_visible()
        page.go_back()
        end.click()
        waiting.result()
        with pytest.raises(psycopg.OperationalError):
            blocker.execute("SELECT 1")


def test_the_reference_of_the_api_is_rendered(platform: Installation, page: Page) -> None:
    page.goto(f"{platform.url}/docs")
    expect(page.get_by_text("/api/databases", exact=True).first).to_be_visible()
    expect(page.get_by_text("Unable to render")).to_have_count(0)
