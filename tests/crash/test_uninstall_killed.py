"""An uninstall killed at each thing that it deletes: the next one finishes it, and touches
nothing else."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tenantry.base.errors import Conflict
from tenantry.services import uninstalling

MADE = ("clusters/shared-1/data/PG_VERSION", "backups/repository/file", "admin.key", "run/pid")
PROGRAMS = ("venv-0123456789abcdef/bin/tenantry", "venv-packages-0123456789abcdef/x", "venv.lock")
OTHERS = ("tenantry.env", "notes/today")
PROGRAM = """
import os, signal, sys
from pathlib import Path
from tenantry.base.settings import Settings
from tenantry.services import uninstalling

deletions = []

def die(event, _):
    if event in {"os.remove", "os.rmdir"}:
        deletions.append(event)
        if len(deletions) == 4:  # two may be of the mark
            os.kill(os.getpid(), signal.SIGKILL)

home = Path(sys.argv[1])
sys.addaudithook(die)
uninstalling.begin(home)
removal = uninstalling.plan(Settings(home=home), [path.name for path in home.iterdir()])
uninstalling.remove(home, removal)
uninstalling.remove_programs(home, removal)
"""


@pytest.fixture
def home() -> Iterator[Path]:
    """A home with all kinds of things in it, and a link to a folder elsewhere."""
    with TemporaryDirectory() as folder:  # pytest's own are too long for a home
        yield filled(Path(folder) / "home")


def filled(home: Path) -> Path:
    for name in (*MADE, *PROGRAMS, *OTHERS):
        path = home / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    (home / "venv").symlink_to("venv-0123456789abcdef")
    disk = home.parent / "disk"
    disk.mkdir()
    (disk / "precious").write_text("x")
    (home / "logs").symlink_to(disk)
    return home


def killed(home: Path) -> bool:
    """Uninstall in a process that is killed when it is about to delete a fourth thing."""
    done = subprocess.run([sys.executable, "-c", PROGRAM, str(home)], check=False)
    assert done.returncode in {0, -signal.SIGKILL}
    return done.returncode != 0


def test_killed_after_each_deletion(home: Path) -> None:
    kills = 0
    while killed(home):
        kills += 1
        there = [(home / name).exists() for name in MADE]
        if any(there) and not all(there):
            with pytest.raises(Conflict, match="is being uninstalled"):
                uninstalling.require_none_started(home)
        assert (home.parent / "disk" / "precious").read_text() == "x"
    assert kills > len(MADE)
    assert sorted(path.name for path in home.iterdir()) == ["notes", "tenantry.env"]
    assert {(home / name).read_text() for name in OTHERS} == set(OTHERS)
