"""What a recovery finds, how far it has come, and what it tells in the end."""

import datetime as dt
from dataclasses import dataclass, field

from pydantic import BaseModel

from tenantry.pg.pgbackrest import Backup, Contents


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


class Progress(BaseModel):
    """A recovery that is under way, kept in the home until it is complete."""

    source: str
    to: dt.datetime | None
    backups: dict[str, str] = {}
    ended_early: list[str] = []
    reached: list[Reached] = []

    def of(self, cluster: str) -> Reached | None:
        return next((each for each in self.reached if each.cluster == cluster), None)


@dataclass(frozen=True, slots=True)
class Found:
    """What is in the repository, by cluster, and the backup that each is begun with.

    ``lacking`` is how many segments of its log are not there, though later ones are.
    """

    source: str
    contents: dict[str, Contents]
    chosen: dict[str, Backup]
    lacking: dict[str, int]
    has_home_files: bool
    begun: bool

    @property
    def size(self) -> int:
        """The bytes that the clusters take once they are restored, about."""
        return sum(backup.size for backup in self.chosen.values())


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
class Recovered:
    """All of it is back."""

    clusters: list[Reached]
    home_files: list[str]
    differences: Differences
