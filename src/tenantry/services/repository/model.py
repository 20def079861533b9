"""The state of a cluster's backups, and alerts about them. Values only."""

import datetime as dt
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import Field

from tenantry.pg.archiving import Archiver, Waiting
from tenantry.pg.pgbackrest_output import BackupType
from tenantry.services.operations.model import Kind, Params, State

Known = Literal["ok", "none", "unknown"]


class OfCluster(Params):
    """The cluster of an operation."""

    cluster: str


class BackupParams(OfCluster):
    """The backup to make; in all repositories, unless some are given by their numbers."""

    type: BackupType
    repositories: tuple[int, ...] = ()


class Looked(State):
    """The repositories of an operation, by their places."""

    places: list[str] = Field(default_factory=list)


class BackupState(Looked):
    """The backups made, the repositories where it failed and why, and the expired backups."""

    began: dt.datetime | None = None
    backups: list[dict[str, Any]] = Field(default_factory=list)
    lacking: dict[int, str] = Field(default_factory=dict)
    expired: list[str] = Field(default_factory=list)


BACKUP = Kind("cluster.backup", BackupParams, BackupState)
VERIFY = Kind("cluster.verify", OfCluster, Looked)


@dataclass(frozen=True, slots=True)
class RepositoryState:
    """The moments that can be restored from one repository of a cluster, as of ``looked_at``.

    ``problem`` is why that is not known, or nothing can be restored; then no other field is set.
    ``trouble`` is what is wrong with a repository that can be read all the same. The last backups
    are usable ones. Every moment from ``restorable_from`` to ``restorable_until`` can be restored
    from it alone; the latter is known for the local repository only. ``missing`` is the number of
    segments that its log lacks, and ``broken`` is whether one is after the last backup.
    """

    number: int
    place: str
    looked_at: dt.datetime
    problem: str | None = None
    trouble: str | None = None
    last_backup_at: dt.datetime | None = None
    last_began_at: dt.datetime | None = None
    last_full_at: dt.datetime | None = None
    restorable_from: dt.datetime | None = None
    restorable_until: dt.datetime | None = None
    missing: int = 0
    broken: bool = False

    @property
    def known(self) -> Known:
        """Whether something can be restored from it."""
        if self.problem is not None:
            return "unknown"
        return "none" if self.restorable_from is None else "ok"


@dataclass(frozen=True, slots=True)
class Behind:
    """The part of the log that another repository does not have yet, though the local one does.

    The oldest of it has waited for ``seconds``; ``problem`` is why, as far as that is known.
    """

    place: str
    segments: int
    seconds: float
    problem: str | None


@dataclass(frozen=True, slots=True)
class Upkeep:
    """The state of a cluster's backups, and of its archiving into the repositories.

    ``archiver`` is None if the cluster does not answer, ``waiting`` if its files cannot be read.
    ``complaint`` is what was wrong when a segment was last archived. ``backup_error`` and
    ``damage`` are how the last backup into these repositories failed, and what their last
    verification found; ``in_progress`` is whether a backup is being made, ``moved`` whether
    backups were made elsewhere before.
    """

    cluster: str
    created_at: dt.datetime
    repositories: tuple[RepositoryState, ...]
    archiver: Archiver | None
    waiting: Waiting | None
    complaint: str | None = None
    backup_error: str | None = None
    damage: str | None = None
    in_progress: bool = False
    moved: bool = False
    behind: tuple[Behind, ...] = ()

    @property
    def last_backup_at(self) -> dt.datetime | None:
        """When the newest usable backup that is in a repository now ended."""
        return max(
            (each.last_backup_at for each in self.repositories if each.last_backup_at),
            default=None,
        )

    @property
    def known(self) -> Known:
        """Whether there is a backup that can be restored from."""
        found = {each.known for each in self.repositories}
        return "ok" if "ok" in found else "unknown" if "unknown" in found else "none"


@dataclass(frozen=True, slots=True)
class Alert:
    """A problem that needs attention; at the level ``danger`` tenants will soon notice it.

    It is with the archiving of the write-ahead log, or with backups.
    """

    level: Literal["warning", "danger"]
    cluster: str
    detail: str
    about: Literal["archiving", "backups"] = "backups"

    def __str__(self) -> str:
        return f"{self.cluster}: {self.detail}"
