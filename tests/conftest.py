"""Shared by all tests; being here also puts this folder on the import path (harness)."""

import pytest
from hypothesis import settings

# How long one example takes says more about what else the machine does.
settings.register_profile("tenantry", max_examples=50, deadline=None)
settings.load_profile("tenantry")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the modules that take minutes: at the end, all others would wait for them."""
    items.sort(key=lambda item: item.get_closest_marker("takes_minutes") is None)
