"""How soon the console's pages are ready, how large they are, and what its viewers cost.

Pages are read by Chromium, through Playwright: from what it has stored of the console's files, and
without. The databases are rows in the control database, as in scraping.py. A viewer is a page of
the list, or of one database, that renews itself as the console's script does, by HTTP requests on
a connection of its own. The results of statements are those of a real database.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
from playwright.sync_api import Browser, Page, sync_playwright

from support import Aim, Installation, Report, installation, machine, run, say, summary

# isort: split
# support has put the tests' folder on the path.
from browsing import visiting
from scraping import processor_seconds, resident_bytes, write_rows

DATABASES = 500
VIEWERS = 20
ROWS = 10_000
KB = 1000.0
# What was measured of a prototype beside this stack (500 rows, 50 a page; a chart for the viewer).
PROTOTYPE = {
    "first_visit_seconds": [0.5, 0.7],
    "first_visit_kb": 29,
    "viewer_mb": 0.06,
    "cpu_percent_of_20_viewers": 0.5,
    "grid_of_10000_rows_seconds": [0.46, 1.0],
}
MOST_KB, MOST_SECONDS = 60.0, 0.7  # of the first visit, without the editor
EVERY_SECONDS = 5.0  # the list asks for itself
GRID = "SELECT i, md5(i::text) a, i * 2 b, now() c, i % 7 d, repeat('x', 20) e, i::float8 f FROM"
# Milliseconds from the request until what was loaded first can be used.
READY = "performance.getEntriesByType('navigation')[0].domContentLoadedEventEnd"


@dataclass(frozen=True, slots=True)
class Extent:
    """How much of it."""

    databases: int
    visits: int
    viewers: int
    seconds: int
    runs: int


def sign_in(page: Page, here: Installation) -> None:
    page.goto(f"{here.url}/")
    page.get_by_label("API key").fill(here.key)
    page.get_by_role("button", name="Sign in").click()
    page.get_by_role("link", name="Databases").wait_for()


@contextmanager
def signed_in(chromium: Browser, here: Installation) -> Iterator[Page]:
    """Open a browser that has nothing of the console but its cookie."""
    context = chromium.new_context()
    page = context.new_page()
    sign_in(page, here)
    cookies = context.cookies()
    context.close()
    fresh = chromium.new_context()
    fresh.add_cookies([dict(each) for each in cookies])  # type: ignore[misc]
    try:
        yield fresh.new_page()
    finally:
        fresh.close()


def visited(page: Page, url: str) -> dict[str, float]:
    """Load a page: the seconds until it is ready, what came for it in bytes, and in how many parts.

    Compressed, with headers, as the browser's own protocol reports it.
    """
    received = {"bytes": 0.0, "requests": 0.0}

    def count(event: dict[str, Any]) -> None:
        received["bytes"] += event["encodedDataLength"]
        received["requests"] += 1

    session = page.context.new_cdp_session(page)
    session.send("Network.enable")
    session.on("Network.loadingFinished", count)
    page.goto(url, wait_until="networkidle")
    session.detach()
    return {"seconds": float(page.evaluate(READY)) / 1000, **received}


def visits(chromium: Browser, here: Installation, path: str, count: int) -> dict[str, object]:
    """Visit a page for the first time, and again, so often."""
    first, again = [], []
    for _ in range(count):
        with signed_in(chromium, here) as page:
            first.append(visited(page, here.url + path))
            again.append(visited(page, here.url + path))
    return {
        "first": summary([each["seconds"] for each in first]),
        "first_kb": round(max(each["bytes"] for each in first) / KB, 1),
        "first_requests": int(max(each["requests"] for each in first)),
        "again": summary([each["seconds"] for each in again]),
        "again_kb": round(max(each["bytes"] for each in again) / KB, 1),
    }


class Viewers:
    """Those who have the list open, each of whom asks for it again every 5 seconds."""

    def __init__(self, here: Installation, count: int) -> None:
        self._here = here
        self._over = threading.Event()
        self._threads = [
            threading.Thread(target=self._view, args=(EVERY_SECONDS * each / count,))
            for each in range(count)
        ]
        self.received: list[int] = []
        self.failures: list[str] = []

    def _view(self, begins_after: float) -> None:
        headers = {"HX-Request": "true", "HX-Target": "list"}
        with visiting(self._here, self._here.key) as visitor:
            visitor.http.get("/databases")
            self._over.wait(begins_after)
            while not self._over.wait(EVERY_SECONDS):
                try:
                    answer = visitor.http.get("/databases", headers=headers)
                except httpx.HTTPError as error:
                    self.failures.append(str(error))
                    continue
                if answer.status_code != httpx.codes.OK:
                    self.failures.append(str(answer.status_code))
                self.received.append(int(answer.headers.get("content-length", 0)))

    def __enter__(self) -> "Viewers":
        for each in self._threads:
            each.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for each in self._threads:
            each.join()


def watched(here: Installation, count: int, seconds: int) -> dict[str, Any]:
    """Have so many look at the list for so long: what the API takes, with them and without."""
    pid = here.pids()["api"]

    def spent() -> float:
        before = processor_seconds(pid)
        time.sleep(seconds)
        return (processor_seconds(pid) - before) / seconds * 100

    alone, memory = spent(), resident_bytes(pid)
    with Viewers(here, count) as viewers:
        time.sleep(2 * EVERY_SECONDS)  # all of them are there
        with_them = spent()
        grown = resident_bytes(pid) - memory
    say(f"{count} viewers: {with_them:.1f} % of a processor, {alone:.1f} % without")
    return {
        "viewers": count,
        "cpu_percent_without": round(alone, 2),
        "cpu_percent": round(with_them, 2),
        "added_mb_per_viewer": round(grown / count / 1e6, 3),
        "renewals": len(viewers.received),
        "kb_of_a_renewal": round(sum(viewers.received) / max(1, len(viewers.received)) / KB, 2),
        "failures": len(viewers.failures),
    }


def grid(page: Page, here: Installation, runs: int) -> dict[str, object]:
    """Run a statement of 10,000 rows in the editor, until its first row is seen, and scroll it."""
    made = here.create(name="grid")
    page.goto(f"{here.url}/databases/{made['id']}/sql")
    page.locator(".cm-content").click()  # which takes the place of the text field
    page.keyboard.insert_text(f"{GRID} generate_series(1, {ROWS}) i")
    shown, scrolled = [], []
    for _ in range(runs):
        page.evaluate("document.querySelector('#results').replaceChildren()")
        began = time.perf_counter()
        page.keyboard.press("Control+Enter")
        page.locator("#results").get_by_text("c4ca4238a0b923820dcc509a6f75849b").wait_for()
        shown.append(time.perf_counter() - began)
        scroller = page.locator("#results .grid")
        began = time.perf_counter()
        scroller.evaluate("each => { each.scrollTop = each.scrollHeight }")
        page.locator("#results").get_by_text("b7a782741f667201b54880c925faec4b").wait_for()
        scrolled.append(time.perf_counter() - began)
    elements = page.evaluate("document.querySelectorAll('#results *').length")
    return {"first_row": summary(shown), "last_row": summary(scrolled), "elements": elements}


def measured(extent: Extent) -> Report:
    """All of it."""
    with installation(warm_pool=1) as here, sync_playwright() as playwright:
        about = machine(here)
        chromium = playwright.chromium.launch(
            executable_path="/usr/bin/chromium", args=["--no-sandbox"]
        )
        write_rows(here, extent.databases)
        lists = visits(chromium, here, "/databases", extent.visits)
        some = here.create(name="one")
        one = visits(chromium, here, f"/databases/{some['id']}", extent.visits)
        say("pages are measured")
        with signed_in(chromium, here) as page:
            rows = grid(page, here, extent.runs)
        say("the grid is measured")
        chromium.close()
        viewers = watched(here, extent.viewers, extent.seconds)
    results: dict[str, object] = {
        "prototype": PROTOTYPE,
        "databases": extent.databases,
        "list": lists,
        "database": one,
        "viewers": viewers,
        "grid_of_10000_rows": rows,
    }
    first: Any = lists["first"]
    largest: Any = lists["first_kb"]
    aims = [
        Aim.at_most("first_visit_kb", largest, MOST_KB),
        Aim.at_most("first_visit_seconds", first["p50_ms"] / 1000, MOST_SECONDS),
        Aim.at_most("failed_renewals", viewers["failures"], 0),
    ]
    return Report(about, results, aims)


def benchmark(quick: bool) -> Report:
    """With 500 databases and 20 viewers for a minute; quick: with fewer, for 10 seconds."""
    if quick:
        return measured(Extent(databases=60, visits=1, viewers=3, seconds=10, runs=1))
    return measured(Extent(DATABASES, visits=10, viewers=VIEWERS, seconds=60, runs=10))


if __name__ == "__main__":
    run("console", __doc__.partition("\n")[0], benchmark)
