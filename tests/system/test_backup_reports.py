"""Whatever becomes of a repository, all that shows of backups says the same, and so does a restore.

Each place is asked of each state: status, doctor, /ready, /metrics, the API, the CLI.
"""

import asyncio
import contextlib
import datetime as dt
import math
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import httpx
import pytest

from clients import ask, eventually, hurry
from damage import without
from harness import SERVICE_USER, Installation
from inside import inside
from tenantry.base import settings
from tenantry.cli.findings import of_clusters
from tenantry.services import status as statuses
from tenantry.services.platform import open_platform
from tenantry.services.repository.service import Repositories

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to mount disks"),
    pytest.mark.takes_minutes,
]

CLUSTER = "shared-1"


@pytest.fixture(scope="module")
def disk() -> Iterator[Path]:
    """A disk of 128 MB, and a folder where it is not mounted."""
    folder = Path(tempfile.mkdtemp(prefix="tnt-reports-"))
    folder.chmod(0o755)
    real, mounted = folder / "real", folder / "mounted"
    for each in (real, mounted):
        each.mkdir()
        shutil.chown(each, SERVICE_USER, SERVICE_USER)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=128m", "tmpfs", real], check=True)
    shutil.chown(real, SERVICE_USER, SERVICE_USER)
    subprocess.run(["mount", "--bind", real, mounted], check=True)
    try:
        yield mounted
    finally:
        for each in (mounted, real):
            subprocess.run(["umount", "--lazy", each], check=False)
        shutil.rmtree(folder)


