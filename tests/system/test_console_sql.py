"""SQL and rows in the console: in Chromium, and without scripts."""

import html
import re
from collections.abc import Iterator

import httpx
import pytest
from playwright.sync_api import Page, expect

from browsing import Visitor, faults, some_name, visiting
from clients import do
from harness import Installation

PHONE = 390  # pixels
SCRIPT = "<script>alert(1)</script><img src=x onerror=alert(1)>"


@pytest.fixture
def admin(platform: Installation) -> Iterator[Visitor]:
    with visiting(platform, platform.key) as visitor:
        yield visitor


@pytest.fixture
def path(platform: Installation) -> str:
    """The path of a database that is not production, with 10,000 orders."""
    made = platform.create(name=some_name(), environment="staging")
    for statement in (
        "CREATE TABLE orders (id int PRIMARY KEY, note text)",
        "INSERT INTO orders SELECT i, 'n' || i FROM generate_series(1, 10000) i",
        "ANALYZE orders",
        f"INSERT INTO orders VALUES (0, '{SCRIPT}')",  # noqa: S608
    ):
        do(made["connection_string"], statement)
    return f"/databases/{made['id']}"


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
    assert "is none of the table" in admin.page(f"{rows}&column=other")
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
