"""What is asked of a side instance, and what it is. Values only."""

import datetime as dt
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tenantry.base.errors import InvalidInput, MachineError
from tenantry.pg.connections import Address


class OutsideWindow(InvalidInput):
    code = "outside_window"
    title = "That moment cannot be restored"


class LogMissing(MachineError):
    code = "wal_missing"
    title = "A part of the write-ahead log is not in the repository"


@dataclass(frozen=True, slots=True)
class Window:
    """Every moment of it can be restored from what is in a repository."""

    since: dt.datetime
    until: dt.datetime


@dataclass(frozen=True, slots=True)
class Wanted:
    """A cluster as it was at a moment, with the databases named; of the others there is nothing.

    ``label`` is the backup to begin with, by default the one from which the least log is to be
    read; "immediate" is the end of that very backup.
    """

    cluster: str
    moment: dt.datetime | Literal["immediate"]
    databases: tuple[str, ...]
    label: str | None = None


@dataclass(frozen=True, slots=True)
class SideInstance:
    """A running server that was recovered, and takes writes: nobody else comes there.

    ``unreadable`` are the better backups that could not be read.
    """

    address: Address
    bindir: Path
    folder: Path
    unreadable: tuple[str, ...]
