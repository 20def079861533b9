"""Make the pictures of the console that the documentation shows: console_pictures.py FOLDER.

The list has rows in the control database only, as in scraping.py; the pages of one database are
those of a real one, with a day of samples. Needs Chromium and Playwright.
"""

import argparse
import datetime as dt
import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

from support import Installation, installation, say

# isort: split
# support has put the tests' folder on the path.
from clients import do, login
from console import sign_in

SIZE = {"width": 1280, "height": 800}
GIB = 2**30
# Title, name, environment, tags, owner, GiB, minutes since it was used, days since it was created.
SITES = (
    ("Bakery Miller: shop", "bakery-shop", "production", "shop team-a", "bakery", 1.4, 1, 12),
    ("Bakery Miller: try-out", "bakery-shop", "staging", "shop team-a", "bakery", 0.4, 300, 11),
    ("Riverside Hotel", "riverside", "production", "booking team-b", "riverside", 3.2, 2, 40),
    ("Dr. Okafor, dentist", "okafor", "production", "booking team-a", "okafor", 0.3, 12, 63),
    ("Northern Lights Cycling", "northern", "production", "shop wordpress", "northern", 8.7, 0, 95),
    ("City Library", "library", "production", "wordpress", "library", 2.1, 4, 120),
    ("City Library: relaunch", "library", "development", "team-b", "library", 0.6, 2900, 121),
    ("Café Sol", "cafe-sol", "production", "wordpress team-a", "sol", 0.2, 45, 160),
    ("Garden Centre Green", "garden", "production", "shop", "garden", 4.4, 3, 201),
    ("Sailing Club", "sailing", "production", "wordpress", "sailing", 0.9, 90, 240),
    ("Analytics of all sites", "analytics", "production", "internal", "studio", 6.3, 0, 300),
)
LIST = """
    WITH made AS (
        INSERT INTO databases (id, cluster_id, database_name, username, status, friendly_name, name,
            environment, tags, customer_id, created_at)
        SELECT gen_random_uuid(), c.id, 'tenant_' || %(place)s, 'user_' || %(place)s, 'active',
            %(title)s, %(name)s, %(environment)s, %(tags)s, o.id, %(created)s
        FROM clusters c, customers o WHERE c.kind = 'control' AND o.email = %(owner)s
        RETURNING id
    ), measured AS (
        INSERT INTO disk_usage (database_id, used_bytes) SELECT id, %(bytes)s FROM made
    )
    INSERT INTO database_activity (database_id, sessions, watched_since, last_active_at)
    SELECT id, 0, %(created)s, %(used)s FROM made
"""
PARTITION = """
    DO $$ BEGIN
        EXECUTE format('CREATE TABLE IF NOT EXISTS sample_partitions.hour_%s PARTITION OF'
            ' samples_hour FOR VALUES FROM (%L) TO (%L)',
            to_char(date_trunc('month', now() - interval '1 day'), 'YYYYMMDD00'),
            date_trunc('month', now() - interval '1 day'),
            date_trunc('month', now() - interval '1 day') + interval '1 month');
    END $$
"""
SAMPLE = """
    INSERT INTO samples_hour (database_id, at, size_bytes, commits, rollbacks, seconds,
        pooler_seconds, direct_active, direct_idle, direct_in_transaction, pooled_active,
        pooled_idle, pooled_in_transaction)
    VALUES (%s, date_trunc('hour', now()) - make_interval(hours => %s), %s, %s, 2, 3600, 3600,
        0, 1, 0, %s, %s, 0) ON CONFLICT DO NOTHING
"""
ORDERS = """
    CREATE TABLE customers (id integer PRIMARY KEY, name text);
    INSERT INTO customers SELECT i, 'Customer ' || i FROM generate_series(1, 40) i;
    CREATE TABLE orders (id integer PRIMARY KEY, customer integer REFERENCES customers, note text,
        total numeric(9,2), paid boolean, placed date);
    INSERT INTO orders SELECT i, 1 + i * 7 % 40,
        (ARRAY['rye bread', 'twelve rolls', 'apple cake', 'a wedding cake, three floors',
               'pretzels for the office', 'rye bread, sliced'])[1 + i % 6],
        round((3 + i * 37 % 900 / 10.0)::numeric, 2), i % 3 > 0, date '2026-11-01' + i / 9
    FROM generate_series(1, 240) i
"""


