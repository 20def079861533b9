"""The folders of a cluster that is being restored, and which of them is the cluster's.

    clusters/NAME/data            in service
    clusters/NAME/restored/data   being restored, until it is in service
    clusters/NAME/before-MOMENT   in service until that moment (UTC)
    clusters/NAME/restore.json    the decision: ``restored`` is the cluster's from now on

Invariant: at every moment exactly one complete folder is the cluster's: ``data`` until the decision
is made, and the restored one afterwards. The decision is made by one rename, that of the file;
after it an interrupted restore is completed by ``finish``, and before it undone by ``undo``.
"""

import datetime as dt
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import ValidationError

from tenantry.base.errors import MachineError
from tenantry.base.events import StepDone, emit
from tenantry.base.home import Home
from tenantry.host import files
from tenantry.pg.clusters import Cluster
from tenantry.pg.connections import Address
from tenantry.services.cluster_restores.model import Report, Retained

RESTORE = "cluster.restore"
_BEFORE = "before-"
_DISCARDED = "discarded-"
_MOMENT = "%Y%m%dT%H%M%SZ"


@dataclass(frozen=True, slots=True)
class Folders:
    """The folders of one cluster."""

    home: Home
    cluster: Cluster

    @property
    def restored(self) -> Cluster:
        """The cluster that is being restored, which only the platform can reach."""
        return replace(
            self.cluster,
            folder=self.cluster.folder / "restored",
            address=self._private("beside"),
        )

    @property
    def old(self) -> Cluster:
        """The cluster that is in service, at an address that only the platform can reach."""
        return replace(self.cluster, address=self._private("old"))

    def _private(self, what: str) -> Address:
        # The path of a socket is limited in length (see base.settings).
        return Address(self.home.run / f"{self.cluster.name}-{what}", self.cluster.address.port)

    @property
    def _decision(self) -> Path:
        return self.cluster.folder / "restore.json"

    # ── putting into service ─────────────────────────────────────────────────

    def decided(self) -> Report | None:
        """Return the decided restore that is not complete. Raises MachineError if unreadable."""
        try:
            return Report.model_validate_json(self._decision.read_bytes())
        except FileNotFoundError:
            return None
        except ValidationError as error:
            raise MachineError(
                f"{self._decision} is damaged.", hint="Please report it; nothing was changed."
            ) from error

    def new_name(self, now: dt.datetime) -> str | None:
        """Return the future name of the folder in service; None if there is none."""
        return (
            f"{_BEFORE}{now.astimezone(dt.UTC):{_MOMENT}}" if self.cluster.data.exists() else None
        )

    def decide(self, report: Report) -> None:
        """Record the decision for the restored cluster. Neither of the two may run."""
        files.write_atomically(self._decision, report.model_dump_json(indent=2))
        emit(StepDone(RESTORE, "decided", self.cluster.name))

    def finish(self) -> None:
        """Rename the folders as decided; without a decision, do nothing."""
        report = self.decided()
        if report is None or report.in_service:
            return
        folder, restored = self.cluster.folder, self.restored
        if restored.data.exists():
            if self.cluster.data.exists() and report.retained is not None:
                self.cluster.data.rename(folder / report.retained)
                files.sync_folder(folder)
                emit(StepDone(RESTORE, "put_aside", self.cluster.name))
            restored.data.rename(self.cluster.data)
            files.sync_folder(folder)
            emit(StepDone(RESTORE, "in_service", self.cluster.name))
        for left in (restored.folder, restored.address.socket_dir):
            shutil.rmtree(left, ignore_errors=True)
        done = report.model_copy(update={"in_service": True})
        files.write_atomically(self._decision, done.model_dump_json(indent=2))

    def complete(self) -> None:
        """Remove the decision, once the control database has recorded the restore."""
        self._decision.unlink(missing_ok=True)

    # ── undoing ──────────────────────────────────────────────────────────────

    async def end_private(self) -> None:
        """Stop the old cluster at its private address, if it was left running there."""
        if self.old.address.socket_dir.exists():
            await self.old.stop()
            shutil.rmtree(self.old.address.socket_dir, ignore_errors=True)

    def hold(self) -> None:
        """Prevent starts of the cluster by ``ensure_running``; a running one keeps running."""
        self.cluster.held.touch(0o600)

    def release(self) -> None:
        """Permit starts of the cluster again."""
        self.cluster.held.unlink(missing_ok=True)

    async def undo(self) -> bool:
        """Remove the restored cluster unless it is decided for. Returns whether there was one."""
        report = self.decided()
        if report is not None and not report.in_service:
            return False
        there = self.restored.folder.exists()
        await self.restored.remove()
        return there

    async def settle(self) -> None:
        """Complete or undo an interrupted restore. No other process may work on these folders."""
        await self.end_private()
        self.finish()
        await self.undo()
        self.release()
        for left in self.cluster.folder.glob(f"{_DISCARDED}*"):
            shutil.rmtree(left)

    # ── retained folders ─────────────────────────────────────────────────────

    def retained(self) -> list[Retained]:
        """Return the folders that restores have taken out of service, the newest first."""
        found = []
        for path in self.cluster.folder.glob(f"{_BEFORE}*"):
            try:
                since = dt.datetime.fromisoformat(path.name.removeprefix(_BEFORE))
            except ValueError:
                continue
            found.append(Retained(self.cluster.name, path.name, path, since))
        return sorted(found, key=lambda each: each.since, reverse=True)

    def discard(self, retained: Retained) -> None:
        """Delete a retained folder permanently."""
        # Renamed first: a partly deleted folder must not look like a cluster.
        gone = retained.path.with_name(_DISCARDED + retained.name)
        retained.path.rename(gone)
        files.sync_folder(self.cluster.folder)
        shutil.rmtree(gone)
