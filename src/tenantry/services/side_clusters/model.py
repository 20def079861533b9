"""The specification of a side cluster, and a running one. Values only."""

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
    """The moments that can be restored from a repository, without a gap."""

    since: dt.datetime
    until: dt.datetime


@dataclass(frozen=True, slots=True)
class Wanted:
    """A cluster at a moment, with the named databases only.

    ``label`` is the backup to begin with, by default the one from which the least log has to be
    replayed; "immediate" is the end of that very backup.
    """

    cluster: str
    moment: dt.datetime | Literal["immediate"]
    databases: tuple[str, ...]
    label: str | None = None


@dataclass(frozen=True, slots=True)
class SideCluster:
    """A running server that has been recovered and accepts writes; it has no other clients.

    ``unreadable`` are the better backups that could not be read.
    """

    address: Address
    bindir: Path
    folder: Path
    unreadable: tuple[str, ...]
