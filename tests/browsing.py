"""What the tests of the console come to it with: HTTP as a browser sends it, and axe."""

import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from harness import Installation

# The pages of each database, below its own.
TABS = (
    "",
    "/metrics",
    "/sql",
    "/queries",
    "/sessions",
    "/tables",
    "/advice",
    "/logs",
    "/backups",
    "/past",
    "/branches",
    "/migrations",
    "/blueprint",
    "/import",
    "/access",
    "/data-api",
    "/extensions",
    "/alerts",
    "/operations",
    "/settings",
)
# A machine may have much else to do: Playwright's own five seconds are soon over.
PATIENCE = 60_000  # milliseconds
expect.set_options(timeout=PATIENCE)
COOKIE = re.compile(r"__Host-tenantry=([^;]*); (.*)")


class Visitor:
    """What a browser sends and keeps."""

    def __init__(self, platform: Installation) -> None:
        self.http = platform.anonymous({"Accept": "text/html", "Sec-Fetch-Site": "same-origin"})

    def enter(self, path: str = "/sign-in", **form: str) -> httpx.Response:
        return self.keep(self.http.post(path, data=form))

    def keep(self, answer: httpx.Response) -> httpx.Response:
        """Keep the cookie, which httpx sends by TLS only, unlike browsers to this machine."""
        for line in answer.headers.get_list("set-cookie"):
            if found := COOKIE.match(line):
                self.http.headers["Cookie"] = f"__Host-tenantry={found[1]}"
        return answer

    def page(self, path: str, status: int = 200) -> str:
        answer = self.http.get(path)
        assert answer.status_code == status, answer.text
        assert answer.headers["content-type"].startswith("text/html")
        return answer.text

    def create(self, name: str, once: str | None = None, **form: str) -> httpx.Response:
        form = {"name": name, "environment": "staging", "once": once or uuid.uuid4().hex, **form}
        return self.http.post("/databases", data=form)


def some_name() -> str:
    return f"c{uuid.uuid4().hex[:10]}"


@contextmanager
def visiting(platform: Installation, key: str | None = None) -> Iterator[Visitor]:
    """A visitor, who has signed in if ``key`` is given."""
    visitor = Visitor(platform)
    with visitor.http:
        if key is not None:
            assert visitor.enter(api_key=key).status_code == 303
        yield visitor


@contextmanager
def browsing(chromium: Browser, platform: Installation) -> Iterator[Page]:
    """A page on which the administrator has signed in; nothing may be refused by the policy."""
    context = chromium.new_context(permissions=["clipboard-read", "clipboard-write"])
    context.set_default_timeout(PATIENCE)
    opened = context.new_page()
    errors: list[str] = []
    opened.on("pageerror", lambda error: errors.append(str(error)))
    opened.on(
        "console",
        lambda said: (
            errors.append(f"{said.text} {said.location}")
            if said.type == "error" and "422" not in said.text and "409" not in said.text
            else None
        ),
    )
    opened.goto(f"{platform.url}/")
    opened.get_by_label("API key").fill(platform.key)
    opened.get_by_role("button", name="Sign in").click()
    expect(opened.get_by_role("link", name="Databases")).to_be_visible()
    opened.wait_for_load_state()  # no key counts before
    yield opened
    context.close()
    assert errors == []


def faults(page: Page) -> list[tuple[str, str]]:
    """What axe has to say of a page, by WCAG 2.2 AA."""
    tags = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
    found = Axe().run(page, options={"runOnly": {"type": "tag", "values": tags}})
    return [
        (each["id"], str([node["html"][:200] for node in each["nodes"][:3]]))
        for each in found.response["violations"]
    ]
