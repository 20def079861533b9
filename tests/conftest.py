"""Shared by all tests; being here also puts this folder on the import path (harness)."""

import os

import pytest
from hypothesis import settings

# How long one example takes says more about what else the machine does.
settings.register_profile("tenantry", max_examples=50, deadline=None)
settings.load_profile("tenantry")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave long runs to bench/kills.py, and begin with the modules that take minutes.

    At the end, all others would wait for those.
    """
    if os.environ.get("TENANTRY_TEST_KILLS") != "all":
        left = [item for item in items if item.get_closest_marker("long_run")]
        items[:] = [item for item in items if item not in left]
        config.hook.pytest_deselected(items=left)
    items.sort(key=lambda item: item.get_closest_marker("takes_minutes") is None)
