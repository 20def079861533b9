"""The file in the home that lists the clusters, for what does without the control database."""

import fcntl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from pydantic import ValidationError

from tenantry.base.errors import MachineError
from tenantry.base.home import Home
from tenantry.base.settings import Settings
from tenantry.control import audit
from tenantry.control import clusters as rows
from tenantry.control.clusters import ClusterRow
from tenantry.control.store import ControlStore
from tenantry.host import files
from tenantry.services.clusters.members import MEMBERS, Member, listed

CONTROL = "control"
FIRST = "shared-1"  # the shared cluster that every installation has


@dataclass(frozen=True, slots=True)
class FleetFile:
    """The file. Changes exclude each other, across processes."""

    settings: Settings

    def members(self) -> list[Member]:
        """Return the clusters besides the first. Raises MachineError for a damaged file."""
        try:
            return [*listed(self.settings.home).value()]
        except ValidationError as error:
            raise MachineError(
                f"{Home(self.settings.home).fleet} is damaged.",
                hint="With the control cluster running, remove it and run tenantry up: it is "
                "written again.",
            ) from error

    def member(self, name: str) -> Member | None:
        """Return a cluster besides the first, None if there is none of that name."""
        return next((each for each in self.members() if each.name == name), None)

    def put(self, member: Member) -> None:
        """Write a new or changed member into the file."""
        with self._writing():
            others = [each for each in self.members() if each.name != member.name]
            self.write([*others, member])

    def adjust(self, row: ClusterRow) -> None:
        """Write the size and the parameters of a row into the file, if that has the cluster."""
        with self._writing():
            members = self.members()
            self.write([each.adjusted(row) if each.name == row.name else each for each in members])

    def change(self, before: Member, **fields: object) -> bool:
        """Change fields of a member, if it is ``before`` in the file. Return whether it was."""
        with self._writing():
            known = self.members()
            after = before.model_copy(update=fields)
            self.write([after if each == before else each for each in known])
        return before in known

    def remove(self, name: str) -> None:
        """Remove a member from the file."""
        with self._writing():
            self.write([each for each in self.members() if each.name != name])

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Keep other processes from changing the file for the duration of the block."""
        run = Home(self.settings.home).run
        files.ensure_folder(run)
        with (run / "clusters.lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def write(self, members: Sequence[Member]) -> bool:
        """Write the file. Returns whether it changed."""
        path = Home(self.settings.home).fleet
        if not members and not path.exists():
            return False
        return files.ensure_file(path, MEMBERS.dump_json((*members,), indent=2).decode() + "\n")

    async def ensure_members(self, store: ControlStore) -> None:
        """Write the file from the control database; the control cluster has to run.

        A cluster that is only in the file stays there: what is on it shall be reported.
        """
        async with store.transaction(audit.PLATFORM) as tx:
            known = {
                row.name: Member.of(row)
                for row in await rows.every(tx)
                if row.kind != CONTROL and row.ready and row.name != FIRST
            }
        with self._writing():
            self.write([*({each.name: each for each in self.members()} | known).values()])
