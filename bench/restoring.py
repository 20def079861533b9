"""What the benchmarks of backups and restores share: asking for them, their peers, recovering."""

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from support import Api, Installation, as_service_user

PATIENCE = 3600.0
BACKUP = (  # as Tenantry's own
    "--no-archive-check",
    "--repo1-bundle",
    "--repo1-retention-full=9",
    "--compress-type=zst",
    "--start-fast",
    f"--process-max={len(os.sched_getaffinity(0))}",
)

Figures = dict[str, Any]


class Asking:
    """The API, over a connection for each request: there may be minutes between two."""

    def __init__(self, here: Installation) -> None:
        self._here = here

    def __call__(self, method: str, path: str, **body: object) -> tuple[int, Any]:
        with Api(self._here) as api:
            return api(method, path, **body)

    def log(self) -> str:
        """The platform's last words."""
        return self._here.log_tail()


# ── asking for it ────────────────────────────────────────────────────────────


def started(answer: tuple[int, Any]) -> str:
    """The id of the operation that an answer shows of."""
    status, body = answer
    if status not in {201, 202}:
        raise RuntimeError(body)
    data = body["data"]
    followed = data["operation"]["id"] if "operation" in data else data.get("operation_id")
    return str(followed or data["id"])


def ended(api: Asking, operation_id: str) -> Figures:
    """What came of an operation. Raises RuntimeError if it failed."""
    give_up = time.monotonic() + PATIENCE
    while True:
        row: Figures = api("GET", f"/api/operations/{operation_id}")[1]["data"]
        if row["status"] == "succeeded":
            result: Figures = row["result"]
            return result
        if row["status"] in {"failed", "cancelled"}:
            raise RuntimeError(f"{row['kind']} at {row['step']}: {row['error']}\n{api.log()}")
        if time.monotonic() > give_up:
            raise TimeoutError(f"operation {operation_id} at step {row['step']}")
        time.sleep(0.1)


def settled(api: Asking) -> None:
    """Wait until the first backups, which come by themselves, have been made."""
    give_up = time.monotonic() + PATIENCE
    while not all(row["last_backup_at"] for row in api("GET", "/api/clusters")[1]["data"]):
        if time.monotonic() > give_up:
            raise TimeoutError("no first backup")
        time.sleep(0.5)
    idle(api)


def idle(api: Asking) -> None:
    """Wait until no operation is under way: some begin by themselves."""
    while any(
        [ended(api, row["id"]) for row in api("GET", f"/api/operations?status={status}")[1]["data"]]
        for status in ("queued", "running")
    ):
        pass


# ── the peers ────────────────────────────────────────────────────────────────


def as_service(*command: str | Path) -> None:
    done = subprocess.run(
        [str(each) for each in command],
        capture_output=True,
        text=True,
        check=False,
        cwd="/",
        env=os.environ | {"PGBACKREST_REPO1_CIPHER_PASS": "a benchmark's"},
        **as_service_user(),
    )
    if done.returncode != 0:
        raise RuntimeError(f"{command[0]}: {done.stdout}{done.stderr}")


@contextmanager
def plain_repository(here: Installation) -> Iterator[list[str]]:
    """pgBackRest by itself, on the same cluster and with the same options. Its words so far."""
    folder = Path(tempfile.mkdtemp(prefix="tnt-plain-"))
    if os.geteuid() == 0:
        shutil.chown(folder, "tenantry", "tenantry")
    data = here.home / "clusters" / "shared-1" / "data"
    try:
        yield [
            "pgbackrest",
            "--no-config",
            "--stanza=plain",
            f"--pg1-path={data}",
            f"--pg1-socket-path={here.home / 'run' / 'shared-1'}",
            f"--pg1-port={here.pg_port}",
            "--pg1-user=tenantry_admin",
            f"--repo1-path={folder}/repository",
            "--repo1-cipher-type=aes-256-cbc",
            "--log-level-file=off",
            f"--lock-path={folder}/lock",
        ]
    finally:
        shutil.rmtree(folder, ignore_errors=True)


# ── everything ───────────────────────────────────────────────────────────────


def recovered(here: Installation) -> float:
    """Have everything back from the repository alone, in a home and at ports of its own.

    Returns the seconds that it took. ``here`` is down afterwards.
    """
    here.down()
    with tempfile.TemporaryDirectory(prefix="tnt-kept-") as folder:
        kept = Path(folder)
        kept.chmod(0o755)
        subprocess.run(
            ["cp", "-a", here.home / "backups" / "repository", kept / "repository"], check=True
        )
        shutil.copy2(here.home / "backup.key", kept / "backup.key")
        if os.geteuid() == 0:
            shutil.chown(kept / "backup.key", "tenantry", "tenantry")
        there = Installation(dict(here.environment))
        there.patience = PATIENCE
        try:
            began = time.perf_counter()
            words = ["--from", str(kept / "repository"), "--key-file", str(kept / "backup.key")]
            there.tenantry("recover", *words, "--yes")
            seconds = time.perf_counter() - began
        finally:
            there.remove()
    return seconds
