"""How a cluster's backups do, and what somebody has to see to. Values only."""

import datetime as dt
from dataclasses import dataclass
from typing import Literal

from tenantry.pg.archiving import Archiver, Waiting


@dataclass(frozen=True, slots=True)
class Behind:
    """What of the log another repository does not have yet, though the local one does.

    The oldest of it waits for ``seconds``; ``problem`` is why, as far as that is known.
    """

    place: str
    segments: int
    seconds: float
    problem: str | None


@dataclass(frozen=True, slots=True)
class Upkeep:
    """What is known of a cluster's way into the repositories.

    ``archiver`` is None while the cluster does not answer, ``waiting`` where its files cannot
    be read. ``complaint`` is what was wrong when a segment was last archived;
    ``repository`` what is wrong with the local repository. ``backup_error`` and ``damage``
    are how the last backup failed and what the last verification found.
    """

    cluster: str
    created_at: dt.datetime
    last_backup_at: dt.datetime | None
    archiver: Archiver | None
    waiting: Waiting | None
    complaint: str | None = None
    repository: str | None = None
    backup_error: str | None = None
    damage: str | None = None
    behind: tuple[Behind, ...] = ()


@dataclass(frozen=True, slots=True)
class Alert:
    """What somebody has to see to: ``danger`` once tenants are about to notice."""

    level: Literal["warning", "danger"]
    cluster: str
    detail: str

    def __str__(self) -> str:
        return f"{self.cluster}: {self.detail}"
