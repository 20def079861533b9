"""Shared by all tests; being here also puts this folder on the import path (harness)."""
