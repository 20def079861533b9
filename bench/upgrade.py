"""An upgrade from another release, and the rollback, under load: who notices, and what they take.

The platform of the last tag, or of ``--from REF``, is brought up by its own launcher. pgbench works
on both ports, and a client reads and changes a database by the API, while ``self-update`` installs
HEAD and switches to it, and while ``--rollback`` returns. Prints JSON.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from support import Aim, Api, Installation, as_service_user, machine, say

CLONE = Path(__file__).resolve().parent.parent
PYTHON = "/usr/bin/python3"
_CLIENTS = 4
_PGBENCH_SECONDS = 5
_API_PAUSE = 0.02
_SECONDS = 900


@dataclass
class Load:
    """What became of the load on one endpoint."""

    done: int = 0
    errors: dict[str, int] = field(default_factory=dict)
    longest_gap_ms: float = 0.0  # between two answers, where errors were between

    def failed(self, problem: str) -> None:
        self.errors[problem] = self.errors.get(problem, 0) + 1


class Loads:
    """pgbench on both ports and requests to the API, until ``stop``."""

    def __init__(self, here: Installation, database: dict[str, Any]) -> None:
        self.found = {"pooled": Load(), "direct": Load(), "api": Load()}
        self._ends = threading.Event()
        strings = {"pooled": "connection_string_pooled", "direct": "connection_string"}
        self._threads = [
            threading.Thread(target=self._pgbench, args=(database[key], self.found[name]))
            for name, key in strings.items()
        ]
        self._threads.append(
            threading.Thread(target=self._requests, args=(here, database["id"], self.found["api"]))
        )
        for each in self._threads:
            each.start()

    def stop(self) -> dict[str, Load]:
        self._ends.set()
        for each in self._threads:
            each.join()
        return self.found

    def _pgbench(self, url: str, load: Load) -> None:
        words = [f"--client={_CLIENTS}", f"--time={_PGBENCH_SECONDS}", "--rate=100", "--no-vacuum"]
        while not self._ends.is_set():
            done = subprocess.run(
                ["pgbench", *words, url], capture_output=True, text=True, check=False
            )
            for line in (done.stdout + done.stderr).splitlines():
                if line.startswith("number of transactions actually processed: "):
                    load.done += int(line.rpartition(": ")[2].partition("/")[0])
                elif line.startswith("pgbench: error: "):
                    load.failed(line[:160])

    def _requests(self, here: Installation, database_id: str, load: Load) -> None:
        answered = time.monotonic()
        failing = False
        number = 0
        while not self._ends.is_set():
            number += 1
            try:
                with Api(here) as api:
                    if number % 5:
                        status, _ = api("GET", f"/api/databases/{database_id}")
                    else:
                        name = f"upgraded {number}"
                        path = f"/api/databases/{database_id}"
                        status, _ = api("PATCH", path, friendlyName=name)
                problem = None if status == 200 else f"answered {status}"
            except (OSError, ValueError) as error:
                problem = type(error).__name__
            now = time.monotonic()
            if problem is None:
                load.done += 1
                if failing:
                    load.longest_gap_ms = max(load.longest_gap_ms, (now - answered) * 1000)
                answered, failing = now, False
            else:
                load.failed(problem)
                failing = True
            time.sleep(_API_PAUSE)


def last_tag() -> str:
    done = subprocess.run(
        ["git", "describe", "--tags", "--abbrev=0", "--match=v*", "HEAD^"],
        cwd=CLONE,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        sys.exit(
            "This clone has no tag of a release before HEAD, so there is nothing to upgrade from.\n"
            "  → git fetch --tags, or name a commit: --from REF"
        )
    return done.stdout.strip()


def launcher_of(ref: str, folder: Path) -> list[str]:
    """Make a release of a commit, and return its launcher.

    Commits before ./release are used as clones of the repository are.
    """
    has_release = subprocess.run(
        ["git", "cat-file", "-e", f"{ref}:release"], cwd=CLONE, capture_output=True, check=False
    )
    if has_release.returncode:
        tree = folder / "clone"
        tree.mkdir()
        archive = subprocess.run(
            ["git", "archive", ref], cwd=CLONE, check=True, stdout=subprocess.PIPE
        )
        subprocess.run(["tar", "-x", "-C", tree], input=archive.stdout, check=True)
        return [PYTHON, str(tree / "tenantry")]
    built = folder / "release"
    subprocess.run([CLONE / "release", "--commit", ref, "--to", built], check=True, stdout=2)
    [wheel] = built.glob("*.whl")
    subprocess.run([PYTHON, "-m", "venv", folder / "pip"], check=True)
    subprocess.run(
        [folder / "pip" / "bin" / "pip", "install", "--quiet", "--no-index", wheel], check=True
    )
    return [str(folder / "pip" / "bin" / "tenantry")]


def timed(here: Installation, *words: str) -> float:
    """Run a program as the platform's user. Returns the seconds it took.

    Root's installations are recorded on the machine, and have links on PATH.
    """
    began = time.monotonic()
    done = subprocess.run(
        words,
        env=here.env,
        capture_output=True,
        text=True,
        timeout=_SECONDS,
        check=False,
        cwd="/",
        **as_service_user(),
    )
    if done.returncode:
        raise RuntimeError(f"{words}: {done.stdout}{done.stderr}{here.log_tail()}")
    say(done.stderr.strip().rpartition("\n")[2])
    return time.monotonic() - began


@contextmanager
def folders() -> Iterator[tuple[Path, Path]]:
    """Two folders, for the release before and for HEAD's."""
    with tempfile.TemporaryDirectory(prefix="tenantry-upgrade-", dir="/var/tmp") as place:
        folder = Path(place)
        folder.chmod(0o755)
        for name in ("before", "after"):
            (folder / name).mkdir()
        yield folder / "before", folder / "after"


