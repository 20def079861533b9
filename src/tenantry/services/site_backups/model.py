"""Backups of sites: their operations, and the names of files. Values only."""

import uuid
from dataclasses import dataclass

from pydantic import Field

from tenantry.control.site_backups import SiteBackupRow
from tenantry.services.operations.model import Kind, Params, State

MOST_MANUAL = 10  # of one site, so that frequent requests do not fill the repositories
# A folder of data as Redis 7 and newer have it: a copy to begin with, and what it was called.
BASE, MANIFEST = "appendonly.aof.1.base.rdb", "appendonly.aof.manifest"
MANIFEST_TEXT = f"file {BASE} seq 1 type b\n"


class OfBackup(Params):
    """The backup that an operation concerns."""

    backup_id: uuid.UUID


class Copied(State):
    """What is known of a new backup so far; ``lacking`` says why a repository does not have it."""

    size_bytes: int = 0
    sha256: str = ""
    memory_bytes: int = 0
    keys: int = 0
    server: str = ""
    places: list[str] = Field(default_factory=list)
    lacking: dict[str, str] = Field(default_factory=dict)


class Swapped(State):
    """``previous`` is the folder with the data that a restore replaces.

    ``silent`` is how often in turn the site's process was found neither loading nor serving the new
    data.
    """

    previous: str = ""
    silent: int = 0
    keys: int = 0


BACKUP = Kind("site.backup", OfBackup, Copied)
RESTORE = Kind("site.restore", OfBackup, Swapped)


@dataclass(frozen=True, slots=True)
class Contents:
    """What a site's Redis has now; ``server`` is what it is."""

    memory_bytes: int
    keys: int
    server: str


def file_name(backup: SiteBackupRow) -> str:
    """Return the name of a backup's file in each repository."""
    return f"sites/{backup.site_id}/{backup.id}.rdb"


def folder_name(operation_id: uuid.UUID) -> str:
    """Return the name of the folder with the data that a restore brings back."""
    return f"aof-{operation_id.hex}"