def write_list(here: Installation) -> None:
    """Have databases of several customers."""
    now = dt.datetime.now(dt.UTC)
    with here.control() as control:
        for nth, (title, name, environment, tags, owner, size, used, days) in enumerate(SITES):
            email = f"it@{owner}.example"
            control.execute(
                "INSERT INTO customers (id, email) VALUES (gen_random_uuid(), %s)"
                " ON CONFLICT DO NOTHING",
                (email,),
            )
            row = {
                "place": f"site{nth}",
                "title": title,
                "name": name,
                "environment": environment,
                "tags": sorted(tags.split()),
                "owner": email,
                "bytes": int(size * GIB),
                "created": now - dt.timedelta(days=days),
                "used": now - dt.timedelta(minutes=used),
            }
            control.execute(LIST, row)


def write_day(here: Installation, database_id: str) -> None:
    """Have a database with a day of samples: more by day than by night."""
    with here.control() as control:
        control.execute(PARTITION)
        for hours in range(1, 24):
            load = 1.2 + math.sin(-hours / 24 * 2 * math.pi) + hours % 5 / 8
            values = (
                *(database_id, hours, int((7.5 - hours * 0.03) * 2**20), int(3600 * 9 * load)),
                *(int(1 + load), int(1 + load)),
            )
            control.execute(SAMPLE, values)


@contextmanager
def opened(chromium: Browser, here: Installation, *, dark: bool) -> Iterator[Page]:
    context = chromium.new_context(
        viewport=SIZE,  # type: ignore[arg-type]
        color_scheme="dark" if dark else "light",
        reduced_motion="reduce",
    )
    page = context.new_page()
    sign_in(page, here)
    yield page
    context.close()


def take(here: Installation, chromium: Browser, folder: Path) -> None:
    """Write the pictures."""

    def shoot(page: Page, name: str) -> None:
        page.mouse.move(0, 0)
        page.screenshot(path=folder / f"console-{name}.png")
        say(name)

    made = here.create(
        name="bakery", friendlyName="Bakery Miller", ownerEmail="it@bakery.example",
        environment="staging", tags=["shop", "team-a"],
    )  # fmt: skip
    do(made["connection_string"], ORDERS)
    write_day(here, made["id"])
    here.cluster("backup", "shared-1")
    path = f"{here.url}/databases/{made['id']}"
    rows = f"{path}/rows?schema=public&table=orders"
    for dark in (False, True):
        with login(made["connection_string"]), opened(chromium, here, dark=dark) as page:
            page.goto(rows)
            page.get_by_role("cell", name="twelve rolls", exact=True).first.dblclick()
            field = page.get_by_role("textbox", name="note")
            field.fill("twelve rolls and a loaf")
            if dark:
                shoot(page, "rows-dark")
                page.goto(path)
                page.get_by_text(re.compile("min back")).wait_for(timeout=300_000)
                shoot(page, "overview-dark")
            else:
                field.press("Enter")
                page.get_by_role("dialog").get_by_role("table", name="What changes").wait_for()
                shoot(page, "row-change")
    with here.client() as client:
        client.delete(f"/api/databases/{made['id']}").raise_for_status()
    write_list(here)
    with opened(chromium, here, dark=False) as page:
        page.goto(f"{here.url}/databases")
        page.get_by_role("link", name="City Library", exact=True).wait_for()
        shoot(page, "databases")
        page.get_by_role("button", name="Create database").click()
        page.get_by_label("Name", exact=True).fill("riverside-blog")
        page.get_by_role("button", name="Create", exact=True).click()
        page.get_by_label("Connection string").wait_for()
        shoot(page, "created")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    with installation(warm_pool=2, TENANTRY_BACKUPS="on") as here, sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path="/usr/bin/chromium", args=["--no-sandbox"]
        )
        take(here, chromium, folder)
        chromium.close()


if __name__ == "__main__":
    main()
