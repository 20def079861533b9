"""What is wanted of a backup, and where its file is. Values only."""

from dataclasses import dataclass
from pathlib import Path

from tenantry.base.home import Home
from tenantry.control.backups import BackupRow, Format, Part

MOST_MANUAL = 50  # of one database: nobody fills the disk that all share by asking often


@dataclass(frozen=True, slots=True)
class NewBackup:
    """What a caller asks for."""

    format: Format
    part: Part
    description: str | None


def root(home: Home) -> Path:
    """Where the files of all databases are, a folder each."""
    return home.backups / "logical"


def file_of(home: Home, backup: BackupRow) -> Path:
    """Where the file of a whole backup is."""
    return root(home) / backup.database_name / backup.file_name


def unfinished(file: Path) -> Path:
    """What a file is called before it is whole."""
    return file.with_name(f"{file.name}.part")
