"""The removal of an installation with all its data.

The invariant: nothing of a home is deleted before nothing of it runs and the file ``uninstalling``
exists, which keeps ``up`` from serving a partly deleted home. Only what the platform itself creates
in a home is deleted, by name; anything else in it stays, and of a symbolic link only the link is
deleted. ``backup.key`` stays while backups outside of the home may need it. The data are deleted
first, then the file, and the programs last: the next uninstall completes one that was killed.
"""

import re
import shutil
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from tenantry.base.errors import Conflict, MachineError
from tenantry.base.home import Home
from tenantry.base.settings import Settings
from tenantry.host import files, systemd
from tenantry.pg import repositories

_MARK = "uninstalling"
_PROGRAM = re.compile(  # host.environment's
    r"venv(-embedder|-edge|-previous)?(\.new)?|venv\.lock|venv(-packages|-embedder|-edge)?-[0-9a-f]{16}"
)


@dataclass(frozen=True, slots=True)
class Left:
    """Something that stays, and the reason."""

    what: str
    why: str


@dataclass(frozen=True, slots=True)
class Removal:
    """The paths to delete, in this order, and what stays."""

    data: list[Path]
    programs: list[Path]
    left: list[Left]


def begin(home: Path) -> bool:
    """Create the mark, which stays until the data are deleted. Returns whether it is new."""
    mark = home / _MARK
    is_new = not mark.exists()
    files.recreate(mark)  # does not follow a link: the platform's user can write to the home
    files.sync_folder(home)
    return is_new


def give_up(home: Path) -> None:
    """Remove the mark, if nothing has been deleted."""
    (home / _MARK).unlink()


def require_none_started(home: Path) -> None:
    """Raise Conflict if an uninstall of this home is running or was interrupted."""
    if (home / _MARK).exists():
        raise Conflict(
            f"{home} is being uninstalled, and some of its data are gone.",
            hint="If that was cut off, finish it: ./tenantry uninstall",
        )


def plan(settings: Settings, names: Collection[str]) -> Removal:
    """Return what is deleted and what stays of a home that holds these ``names``."""
    root = settings.home
    home = Home(root)
    made = {
        *(path.name for path in home.private_folders),
        *(home.admin_key.name, home.seal_key.name, home.ca_certificate.name),
        *(home.backup_key.name, home.recovery.name, home.fleet.name),
        *("engines", "nftables.conf", systemd.socket_of_filter(root).name),
    }
    left = _elsewhere(settings)
    programs = {name for name in names if _PROGRAM.fullmatch(name)}
    others = set(names) - made - programs - {_MARK}
    if home.backup_key.name in names and _has_repository_elsewhere(settings):
        made.remove(home.backup_key.name)
        left.append(Left(str(home.backup_key), "without it those backups cannot be read"))
    left += [Left(str(root / name), "Tenantry has not made it") for name in sorted(others)]
    return Removal(
        data=[root / name for name in sorted(made & set(names))],
        # The link first: without it the platform does not count as installed.
        programs=[root / name for name in sorted(programs, key=lambda name: (len(name), name))],
        left=left,
    )


def _has_repository_elsewhere(settings: Settings) -> bool:
    return settings.backup.dir is not None or bool(repositories.remote(settings))


def _elsewhere(settings: Settings) -> list[Left]:
    left = []
    if settings.backup.dir is not None:
        left.append(Left(str(settings.backup.dir), "the backups in it are outside of the home"))
    left += [
        Left(str(place), "the backups in it are not on this disk")
        for place in repositories.remote(settings)
    ]
    if settings.engines is not None:
        left.append(Left(str(settings.engines), "others may use these engines"))
    return left


def remove(home: Path, removal: Removal) -> None:
    """Delete the data, and then the mark. Nothing of the home may run.

    Raises MachineError for what cannot be deleted; everything before it is deleted.
    """
    for path in removal.data:
        _delete(path)
    (home / _MARK).unlink()


def remove_programs(home: Path, removal: Removal) -> bool:
    """Delete the programs, and the home if it is empty then. Returns whether the home is gone."""
    for path in removal.programs:
        _delete(path)
    try:
        home.rmdir()
    except OSError:  # it is not empty, or is a mount point
        return False
    return True


def _delete(path: Path) -> None:
    try:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    except OSError as error:
        raise MachineError(
            f"{error.filename or path} cannot be deleted: {error.strerror}.",
            hint="See to that, and run ./tenantry uninstall again: it goes on from there.",
        ) from None
