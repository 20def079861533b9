"""Shared by the library's tests; being here also puts this folder on the import path."""

import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack

import pytest
from hypothesis import HealthCheck, settings
from rest_clients import Client, connected
from rest_server import Server, running

# How long one example takes says more about what else the machine does.
settings.register_profile(
    "tenantry_rest",
    max_examples=50,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    # The same examples each time; others with TENANTRY_TEST_EXAMPLES=new.
    derandomize=os.environ.get("TENANTRY_TEST_EXAMPLES") != "new",
)
settings.load_profile("tenantry_rest")

Serve = Callable[..., Awaitable[Client]]


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    with running() as here:
        yield here


@pytest.fixture
async def serve(server: Server) -> AsyncIterator[Serve]:
    """A function that serves the database with other settings, and returns a client of it."""
    async with AsyncExitStack() as stack:

        async def start(**changed: str) -> Client:
            return await stack.enter_async_context(connected(server, **changed))

        yield start


@pytest.fixture
async def api(server: Server) -> AsyncIterator[Client]:
    async with connected(server) as client:
        yield client
