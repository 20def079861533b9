"""The request for a backup, and the paths of backup files. Values only."""

from dataclasses import dataclass
from pathlib import Path

from tenantry.base.home import Home
from tenantry.control.backups import BackupRow, Format, Part

MOST_MANUAL = 50  # of one database, so that frequent requests do not fill the shared disk


@dataclass(frozen=True, slots=True)
class NewBackup:
    """A request for a backup."""

    format: Format
    part: Part
    description: str | None


def root(home: Home) -> Path:
    """Return the folder of all logical backups, which has one folder per database."""
    return home.backups / "logical"


def file_of(home: Home, backup: BackupRow) -> Path:
    """Return the path of a complete backup."""
    return root(home) / backup.database_name / backup.file_name


def unfinished(file: Path) -> Path:
    """Return the path of a backup that is not complete yet."""
    return file.with_name(f"{file.name}.part")
