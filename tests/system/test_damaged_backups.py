"""What can happen to a repository: each is found, reported in words, and troubles no tenant."""

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from clients import ask, do, eventually, hurry
from damage import flipped_byte, without
from harness import SERVICE_USER, Installation
from inside import inside
from tenantry.services.repository.service import Repositories

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to mount a small disk")


@pytest.fixture(scope="module")
def disk() -> Iterator[Path]:
    """A disk of 96 MB."""
    folder = Path(tempfile.mkdtemp(prefix="tnt-disk-"))
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=96m", "tmpfs", folder], check=True)
    shutil.chown(folder, SERVICE_USER, SERVICE_USER)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)
        folder.rmdir()


@pytest.fixture(scope="module")
def backed(disk: Path) -> Iterator[Installation]:
    """A platform with a backup of each cluster on that disk."""
    folder = {"TENANTRY_BACKUP_DIR": str(disk / "repository")}
    installation = Installation({"TENANTRY_BACKUPS": "on", "TENANTRY_WARM_POOL": "1", **folder})
    try:
        installation.up()
        hurry(installation)
        for name in ("control", "shared-1"):
            installation.back_up(name)
        yield installation
    finally:
        installation.remove()


def part(platform: Installation) -> tuple[int, dict[str, Any]]:
    """What /ready shows of backups, and with which status."""
    answer = platform.get("/ready")
    return answer.status_code, next(
        each for each in answer.json()["parts"] if each["name"] == "backups"
    )


def nothing_is_said(platform: Installation) -> bool:
    """Whether all is well with the shared cluster; the other one's log goes at its own pace."""
    status, reported = part(platform)
    return status == 200 and "shared-1:" not in reported["detail"]


def test_all_is_well(backed: Installation) -> None:
    assert backed.cluster("verify", "shared-1").returncode == 0
    status, reported = part(backed)
    assert (status, reported["state"], reported["detail"]) == (200, "up", "the last is 0 h old")


def test_a_flipped_byte_is_found(backed: Installation, disk: Path) -> None:
    bundle = next((disk / "repository/backup/shared-1").glob("*F/bundle/*"))
    with flipped_byte(bundle):
        found = backed.cluster("verify", "shared-1")
        assert found.returncode == 1
        assert "The backups of shared-1 are damaged" in found.stderr
        assert "checksum invalid: 1" in " ".join(found.stderr.split())
        status, reported = part(backed)
        assert (status, reported["state"]) == (200, "warning")
        assert "shared-1: the last verification failed" in reported["detail"]
    assert backed.cluster("verify", "shared-1").returncode == 0
    eventually(lambda: nothing_is_said(backed))


def test_a_missing_segment_is_found(backed: Installation, disk: Path) -> None:
    with backed.superuser() as server:
        for _ in range(3):
            server.execute("SELECT pg_switch_wal()")
            server.execute("SELECT pg_current_xact_id()")
    inside(backed, secure)
    segment = sorted((disk / "repository/archive/shared-1").glob("*/*/*"))[-3]
    elsewhere = disk / segment.name  # a file of another name in its place would be found, too
    segment.rename(elsewhere)
    try:
        found = backed.cluster("verify", "shared-1")
    finally:
        elsewhere.rename(segment)
    assert found.returncode == 1
    assert "1 segments of the write-ahead log are missing" in " ".join(found.stderr.split())
    assert backed.cluster("verify", "shared-1").returncode == 0


async def secure(repositories: Repositories) -> object:
    return await repositories.secure("shared-1")


def test_another_key_opens_nothing(backed: Installation) -> None:
    key = backed.home / "backup.key"
    right = key.read_text()
    try:
        key.write_text("0" * 64)
        failed = backed.cluster("backup", "shared-1")
        assert failed.returncode == 1
        assert "it is encrypted with another key, or damaged" in " ".join(failed.stderr.split())
        assert "0" * 64 not in failed.stderr
        status, reported = part(backed)
        assert (status, reported["state"]) == (200, "warning")
        assert "the last backup failed" in reported["detail"]
        with without(key):
            failed = backed.cluster("backup", "shared-1")
            assert "are backups in" in failed.stderr
            assert "Put back the copy" in " ".join(failed.stderr.split())
    finally:
        key.write_text(right)
    backed.back_up("shared-1")
    eventually(lambda: nothing_is_said(backed))


def test_a_full_disk_is_reported_and_tenants_write_on(backed: Installation, disk: Path) -> None:
    url = backed.create(friendlyName="writer")["connection_string"]
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"\1" * 65536)
    try:
        do(url, "CREATE TABLE t AS SELECT random() FROM generate_series(1, 50000)")
        with backed.superuser() as server:
            server.execute("SELECT pg_switch_wal()")
        said = "does not reach the repository: its disk is full"
        eventually(lambda: said in part(backed)[1]["detail"])
        status, reported = part(backed)
        assert (status, reported["state"]) == (200, "warning")
        assert "at this rate their disk is full in" in reported["detail"]
        assert ask(url, "SELECT count(*) FROM t") == 50000
        measures = backed.get("/metrics").text
        assert 'tenantry_archive_failing{cluster="shared-1"} 1.0' in measures

        # While a try is under way, the one before it is what is known.
        eventually(lambda: "its disk is full" in backed.warnings())
        eventually(
            lambda: (
                "its disk is full"
                in " ".join(backed.tenantry("doctor", check=False).stdout.split())
            )
        )
        failed = backed.cluster("backup", "shared-1")
        assert failed.returncode == 1
        assert "its disk is full" in " ".join(failed.stderr.split())
    finally:
        filler.unlink()
    inside(backed, secure)
    backed.back_up("shared-1")
    eventually(lambda: nothing_is_said(backed))


def test_a_repository_that_is_gone_is_not_started_again(backed: Installation, disk: Path) -> None:
    repository = disk / "repository"
    with without(repository):
        failed = backed.cluster("backup", "shared-1")
        assert failed.returncode == 1
        said = " ".join(failed.stderr.split())
        assert f"The repository {repository} is gone" in said
        assert "Mount its disk" in said
        assert not repository.exists()
        status, reported = part(backed)
        assert (status, reported["state"]) == (200, "warning")
        assert "is gone" in reported["detail"]
    backed.back_up("shared-1")
