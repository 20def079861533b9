"""The findings, the progress and the result of a recovery."""

import datetime as dt
from dataclasses import dataclass

from pydantic import BaseModel

from tenantry.pg.pgbackrest_output import Backup, Contents
from tenantry.services.cluster_restores.model import Differences, Reached


class Progress(BaseModel):
    """The progress of a recovery, stored in the home until it is complete."""

    source: str
    to: dt.datetime | None
    backups: dict[str, str] = {}
    ended_early: list[str] = []
    reached: list[Reached] = []

    def of(self, cluster: str) -> Reached | None:
        return next((each for each in self.reached if each.cluster == cluster), None)


@dataclass(frozen=True, slots=True)
class Found:
    """The contents of the repository, by cluster, and the backup that each is restored from.

    ``lacking`` is how many segments of its write-ahead log are missing before later ones.
    """

    source: str
    contents: dict[str, Contents]
    chosen: dict[str, Backup]
    lacking: dict[str, int]
    has_home_files: bool
    in_progress: bool

    @property
    def size(self) -> int:
        """The bytes, about, that the clusters take once they are restored."""
        return sum(backup.size for backup in self.chosen.values())


@dataclass(frozen=True, slots=True)
class Recovered:
    """The result of a complete recovery."""

    clusters: list[Reached]
    home_files: list[str]
    differences: Differences
