"""SQL and rows in the console: in Chromium, and without scripts."""

import html
import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from playwright.sync_api import FilePayload, Page, expect

from browsing import Visitor, faults, some_name, visiting
from clients import do, eventually, login
from harness import Installation

INDEX = 'CREATE INDEX ON "public"."orders" ("note");'
PHONE = 390  # pixels
SCRIPT = "<script>alert(1)</script><img src=x onerror=alert(1)>"


@pytest.fixture
def admin(platform: Installation) -> Iterator[Visitor]:
    with visiting(platform, platform.key) as visitor:
        yield visitor


def with_orders(platform: Installation) -> dict[str, Any]:
    """A database that is not production, with 10,000 orders."""
    made = platform.create(name=some_name(), environment="staging")
    for statement in (
        "CREATE TABLE orders (id int PRIMARY KEY, note text)",
        "INSERT INTO orders SELECT i, 'n' || i FROM generate_series(1, 10000) i",
        "ANALYZE orders",
        f"INSERT INTO orders VALUES (0, '{SCRIPT}')",  # noqa: S608
    ):
        do(made["connection_string"], statement)
    return made


@pytest.fixture
def path(platform: Installation) -> str:
    return f"/databases/{with_orders(platform)['id']}"


def sent(visitor: Visitor, path: str, sql: str, status: int = 200, **more: str) -> str:
    answer = visitor.http.post(f"{path}/sql", data={"sql": sql, **more})
    assert answer.status_code == status, answer.text
    return answer.text


def type_sql(page: Page, text: str) -> None:
    editor = page.get_by_role("textbox", name="SQL")
    editor.click()
    page.keyboard.press("Control+A")
    page.keyboard.insert_text(text)


# ── in a browser ─────────────────────────────────────────────────────────────


