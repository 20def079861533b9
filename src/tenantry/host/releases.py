"""The files of a release: how they are recognised, verified and unpacked.

A release is a folder with a wheel, a Debian package and SHA256SUMS, as ./release builds it. The
wheel holds the folder that the platform is installed from, as a clone of the repository is one.

./release uses this before any package is installed: the standard library only.
"""

import hashlib
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path

from tenantry.base.errors import InvalidInput, MachineError

SUMS = "SHA256SUMS"
TREE = "tenantry_release"
MOST_BYTES = 200 << 20
_WHEEL = re.compile(r"tenantry-([0-9A-Za-z.!+_]+)-py3-none-any\.whl")
_LINE = re.compile(r"([0-9a-f]{64}) [ *](\S+)")
_HASH = re.compile(r"[0-9a-f]{64}")
_VERSION = re.compile(r'^__version__ = "([^"]+)"', re.MULTILINE)


def is_tree(folder: Path) -> bool:
    """Whether the platform can be installed from this folder: a clone, or what a wheel holds."""
    return (folder / "tenantry").is_file() and (folder / "src/tenantry/__init__.py").is_file()


def is_wheel(name: str) -> bool:
    """Whether a file of this name is the wheel of a release."""
    return _WHEEL.fullmatch(name) is not None


def version_of(tree: Path) -> str:
    """Return the version of the code in a folder that the platform can be installed from."""
    found = _VERSION.search((tree / "src/tenantry/__init__.py").read_text())
    return found[1] if found else "unknown"


def require_updatable(tree: Path) -> None:
    """Raise InvalidInput for a release that cannot take over a running platform."""
    if not (tree / "src/tenantry/cli/self_update.py").is_file():
        raise InvalidInput(
            f"Tenantry {version_of(tree)} has no self-update.",
            hint="Stop the platform, and start that release by its own launcher.",
        )


def hash_of(text: str) -> str:
    """Return a SHA-256 as it is compared. Raises InvalidInput."""
    found = text.strip().lower()
    if not _HASH.fullmatch(found):
        raise InvalidInput.of("sha256", "must be the 64 hexadecimal digits that sha256sum prints")
    return found


def sums(text: str) -> dict[str, str]:
    """Return the hashes in the output of sha256sum, by file name. Raises InvalidInput."""
    lines = [_LINE.fullmatch(line) for line in text.splitlines() if line.strip()]
    if not lines or None in lines:
        raise InvalidInput(f"{SUMS} is not what sha256sum prints.", hint="Name another release.")
    return {line[2]: line[1] for line in lines if line is not None}


def only_wheel(hashes: Mapping[str, str]) -> str:
    """Return the name of the release's wheel. Raises InvalidInput if there is not just one."""
    wheels = [name for name in hashes if is_wheel(name)]
    if len(wheels) != 1:
        raise InvalidInput(
            f"{SUMS} lists {len(wheels)} wheels of Tenantry, and a release has one.",
            hint="Name the wheel itself.",
        )
    return wheels[0]


def sha256(file: Path) -> str:
    """Return the SHA-256 of a file."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def verify(wheel: Path, expected: str) -> None:
    """Raise InvalidInput unless the file has this SHA-256."""
    if (found := sha256(wheel)) != expected:
        raise InvalidInput(
            f"{wheel.name} has the SHA-256 {found}, and {expected} was expected.",
            hint="It was damaged or replaced, and nothing was installed. Fetch it again.",
        )


def unpack(wheel: Path, folder: Path) -> Path:
    """Unpack a verified wheel below ``folder``, and return what to install the platform from.

    Raises InvalidInput if it is no wheel of Tenantry; MachineError if there is no space.
    """
    try:
        with zipfile.ZipFile(wheel) as file:
            if sum(each.file_size for each in file.infolist()) > MOST_BYTES:
                raise InvalidInput(f"{wheel.name} is too large for a release.")
            file.extractall(folder)  # names that lead out of the folder are changed (zipfile)
    except (zipfile.BadZipFile, NotImplementedError):
        raise InvalidInput(f"{wheel.name} is not a wheel.") from None
    except OSError as error:
        raise MachineError(
            f"{wheel.name} cannot be unpacked in {folder}: {error.strerror}.",
            hint="Free some space there, or set TMPDIR to another folder.",
        ) from None
    if not is_tree(folder / TREE):
        raise InvalidInput(f"{wheel.name} is not a release of Tenantry.")
    return folder / TREE
