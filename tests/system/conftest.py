"""One installation for each test process; tests use databases of their own in it.

A module that stops, kills or reconfigures it, or that counts all that is there, has a
fixture with an ``Installation`` of its own, whose docstring says why.
"""

from collections.abc import Callable, Iterator

import httpx
import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from browsing import browsing
from clients import hurry
from harness import SHARED, Installation
from persons import Person, make_user
from tenantry.host.packages import CHROMIUM


def brought_up() -> Installation:
    installation = Installation()
    try:
        installation.up()
        hurry(installation)
    except BaseException:
        installation.remove()
        raise
    return installation


@pytest.fixture(scope="module")
def platform(shared: None) -> Iterator[Installation]:  # noqa: ARG001
    """A platform that is up. Leave it up, with nothing of yours broken in it."""
    installation = SHARED.get(brought_up)
    yield installation
    installation.delete_databases()


@pytest.fixture
def api(platform: Installation) -> Iterator[httpx.Client]:
    """The API, with the administrator's key."""
    with platform.client() as client:
        yield client


@pytest.fixture
def people(platform: Installation, api: httpx.Client) -> Iterator[Callable[..., Person]]:
    """Makes users, each with a client of its own."""
    yield lambda **asked: Person(platform, make_user(api, **asked)["email"])
    while Person.everybody:
        Person.everybody.pop().http.close()


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=str(CHROMIUM), args=["--no-sandbox", "--disable-gpu"]
        )
        yield browser
        browser.close()


@pytest.fixture
def page(chromium: Browser, platform: Installation) -> Iterator[Page]:
    """A page of the console, as of ``browsing``."""
    with browsing(chromium, platform) as opened:
        yield opened