def test_a_text_is_run_and_its_rows_are_shown(
    platform: Installation, page: Page, path: str
) -> None:
    page.goto(f"{platform.url}{path}/sql")
    expect(page.locator(".cm-editor")).to_be_visible()
    type_sql(page, "SELECT * FROM orders ORDER BY id DESC; SELECT NULL AS none")
    page.keyboard.press("Control+Enter")
    grid = page.get_by_role("grid", name="Rows of result 1")
    expect(grid.get_by_role("gridcell", name="10000", exact=True)).to_be_visible()
    expect(page.get_by_text("the first 10,000 rows")).to_be_visible()
    expect(page.get_by_role("gridcell", name="NULL")).to_be_visible()
    assert faults(page) == []
    grid.focus()
    page.keyboard.press("Control+End")
    expect(grid.get_by_role("gridcell", name="n1", exact=True)).to_be_visible()
    assert grid.get_by_role("row").count() < 50  # only what is seen is in the page
    with page.expect_download() as downloading:
        page.get_by_role("button", name="Result 1 as CSV").click()
    lines = downloading.value.path().read_text().splitlines()
    assert (len(lines), lines[:2]) == (10_001, ["id,note", "10000,n10000"])
    page.set_viewport_size({"width": PHONE, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE
    page.set_viewport_size({"width": 1280, "height": 800})
    page.emulate_media(color_scheme="dark")
    assert faults(page) == []
    page.goto(f"{platform.url}{path}/rows?schema=public&table=orders")
    assert faults(page) == []
    page.set_viewport_size({"width": PHONE, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE


def test_typed_text_is_kept_and_an_error_has_its_place(
    platform: Installation, page: Page, path: str
) -> None:
    page.goto(f"{platform.url}{path}/sql")
    expect(page.locator(".cm-editor")).to_be_visible()
    type_sql(page, "SELECT id,\n  nothing FROM orders")
    page.reload()
    expect(page.locator(".cm-content")).to_contain_text("nothing FROM orders")
    page.get_by_role("button", name="Run").click()
    expect(page.get_by_role("alert")).to_contain_text('column "nothing" does not exist')
    expect(page.locator(".cm-failed")).to_have_text("n")
    assert faults(page) == []
    type_sql(page, f"SELECT note, '{SCRIPT}' FROM orders WHERE id = 0")  # noqa: S608
    page.keyboard.press("Control+Enter")
    expect(page.get_by_role("gridcell", name=SCRIPT).first).to_be_visible()
    type_sql(page, "SELECT pg_sleep(60)")
    page.keyboard.press("Control+Enter")
    page.get_by_role("button", name="Cancel").click()
    expect(page.get_by_role("alert")).to_contain_text("Cancelled")
    page.get_by_role("button", name="Sign out").click()
    assert page.evaluate("Object.keys(localStorage).filter(k => k.startsWith('sql:'))") == []


def test_what_changes_all_rows_is_confirmed(platform: Installation, page: Page, path: str) -> None:
    page.goto(f"{platform.url}{path}/sql")
    expect(page.locator(".cm-editor")).to_be_visible()
    type_sql(page, "DELETE FROM orders")
    page.keyboard.press("Control+Enter")
    expect(page.get_by_role("alert")).to_contain_text("changes all rows of orders (≈ 10,00")
    assert faults(page) == []
    page.get_by_role("button", name="Run it all the same").click()
    expect(page.get_by_role("heading", name="DELETE 10001")).to_be_visible()
    page.get_by_label("Read-only").check()
    type_sql(page, "INSERT INTO orders VALUES (1, '')")
    page.keyboard.press("Control+Enter")
    expect(page.get_by_role("alert")).to_contain_text("read-only transaction")
    expect(page.get_by_role("heading", name="DELETE")).to_have_count(0)  # it is of another run


def test_a_text_is_completed_explained_saved_and_tried_on_a_branch(
    platform: Installation, page: Page, path: str
) -> None:
    with page.expect_response("**/sql/names"):
        page.goto(f"{platform.url}{path}/sql")
    expect(page.locator(".cm-editor")).to_be_visible()
    type_sql(page, "SELECT count(*) FROM ")
    page.keyboard.type("ord")
    expect(page.get_by_role("option", name="orders")).to_be_visible()
    assert faults(page) == []
    page.keyboard.press("Escape")
    type_sql(page, "SELECT count(*) FROM orders WHERE note = 'x'")
    page.get_by_role("button", name="Explain, measured").click()
    expect(page.get_by_role("region", name="Plan")).to_contain_text("Seq Scan on orders")
    expect(page.get_by_role("region", name="Plan")).to_contain_text("expensive")
    assert faults(page) == []
    page.get_by_label("Name to save it by").fill("counted")
    page.keyboard.press("Enter")
    saved = page.get_by_role("list", name="Saved").get_by_role("link", name="counted")
    expect(saved).to_be_visible()
    type_sql(page, "DELETE FROM orders")
    page.keyboard.press("Control+Enter")
    page.get_by_role("button", name="Try it on a branch first").click()
    expect(page.get_by_role("dialog").get_by_label("Connection string")).to_be_visible()
    assert faults(page) == []
    page.keyboard.press("Escape")
    page.keyboard.press("Escape")
    page.wait_for_url("**/sql?text=*")
    expect(page.locator(".cm-content")).to_have_text("DELETE FROM orders")
    assert path not in page.url


def test_a_row_is_changed_after_the_difference_was_shown(
    platform: Installation, page: Page, path: str
) -> None:
    rows = f"{platform.url}{path}/rows?schema=public&table=orders&column=id&test=less&value=3"
    page.goto(rows)
    page.get_by_role("link", name="Change row 1").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("textbox", name="note").fill("paid\nin 'full'")
    dialog.get_by_role("button", name="See what would change").press("Enter")
    expect(dialog.get_by_role("group", name="What would change")).to_be_focused()
    expect(dialog.get_by_role("table", name="What changes")).to_contain_text("n1")
    expect(dialog.locator("pre").first).to_contain_text("UPDATE")
    assert faults(page) == []
    page.set_viewport_size({"width": PHONE, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE
    page.set_viewport_size({"width": 1280, "height": 800})
    dialog.get_by_role("button", name="Change it").click()
    page.wait_for_url("**done=rows-changed")
    expect(page.get_by_text("The rows were changed.")).to_be_visible()
    expect(page.get_by_role("cell", name="paid in 'full'")).to_be_visible()
    page.get_by_role("checkbox", name="Row 0").check()
    page.get_by_role("checkbox", name="Row 2").check()
    delete = page.get_by_role("button", name="Delete the marked rows…")
    delete.press("Enter")
    expect(dialog.get_by_role("cell", name=SCRIPT)).to_be_visible()
    assert faults(page) == []
    page.keyboard.press("Escape")
    expect(delete).to_be_focused()
    delete.press("Enter")
    with page.expect_navigation():
        dialog.get_by_role("button", name="Delete 2 rows").click()
    expect(page.get_by_text("The rows were changed.")).to_be_visible()
    expect(page.get_by_role("checkbox")).to_have_count(1)
    assert "test=less" in page.url  # the filter is still there
    page.get_by_role("link", name="Load CSV…").click()
    content: FilePayload = {
        "name": "a.csv",
        "mimeType": "text/csv",
        "buffer": b"id,note\n0,again\nx,y\n",
    }
    dialog.get_by_label("File").set_input_files(content)
    dialog.get_by_role("button", name="Load it").click()
    expect(dialog.get_by_role("alert")).to_contain_text("Line 3")
    assert faults(page) == []
    content["buffer"] = b"id,note\n0,again\n"
    dialog.get_by_label("File").set_input_files(content)
    dialog.get_by_role("button", name="Load it").click()
    page.wait_for_url("**loaded=1")
    expect(page.get_by_text("1 row of the file was inserted.")).to_be_visible()


def test_values_are_changed_in_place(platform: Installation, page: Page, path: str) -> None:
    page.goto(f"{platform.url}{path}/rows?schema=public&table=orders&column=id&test=less&value=3")
    rows = page.get_by_role("table", name="Rows of public.orders").get_by_role("row")
    expect(rows).to_have_count(4)
    page.get_by_role("cell", name="0", exact=True).focus()
    for key in ("ArrowDown", "ArrowRight", "Enter"):
        page.keyboard.press(key)
    field = page.get_by_role("textbox", name="note")
    expect(field).to_be_focused()
    expect(field).to_have_value("n1")
    page.keyboard.type("given up")
    page.keyboard.press("Escape")
    expect(page.get_by_role("cell", name="n1", exact=True)).to_be_focused()
    page.get_by_role("cell", name="1", exact=True).dblclick()
    expect(page.get_by_role("textbox", name="id")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert").first).to_contain_text("Nothing was changed")
    page.keyboard.press("Tab")
    expect(field).to_be_focused()
    page.keyboard.type("paid")
    assert faults(page) == []
    page.get_by_role("cell", name="n2", exact=True).dblclick()  # what was typed is not lost
    expect(page.get_by_text("Another row has changes")).to_be_visible()
    field.press("Enter")
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_role("table", name="What changes")).to_contain_text("paid")
    assert faults(page) == []
    page.keyboard.press("Escape")
    expect(field).to_be_focused()
    expect(field).to_have_value("paid")
    page.keyboard.press("Enter")
    dialog.get_by_role("button", name="Change it").click()
    page.wait_for_url("**done=rows-changed")
    expect(page.get_by_role("cell", name="paid", exact=True)).to_be_visible()
    expect(page.get_by_role("cell", name="1", exact=True)).to_be_visible()


def test_an_index_is_advised_tried_on_a_branch_and_created(
    platform: Installation, api: httpx.Client, page: Page
) -> None:
    made, slow = with_orders(platform), "SELECT count(*) FROM orders WHERE note = 'n7'"
    path = f"{platform.url}/databases/{made['id']}"
    with login(made["connection_string"]) as session:
        for _ in range(20):
            session.execute(slow)
    page.goto(f"{path}/queries")
    page.locator("summary", has_text="SELECT count(*) FROM orders WHERE note = $1").click()
    expect(page.get_by_role("textbox", name="Statement")).to_have_value(re.compile("note = "))
    assert faults(page) == []
    page.locator("p").get_by_role("link", name="Advice").click()
    page.get_by_role("button", name="Try it on a branch first: public.orders (note)").click()
    expect(page.get_by_role("dialog").get_by_label("Connection string")).to_be_visible()
    page.keyboard.press("Escape")
    page.keyboard.press("Escape")
    page.wait_for_url("**/sql?text=*")
    branch = page.url.split("/")[-2]
    eventually(lambda: api.get(f"/api/databases/{branch}").json()["data"]["status"] == "active")

    expect(page.locator(".cm-content")).to_have_text(INDEX)
    page.get_by_label("Read-only").uncheck()
    page.get_by_role("button", name="Run").click()
    expect(page.get_by_role("heading", name="CREATE INDEX")).to_be_visible()
    type_sql(page, slow)
    page.get_by_role("button", name="Explain, measured").click()
    expect(page.get_by_role("region", name="Plan")).to_contain_text("Index")
    page.goto(f"{path}/advice")
    assert faults(page) == []
    page.get_by_role("button", name="Create the index: public.orders (note)").click()
    page.wait_for_url("**/operations?done=begun")
    expect(page.get_by_role("cell", name="Succeeded").first).to_be_visible()
    page.goto(f"{path}/advice")
    expect(page.get_by_role("heading", name="Missing index")).to_have_count(0)


# ── without scripts ──────────────────────────────────────────────────────────


def test_it_works_without_scripts(admin: Visitor, path: str) -> None:
    page = sent(admin, path, "SELECT id, note, NULL FROM orders ORDER BY id\r\nLIMIT 2")
    assert "&lt;script&gt;" in page
    assert "<script>alert" not in page
    assert page.count('<i class="dim">NULL</i>') == 2
    page = sent(admin, path, "SELECT 1;\r\nSELEC", 422)
    assert "line 2" in page
    assert "SELEC</textarea>" in page
    page = sent(admin, path, "TRUNCATE orders")
    assert "empties <code>orders</code> (≈ 10,00" in page
    confirmed = re.search(r'name="confirmed" value="(\w+)"', page)
    assert confirmed
    # It is for that text alone.
    page = sent(admin, path, "DROP TABLE orders CASCADE", confirmed=confirmed[1])
    assert "with CASCADE what depends on it" in page
    assert "TRUNCATE TABLE" in sent(admin, path, "TRUNCATE orders", confirmed=confirmed[1])
    assert "read-only" in sent(admin, path, "DROP TABLE orders", 422, read_only="yes")


def test_rows_are_browsed_by_their_key_and_filtered(admin: Visitor, path: str) -> None:
    assert "rows?schema=public&amp;table=orders" in admin.page(f"{path}/tables")
    rows = f"{path}/rows?schema=public&table=orders"
    first = admin.page(rows)
    assert ">n49<" in first
    assert ">n50<" not in first
    assert "<script>alert" not in first
    following = re.search(r'rel="next" href="([^"]+)"', first)
    assert following
    second = admin.page(html.unescape(following[1]))
    assert ">n50<" in second
    assert ">n99<" in second
    assert ">n100<" not in second
    found = admin.page(f"{rows}&column=note&test=contains&value=N9999")
    assert (">n9999<" in found, ">n999<" in found) == (True, False)
    assert "No rows pass this filter" in admin.page(f"{rows}&column=note&test=empty")
    assert "invalid input syntax" in admin.page(f"{rows}&column=id&test=is&value=x")
    assert "is no column of the table" in admin.page(f"{rows}&column=other")
    admin.page(f"{path}/rows?schema=public&table=nothing", 404)


def test_rows_need_a_scope_of_their_own(
    platform: Installation, api: httpx.Client, path: str
) -> None:
    body = {"name": "sees", "scopes": ["admin"]}
    key = api.post("/api/api-keys", json=body).json()["data"]["key"]
    with visiting(platform, key) as visitor:
        page = visitor.page(f"{path}/tables")
        assert "/rows?" not in page
        assert f'href="{path}/sql"' not in page
        visitor.page(f"{path}/sql", 403)
        visitor.page(f"{path}/rows?schema=public&table=orders", 403)
        assert visitor.http.post(f"{path}/sql", data={"sql": "SELECT 1"}).status_code == 403


def test_rows_are_changed_without_scripts(admin: Visitor, path: str) -> None:
    table = {"schema": "public", "table": "orders"}

    def send(route: str, status: int, **form: str) -> httpx.Response:
        answer = admin.http.post(f"{path}/rows{route}", data={**table, **form})
        assert answer.status_code == status, answer.text
        return answer

    def hidden(page: str, name: str) -> str:
        value = re.search(f'name="{name}" value="([^"]*)"', page)
        assert value
        return html.unescape(value[1])

    form = admin.page(f"{path}/rows/edit?schema=public&table=orders&key=7")
    same = {"action": "update", "key": '["7"]', "xmin": hidden(form, "xmin"), "value:0": "7"}
    assert "have been changed since" in send("/preview", 409, **same).text
    table["columns"] = hidden(form, "columns")
    assert "Nothing was changed" in send("/preview", 422, **same, **{"value:1": "n7"}).text
    shown = send("/preview", 200, **same, **{"how:1": "null", "value:1": "n7"}).text
    changes = hidden(shown, "changes")
    back = f"{path}/rows?schema=public&table=orders&value=7"
    answer = send("", 303, changes=changes, back=back, once="o1")
    assert answer.headers["location"] == f"{back}&done=rows-changed"
    assert "row has been changed" in send("", 409, changes=changes, back=back, once="o2").text
    stale = {"action": "delete", f'row:["7", "{same["xmin"]}"]': "yes"}
    assert "changed or deleted since" in send("/preview", 409, **stale).text
    shown = send("/preview", 200, action="insert", **{"value:0": "20000", "how:1": "default"}).text
    assert "VALUES (&#39;20000&#39;)" in shown
    answer = send("", 303, changes=hidden(shown, "changes"), back="//evil.example", once="o3")
    assert answer.headers["location"].startswith(f"{path}/rows?schema=public")
    to = "/rows/csv?schema=public&table=orders"
    answer = admin.http.post(f"{path}{to}", data={"csv": "id,note\r\n30000,x"})
    assert answer.status_code == 303
    assert "30000,x" in admin.http.get(f"{path}{to}&column=id&test=greater&value=10000").text
