"""Shared by all tests; being here also puts this folder on the import path (harness)."""

from hypothesis import settings

# How long one example takes says more about what else the machine does.
settings.register_profile("tenantry", max_examples=50, deadline=None)
settings.load_profile("tenantry")