def under_load(
    here: Installation, database: dict[str, Any], rest: float, *words: str
) -> dict[str, Any]:
    """Run a command while clients work, and some seconds before and after."""
    loads = Loads(here, database)
    try:
        time.sleep(rest)
        seconds = timed(here, *words)
        time.sleep(rest)
    finally:
        found = loads.stop()
    return {"seconds": round(seconds, 1), **{name: asdict(load) for name, load in found.items()}}


def measure(ref: str, *, quick: bool) -> dict[str, object]:
    rest = 3.0 if quick else 20.0
    here = Installation()
    with folders() as (before, after):
        try:
            program = launcher_of(ref, before)
            new = after / "release"
            subprocess.run([CLONE / "release", "--to", new], check=True, stdout=2)
            say(f"{ref} comes up")
            timed(here, *program, "up", "--detach")
            database = here.create()
            url = database["connection_string"]
            fill = ["pgbench", "--initialize", "--quiet", "--scale=1", url]
            subprocess.run(fill, check=True, capture_output=True)
            installed = here.home / "venv" / "bin" / "tenantry"
            knows = (
                (here.home / "venv").resolve().glob("lib/*/site-packages/tenantry/cli/self_*.py")
            )
            if list(knows):
                words = [str(installed), "self-update", str(new)]
            else:  # that release has no self-update: HEAD's launcher brings its own
                shutil.unpack_archive(next(new.glob("*.whl")), after / "tree", "zip")
                launcher = after / "tree" / "tenantry_release" / "tenantry"
                words = [PYTHON, str(launcher), "self-update"]
            say("upgrade under load")
            upgrade = under_load(here, database, rest, *words)
            runs = {name: version(here, name) for name in ("api", "worker", "supervisor")}
            say("rollback under load")
            rollback = under_load(here, database, rest, str(installed), "self-update", "--rollback")
            rolled_back = version(here, "api")
            about = machine(here)
            timed(here, str(installed), "down")
        finally:
            here.remove()
    aims = [
        Aim.at_most(f"errors {endpoint}, {name}", sum(found[endpoint]["errors"].values()), 0)
        for name, found in (("upgrade", upgrade), ("rollback", rollback))
        for endpoint in ("pooled", "direct")
    ]
    return {
        "benchmark": "upgrade",
        "quick": quick,
        "from": ref,
        "machine": about,
        "results": {
            "upgrade": upgrade,
            "runs_after_upgrade": runs,
            "rollback": rollback,
            "runs_after_rollback": rolled_back,
        },
        "aims": [asdict(each) for each in aims],
    }


def version(here: Installation, name: str) -> str:
    return (here.home / "run" / f"{name}.code").read_text().strip()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--from", dest="ref", help="a commit; default: the last release's tag")
    parser.add_argument("--quick", action="store_true", help="a small run, to see that it works")
    given = parser.parse_args()
    print(json.dumps(measure(given.ref or last_tag(), quick=given.quick), indent=2))
