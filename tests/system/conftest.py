"""One installation for each test process; tests use databases of their own in it."""

from collections.abc import Iterator

import httpx
import pytest

from clients import hurry
from harness import Installation


@pytest.fixture(scope="session")
def platform() -> Iterator[Installation]:
    """A platform that is up. Leave it up, with nothing of yours broken in it."""
    installation = Installation()
    try:
        installation.up()
        hurry(installation)
        yield installation
    finally:
        installation.remove()


@pytest.fixture
def api(platform: Installation) -> Iterator[httpx.Client]:
    """The API, with the administrator's key."""
    with platform.client() as client:
        yield client
