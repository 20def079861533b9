"""Reads a folder of migrations."""

from collections.abc import Mapping
from importlib.resources.abc import Traversable
from pathlib import Path

from tenantry.services.migrations import plan
from tenantry.services.migrations.model import BadMigrations, Migration

Folder = Path | Traversable | Mapping[str, bytes]  # or a folder's contents, by name


def load(folder: Folder) -> tuple[Migration, ...]:
    """Return the migrations of a folder. Raises BadMigrations."""
    if isinstance(folder, Mapping):
        return plan.collect(folder)
    try:
        return plan.collect(
            {
                entry.name: entry.read_bytes()
                for entry in folder.iterdir()
                if entry.is_file() and plan.parse_name(entry.name)
            }
        )
    except OSError as error:
        raise BadMigrations(
            f"{error.filename or folder} cannot be read: {error.strerror or error}.",
            hint="Name a folder of migration files that can be.",
        ) from None
