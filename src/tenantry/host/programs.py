"""The programs on the users' PATH: links in /usr/local/bin, and completion in shells.

Only a link into the same environment is replaced or removed, and a link to a program that does not
exist any more. Other files stay as they are.
"""

import contextlib
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from tenantry.host import files

NAMES = ("tenantry", "pg-status", "pg-list-databases", "pg-backup-control")
LOCAL = Path("/usr/local")
COMPLETE_VARIABLE = "_TENANTRY_COMPLETE"  # by which a script calls the program; no other has it
# Where each shell looks for the completion of the first of the programs.
COMPLETIONS: Mapping[str, str] = MappingProxyType(
    {
        "bash": "share/bash-completion/completions/tenantry",
        "zsh": "share/zsh/site-functions/_tenantry",
        "fish": "share/fish/vendor_completions.d/tenantry.fish",
    }
)


def link(bin_folder: Path, scripts: Mapping[str, str], *, local: Path = LOCAL) -> list[str]:
    """Link each program of an environment, and write the completion ``scripts`` of shells.

    Returns what is missing, and why. An environment without the programs is left alone: it is that
    of a checkout.
    """
    if not (bin_folder / NAMES[0]).exists():
        return []
    problems = []
    for name in NAMES:
        try:
            (local / "bin").mkdir(parents=True, exist_ok=True)
            _ensure_link(local / "bin" / name, bin_folder / name)
        except FileExistsError:
            problems.append(f"{local / 'bin' / name} is somebody else's.")
        except OSError as error:
            problems.append(f"{local / 'bin' / name}: {error.strerror}.")
    if not _leads_to(local / "bin" / NAMES[0], bin_folder / NAMES[0]):
        return problems
    for shell, script in scripts.items():
        path = local / COMPLETIONS[shell]
        try:
            if path.exists() and not _is_completion(path):
                problems.append(f"{path} is somebody else's.")
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            files.ensure_file(path, script + "\n", mode=0o644)
        except OSError as error:
            problems.append(f"{path}: {error.strerror}.")
    return problems


def unlink(bin_folder: Path, *, local: Path = LOCAL) -> list[Path]:
    """Remove what ``link`` has created for this environment, even if that is gone.

    Returns what was removed.
    """
    links = [local / "bin" / name for name in NAMES]
    found = [path for path in links if _leads_to(path, bin_folder / path.name)]
    if links[0] in found:
        found += [
            path for path in map(local.joinpath, COMPLETIONS.values()) if _is_completion(path)
        ]
    for path in reversed(found):  # the first link last: it shows whose the scripts are
        path.unlink()
    return found


def _ensure_link(path: Path, target: Path) -> None:
    if _leads_to(path, target):
        return
    if path.is_symlink() and not path.exists() and _is_of_an_environment(path):
        path.unlink()
    path.symlink_to(target)


def _leads_to(path: Path, target: Path) -> bool:
    return path.is_symlink() and path.readlink() == target


def _is_of_an_environment(path: Path) -> bool:
    return path.readlink().parts[-3:] == ("venv", "bin", path.name)


def _is_completion(path: Path) -> bool:
    with contextlib.suppress(OSError, UnicodeDecodeError):
        return COMPLETE_VARIABLE in path.read_text()
    return False
