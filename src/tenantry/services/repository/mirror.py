"""Copies the log from the local repository into the others.

PostgreSQL archives into the local repository alone, so that no other one can delay it, or make the
log wait in the cluster's own folder until its disk is full. From there each file of the log is read
and copied, in order, as soon as it exists; another repository lacks what the local one has beyond a
mark. Without a mark the two are compared (docs/decisions/0027).
"""

import asyncio
import contextlib
import json
import shutil
import time
from collections import defaultdict
from collections.abc import Awaitable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from tenantry.base.errors import TenantryError
from tenantry.base.events import LogMirrored, emit
from tenantry.host import files
from tenantry.pg import archiving
from tenantry.pg.repositories import Repository
from tenantry.services.repository.model import Behind
from tenantry.services.repository.service import Repositories

_AT_ONCE = 4
_FIRST = 1  # the number of the local repository


@dataclass(frozen=True, slots=True)
class _Mark:
    """How much of the log a repository has: the last file of each of its parts (``part_of``)."""

    place: str
    reached: dict[str, str]
    problem: str | None = None

    def beyond(self, names: Iterable[str]) -> "_Mark":
        """Return the mark with these files copied, too."""
        added = {archiving.part_of(name): name for name in sorted(names)}
        return _Mark(self.place, self.reached | added)


class Mirror:
    """The copying of the log from the local repository into the others."""

    def __init__(self, repositories: Repositories) -> None:
        self._repositories = repositories
        self._folder = repositories.pgbackrest.folder / "mirror"
        self._locks: defaultdict[tuple[str, int], asyncio.Lock] = defaultdict(asyncio.Lock)

    @property
    def _others(self) -> list[tuple[int, Repository]]:
        return list(enumerate(self._repositories.places, start=1))[_FIRST:]

    # ── copying ──────────────────────────────────────────────────────────────

    async def follow(self) -> None:
        """Copy what is new, for each cluster separately: a failure does not hold up the others.

        Raises RepositoryError, at the end, if a repository does not accept something.
        """
        if self._repositories.enabled:
            await self._follow_all([cluster.name for cluster in self._repositories.clusters])

    async def compare(self, cluster_name: str) -> None:
        """Find all that another repository lacks, and copy it.

        Raises RepositoryError if it does not accept it.
        """
        await self._follow_all([cluster_name], from_start=True)

    async def _follow_all(self, names: Iterable[str], *, from_start: bool = False) -> None:
        await _each_to_its_end(
            self._follow(name, number, place, from_start=from_start)
            for name in names
            for number, place in self._others
        )

    async def _follow(self, name: str, number: int, place: Repository, *, from_start: bool) -> None:
        async with self._locks[name, number]:
            await self._carry_on(name, number, place, from_start=from_start)

    async def _carry_on(
        self, name: str, number: int, place: Repository, *, from_start: bool
    ) -> None:
        mark = self._read(name, number) or _Mark("", {})
        try:
            if from_start or mark.place != str(place):
                there = list(archiving.archived(self._repositories.log_folder(name), after={}))
                await self._carry(name, number, await self._lacking(name, number, there))
                mark = _Mark(str(place), {}).beyond(there)
                self._write(name, number, mark)
            while waiting := archiving.archived(
                self._repositories.log_folder(name), after=mark.reached
            ):
                few = list(waiting)[:_AT_ONCE]
                await self._carry(name, number, few)
                mark = mark.beyond(few)
                self._write(name, number, mark)
        except (TenantryError, OSError) as error:
            self._write(name, number, _Mark(mark.place, mark.reached, str(error)))
            raise
        if mark.problem is not None:
            self._write(name, number, _Mark(mark.place, mark.reached))

    async def _lacking(self, name: str, number: int, there: Sequence[str]) -> list[str]:
        """Return what a repository lacks of the local log and needs for its own backups."""
        held = await self._repositories.held(name, number)
        since = min((backup.wal_start for backup in held.backups), default=None)
        if since is None or held.archive is None:
            return list(there[-1:])  # its first backup needs only what follows
        pgbackrest = self._repositories.pgbackrest
        has = set(await pgbackrest.segments(name, held.archive, repository=number))
        return [each for each in there if each not in has and (each >= since or "." in each)]

    async def _carry(self, name: str, number: int, log: Sequence[str]) -> None:
        for begin in range(0, len(log), _AT_ONCE):
            few = log[begin : begin + _AT_ONCE]
            with self._scratch(name, number) as folder:
                await _each_to_its_end(self._carry_one(name, number, folder / each) for each in few)
            emit(LogMirrored(f"{name} {few[-1]}"))

    async def _carry_one(self, name: str, number: int, file: Path) -> None:
        pgbackrest = self._repositories.pgbackrest
        await pgbackrest.fetch(name, file.name, file, repository=_FIRST)
        await pgbackrest.push(name, file, repository=number)

    @contextlib.contextmanager
    def _scratch(self, name: str, number: int) -> Iterator[Path]:
        """A folder for files being copied, emptied of what a killed worker has left there."""
        folder = self._folder / f"{name}-{number}"
        shutil.rmtree(folder, ignore_errors=True)
        files.ensure_folder(folder)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    # ── progress ─────────────────────────────────────────────────────────────

    def behind(self, cluster_name: str) -> list[Behind]:
        """Return what the other repositories lack; nothing if the local one cannot be read."""
        with contextlib.suppress(OSError):
            return [self._behind(cluster_name, number, str(at)) for number, at in self._others]
        return []

    def reached(self, cluster_name: str, number: int) -> str | None:
        """Return the last file of the log that another repository has; None for the local one."""
        mark = self._read(cluster_name, number)
        return None if mark is None else max(mark.reached.values(), key=_newest, default="")

    def _behind(self, name: str, number: int, place: str) -> Behind:
        mark = self._read(name, number) or _Mark(place, {})
        reached = mark.reached if mark.place == place else {}
        waiting = archiving.archived(self._repositories.log_folder(name), after=reached)
        since = min((file.stat().st_mtime for file in waiting.values()), default=None)
        seconds = 0.0 if since is None else max(0.0, time.time() - since)
        return Behind(place, len(waiting), seconds, mark.problem)

    def _file(self, name: str, number: int) -> Path:
        return self._folder / f"{name}-{number}.json"

    def _read(self, name: str, number: int) -> _Mark | None:
        try:
            return _Mark(**json.loads(self._file(name, number).read_text()))
        except FileNotFoundError:
            return None

    def _write(self, name: str, number: int, mark: _Mark) -> None:
        files.ensure_folder(self._folder)
        files.write_atomically(self._file(name, number), json.dumps(asdict(mark)))


async def _each_to_its_end(tasks: Iterable[Awaitable[None]]) -> None:
    """Await all of them at the same time, and then raise the first one's error, if any."""
    for failure in await asyncio.gather(*tasks, return_exceptions=True):
        if failure is not None:
            raise failure


def _newest(name: str) -> tuple[bool, str]:
    return "." not in name, name