@dataclass
class Scenario:
    platform: Installation
    disk: Path
    database: dict[str, Any]
    moment: str = ""

    @property
    def repository(self) -> Path:
        return Path(self.platform.environment["TENANTRY_BACKUP_DIR"])

    def restart(self, folder: Path) -> str:
        """Have backups go to a folder, as the how-to says. Returns what `up` said."""
        self.platform.down()
        self.platform.environment["TENANTRY_BACKUP_DIR"] = str(folder)
        return " ".join(self.platform.tenantry("up", "--detach").stderr.split())

    def now(self) -> str:
        """This very moment, once it can be restored."""
        moment = ask(self.database["connection_string"], "SELECT clock_timestamp()")
        assert isinstance(moment, dt.datetime)
        inside(self.platform, secure)
        return moment.isoformat()

    def agree(self, known: str, words: str = "", *, restores: bool = False) -> None:
        """Have every place say this of the shared cluster, and a restore do it."""
        eventually(lambda: self.cluster()["backups"] == known)
        with patch.dict(os.environ, self.platform.env):
            here = settings.load()
            looked = asyncio.run(statuses.look(here))
        status = next(each for each in looked.clusters if each.name == CLUSTER)
        warnings = " ".join(status.warnings)
        assert (status.backups, bool(status.last_backup_at)) == (known, known == "ok")
        assert words in warnings
        reported = (self.cluster()["last_backup_at"], status.last_backup_at)
        assert len({each and dt.datetime.fromisoformat(each) for each in reported}) == 1

        about = [each for each in of_clusters(here, looked) if CLUSTER in each.subject]
        is_fine = any(each.level == "ok" and "the last one" in each.detail for each in about)
        assert is_fine == (known == "ok" and not warnings), about
        assert words in " ".join(each.detail for each in about)

        parts = self.platform.get("/ready").json()["parts"]
        part = next(each for each in parts if each["name"] == "backups")
        assert words in (part["detail"] or "")
        assert part["state"] == "warning" or (part["state"] == "up" and known == "ok"), part

        measures = self.platform.get("/metrics").text
        name = f'tenantry_backup_age_seconds{{cluster="{CLUSTER}"}}'
        ages = [float(each.split()[-1]) for each in measures.splitlines() if each.startswith(name)]
        assert (known == "unknown") == (ages == [])
        assert (known == "none") == any(map(math.isinf, ages))

        with self.platform.client() as api:
            held = api.get(f"/api/clusters/{self.cluster()['id']}/backups").json()["data"]
            listed = api.get(f"/api/databases/{self.database['id']}/backups").json()
        (repository,) = held["repositories"]
        assert (repository["state"], repository["place"]) == (known, str(self.repository))
        assert bool(repository["restorable_from"]) == (known == "ok")
        assert bool(repository["problem"]) >= (known == "unknown")
        assert (listed["restorable"], bool(listed["restorable_until"])) == (known, known == "ok")

        if known != "ok" or restores:
            assert self.restore(self.moment) == (known == "ok")

    @contextlib.contextmanager
    def worker_stopped(self) -> Iterator[None]:
        """While this lasts, no backup begins by itself."""
        worker = self.platform.pids()["worker"]
        os.kill(worker, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(worker, signal.SIGCONT)

    def cluster(self, name: str = CLUSTER) -> dict[str, Any]:
        with self.platform.client() as api:
            rows: list[dict[str, Any]] = api.get("/api/clusters").json()["data"]
        return next(row for row in rows if row["name"] == name)

    def restore(self, moment: str) -> bool:
        """Whether the database can be had back as it was at a moment."""
        with self.platform.client() as api:
            path = f"/api/databases/{self.database['id']}/restore"
            started = api.post(path, json={"to": moment})
            if started.status_code != 202:
                assert started.status_code in {409, 422, 500}, started.text
                return False
            done = ended(api, started)
            if done["status"] == "succeeded":
                api.delete(f"/api/databases/{done['result']['database_id']}")
        return bool(done["status"] == "succeeded")


def is_it(cluster: dict[str, Any]) -> bool:
    return bool(cluster["name"] == CLUSTER)


def ended(api: httpx.Client, started: httpx.Response) -> dict[str, Any]:
    found: dict[str, Any] = {}

    def has_ended() -> bool:
        found.update(api.get(started.headers["Location"]).json()["data"])
        return found["finished_at"] is not None

    eventually(has_ended)
    return found


async def secure(repositories: Repositories) -> object:
    return await repositories.secure(CLUSTER)


async def begin_due(_: Repositories) -> object:
    """Do what the worker does each minute."""
    async with open_platform(settings.load()) as platform:
        return [each.params for each in await platform.cluster_backups.begin_due()]


@pytest.fixture(scope="module")
def scenario(disk: Path) -> Iterator[Scenario]:
    installation = Installation(
        {
            "TENANTRY_BACKUPS": "on",
            "TENANTRY_WARM_POOL": "0",
            "TENANTRY_BACKUP_DIR": str(disk / "repository"),
        },
        patience=300,
    )
    try:
        installation.up()
        hurry(installation)
        found = Scenario(installation, disk, installation.create(name="shop"))
        for name in ("control", CLUSTER):
            installation.back_up(name)
        found.moment = found.now()
        yield found
    finally:
        installation.remove()


def test_while_all_is_well(scenario: Scenario) -> None:
    scenario.agree("ok", restores=True)


def test_an_emptied_repository(scenario: Scenario) -> None:
    with without(scenario.repository):
        scenario.agree("unknown", "it is gone: there is nothing of shared-1 in it")
    scenario.agree("ok")


def test_a_disk_that_is_not_mounted(scenario: Scenario) -> None:
    subprocess.run(["umount", "--lazy", scenario.disk], check=True)
    try:
        scenario.agree("unknown", "it is gone")
    finally:
        subprocess.run(
            ["mount", "--bind", scenario.disk.parent / "real", scenario.disk], check=True
        )
    scenario.agree("ok")


@contextlib.contextmanager
def forbidden(folder: Path) -> Iterator[None]:
    """While this lasts, a folder is root's alone."""
    shutil.chown(folder, "root", "root")
    folder.chmod(0o700)
    try:
        yield
    finally:
        shutil.chown(folder, SERVICE_USER, SERVICE_USER)


def test_a_folder_that_may_not_be_read(scenario: Scenario) -> None:
    with forbidden(scenario.repository):
        scenario.agree("unknown", "Permission denied")
    scenario.agree("ok")


def test_a_folder_that_may_not_be_written(scenario: Scenario) -> None:
    folder = scenario.repository / "archive" / CLUSTER
    folder.chmod(0o500)
    try:
        scenario.agree("ok", f"{folder} cannot be written to", restores=True)
    finally:
        folder.chmod(0o700)
    scenario.agree("ok")


def test_a_full_disk(scenario: Scenario) -> None:
    filler = scenario.disk / "filler"
    # Unbuffered: closing the file would try to write once more what did not fit.
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"\1" * 65536)
    try:
        scenario.agree("ok", f"the repository {scenario.repository} has 0 B left")
    finally:
        filler.unlink()
    scenario.agree("ok")


