"""One installation for each test process; tests use databases of their own in it."""

from collections.abc import Callable, Iterator

import httpx
import pytest

from clients import hurry
from harness import Installation
from persons import Person, make_user


@pytest.fixture(scope="session")
def lasting_platform() -> Iterator[Installation]:
    installation = Installation()
    try:
        installation.up()
        hurry(installation)
        yield installation
    finally:
        installation.remove()


@pytest.fixture(scope="module")
def platform(lasting_platform: Installation) -> Iterator[Installation]:
    """A platform that is up. Leave it up, with nothing of yours broken in it."""
    yield lasting_platform
    lasting_platform.delete_databases()


@pytest.fixture
def api(platform: Installation) -> Iterator[httpx.Client]:
    """The API, with the administrator's key."""
    with platform.client() as client:
        yield client


@pytest.fixture
def people(platform: Installation, api: httpx.Client) -> Iterator[Callable[..., Person]]:
    """Makes users, each as a person before the door."""
    yield lambda **asked: Person(platform, make_user(api, **asked)["email"])
    while Person.everybody:
        Person.everybody.pop().http.close()
