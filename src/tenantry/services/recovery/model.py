"""What a recovery finds, how far it has come, and what it tells in the end."""

import datetime as dt
from dataclasses import dataclass

from pydantic import BaseModel

from tenantry.pg.pgbackrest_output import Backup, Contents
from tenantry.services.cluster_restores.model import Differences, Reached


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
class Recovered:
    """All of it is back."""

    clusters: list[Reached]
    home_files: list[str]
    differences: Differences