def test_the_repository_of_another_cluster(scenario: Scenario) -> None:
    places = [scenario.repository / each for each in ("archive", "backup")]
    with contextlib.ExitStack() as stack:
        for each in places:
            stack.enter_context(without(each / CLUSTER))
            stack.callback(shutil.rmtree, each / CLUSTER)
            shutil.copytree(each / "control", each / CLUSTER, symlinks=True)
            subprocess.run(["chown", "-R", f"{SERVICE_USER}:", each / CLUSTER], check=True)
        scenario.agree("unknown", "it holds another cluster's backups")
    scenario.agree("ok")


def test_a_setting_that_is_not_in_force_yet(scenario: Scenario) -> None:
    """The platform goes on in the old folder; nothing that is there is reported of the new one."""
    old = scenario.platform.environment["TENANTRY_BACKUP_DIR"]
    scenario.platform.environment["TENANTRY_BACKUP_DIR"] = str(scenario.disk / "later")
    try:
        status = next(each for each in scenario.platform.status()["clusters"] if is_it(each))
    finally:
        scenario.platform.environment["TENANTRY_BACKUP_DIR"] = old
    assert (status["backups"], status["last_backup_at"]) == ("unknown", None)
    assert f"{scenario.disk}/later is not known: it is not in use" in " ".join(status["warnings"])


def test_a_new_folder_begins_with_a_full_backup_of_everything(scenario: Scenario) -> None:
    old, new = scenario.repository, scenario.disk / "new"
    said = scenario.restart(new)
    assert f"Backups go to {new} from now on" in said
    assert f"What is in {old} stays there" in said
    with scenario.worker_stopped():
        scenario.agree("none", f"there is no backup in {new} yet")
    inside(scenario.platform, begin_due)  # unless the worker has done it
    eventually(lambda: scenario.cluster()["backups"] == "ok")
    eventually(lambda: scenario.cluster("control")["backups"] == "ok")
    scenario.platform.wait_restorable(CLUSTER)
    assert not scenario.restore(scenario.moment)  # it is of the old folder
    old_moment, scenario.moment = scenario.moment, scenario.now()
    scenario.agree("ok", restores=True)

    # What the old one holds is had back by a copy; what went to the other meanwhile is missed.
    scenario.platform.down()
    shutil.rmtree(new)
    subprocess.run(["cp", "-a", old, new], check=True)
    scenario.platform.up()
    with scenario.worker_stopped():
        scenario.agree("ok", "and none after the last backup.")
        started = inside(scenario.platform, begin_due)
    assert (CLUSTER, "incr") in [(each["cluster"], each["type"]) for each in started]
    assert scenario.restore(old_moment)
    eventually(lambda: "none after the last" not in scenario.platform.warnings())
    scenario.platform.wait_restorable(CLUSTER)
    assert scenario.restore(scenario.now())


def test_a_new_folder_that_cannot_be_used(scenario: Scenario) -> None:
    unusable = scenario.disk / "unusable"
    unusable.mkdir()
    unusable.chmod(0o700)
    said = scenario.restart(unusable)
    assert f"The backups' folder {unusable} cannot be used" in said
    scenario.agree("unknown", f"what can be restored from {unusable} is not known")
    shutil.chown(unusable, SERVICE_USER, SERVICE_USER)
    eventually(lambda: scenario.cluster()["backups"] == "ok", seconds=120)
    scenario.platform.wait_restorable(CLUSTER)
    scenario.moment = scenario.now()
    scenario.agree("ok", restores=True)
