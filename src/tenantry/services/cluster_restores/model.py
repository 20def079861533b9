"""The request for a restore of a whole cluster, its progress and its report. Values only."""

import datetime as dt
import uuid
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import BaseModel

from tenantry.pg.pgbackrest_output import Backup, Contents


class Reached(BaseModel):
    """A recovered cluster.

    ``last_commit`` is when the last transaction in it was committed, None where that is no longer
    known. ``ended_early`` says that the log ended before the requested time, and ``unread`` names
    the last segment of the log that exists but could not be used, because one before it is missing
    or damaged.
    """

    cluster: str
    backup: str
    last_commit: dt.datetime | None
    timeline: int
    ended_early: bool
    unread: str | None


@dataclass(frozen=True, slots=True)
class Differences:
    """Differences between the control database and clusters with databases.

    ``missing`` are databases that have an owner and do not exist; ``unmanaged`` exist and are
    unmanaged; ``closed`` have lost their password.
    """

    missing: list[str] = field(default_factory=list)
    unmanaged: list[str] = field(default_factory=list)
    closed: list[str] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.missing or self.unmanaged or self.closed)

    def __add__(self, other: "Differences") -> "Differences":
        return Differences(
            self.missing + other.missing,
            self.unmanaged + other.unmanaged,
            self.closed + other.closed,
        )


@dataclass(frozen=True, slots=True)
class Wanted:
    """The request for a cluster as of ``to`` (None: at the end of its log).

    The first of ``backups`` that can be read is used. ``contents`` is what their repository holds
    of the cluster.
    """

    cluster: str
    to: dt.datetime | None
    contents: Contents
    backups: list[Backup]

    @property
    def size(self) -> int:
        """The approximate size of the restored cluster in bytes."""
        return self.backups[0].size


class Report(BaseModel):
    """The result of a restore.

    ``retained`` is the name of the folder with the old cluster. ``locked`` are logins (of the
    control cluster: keys and users) that were valid at the restored time and are locked now: they
    had been revoked since, or their password was changed to one that is not known here.
    ``old_unreadable`` says that only the audit was available to find what had been revoked since.
    ``in_service`` is set once the restored folder has the cluster's name.
    """

    cluster: str
    to: dt.datetime | None
    reached: Reached
    retained: str | None
    locked: list[str] = []
    old_unreadable: bool = False
    missing: list[str] = []
    unmanaged: list[str] = []
    closed: list[str] = []
    operation_id: uuid.UUID | None = None
    in_service: bool = False


@dataclass(frozen=True, slots=True)
class Retained:
    """The folder of a cluster that a restore has taken out of service, at ``since``."""

    cluster: str
    name: str
    path: Path
    since: dt.datetime
