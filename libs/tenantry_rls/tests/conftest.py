"""Shared by the library's tests; being here also puts this folder on the import path."""

import os
from collections.abc import Iterator

import pytest
import schemas
from hypothesis import HealthCheck, settings
from rls_servers import Servers, running

# How long one example takes says more about what else the machine does.
settings.register_profile(
    "tenantry_rls",
    max_examples=50,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    # The same examples each time; others with TENANTRY_TEST_EXAMPLES=new.
    derandomize=os.environ.get("TENANTRY_TEST_EXAMPLES") != "new",
)
settings.load_profile("tenantry_rls")


@pytest.fixture(scope="session")
def servers() -> Iterator[Servers]:
    with running() as here:
        yield here


@pytest.fixture(scope="module")
def kept(servers: Servers) -> Iterator[str]:
    """A database that is well kept."""
    with servers.database() as name:
        schemas.create(servers, name)
        yield name
