"""What is wanted of a restore of a whole cluster, how far it is, and what it tells. Values only."""

import datetime as dt
import uuid
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import BaseModel

from tenantry.pg.pgbackrest_output import Backup, Contents


class Reached(BaseModel):
    """A cluster that has been brought back.

    ``last_commit`` is when the last transaction in it was committed, None where that is no
    longer known. ``ended_early`` says that the log ended before the moment that was wanted,
    and ``unread`` names the last segment of the log that is there and could not be used,
    because one before it is missing or damaged.
    """

    cluster: str
    backup: str
    last_commit: dt.datetime | None
    timeline: int
    ended_early: bool
    unread: str | None


@dataclass(frozen=True, slots=True)
class Differences:
    """Where the control database and the cluster with the databases are not of one moment.

    ``missing`` are databases that somebody owns and that are not there; ``strangers`` are
    there, and nobody is known to own them; ``closed`` have lost their password.
    """

    missing: list[str] = field(default_factory=list)
    strangers: list[str] = field(default_factory=list)
    closed: list[str] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.missing or self.strangers or self.closed)


@dataclass(frozen=True, slots=True)
class Wanted:
    """A cluster as it was at ``to`` (None: at the end of its log), from the first of ``backups``
    that can be read. ``contents`` is what their repository holds of it."""

    cluster: str
    to: dt.datetime | None
    contents: Contents
    backups: list[Backup]

    @property
    def size(self) -> int:
        """The bytes that it takes once it is restored, about."""
        return self.backups[0].size


class Report(BaseModel):
    """What came of a restore.

    ``kept`` is the name of the folder in which the old cluster is. ``shut`` are logins (of the
    control cluster: keys and users) that opened something at that moment, and do no more: they
    had been revoked since, or were given another password that is not known here.
    ``old_unreadable`` says that what had been revoked since could be told by the audit only.
    ``in_service`` is set once its folder has the cluster's name.
    """

    cluster: str
    to: dt.datetime | None
    reached: Reached
    kept: str | None
    shut: list[str] = []
    old_unreadable: bool = False
    missing: list[str] = []
    strangers: list[str] = []
    closed: list[str] = []
    operation_id: uuid.UUID | None = None
    in_service: bool = False


@dataclass(frozen=True, slots=True)
class Kept:
    """The folder of a cluster that a restore has taken out of service, at ``since``."""

    cluster: str
    name: str
    path: Path
    since: dt.datetime
