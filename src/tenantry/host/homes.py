"""The homes of root's installations, and the system user that everything in them runs as.

The launcher uses this before any package is installed: the standard library only.
"""

import contextlib
import os
import pwd
import time
from collections.abc import Sequence
from pathlib import Path

from tenantry.base.errors import MachineError
from tenantry.host import environment, files
from tenantry.host.identity import SERVICE_USER

_MADE = "Tenantry"  # in the comment of a user that we have created
_HOMES = Path("/etc/tenantry/homes")  # of root's installations on this machine, a line each
_REST_SECONDS = 10.0


def ensure_user(home: Path) -> pwd.struct_passwd:
    """Return the user that root's installations run as; create it, with that home, if missing."""
    try:
        return pwd.getpwnam(SERVICE_USER)
    except KeyError:
        make = ["useradd", "--system", "--user-group", "--shell", "/usr/sbin/nologin"]
        environment.run([*make, "--home-dir", home, "--comment", _MADE, SERVICE_USER])
        return pwd.getpwnam(SERVICE_USER)


def ensure_home(home: Path) -> None:
    """Create the home, and for root the user who runs everything in it.

    That user can add files to the home but (it is sticky) neither move nor replace root's files:
    root runs programs in there. Raises MachineError if that user could not enter it.
    """
    home.mkdir(parents=True, exist_ok=True)
    if os.geteuid() != 0:
        return
    user = ensure_user(home)
    remember_home(home)
    if _is_unused(home):
        os.chown(home, 0, user.pw_gid)
        home.chmod(0o1775)
    require_reachable(home)


def is_for_root_to_make(home: Path) -> bool:
    """Whether this is root, and the home is missing or an unused folder of root's.

    In such a folder the user that everything runs as could create nothing.
    """
    if os.geteuid() != 0:
        return False
    return not home.exists() or (home.stat().st_uid == 0 and _is_unused(home))


def _is_unused(home: Path) -> bool:
    return {path.name for path in home.iterdir()} <= {"tenantry.env"}


def require_reachable(folder: Path) -> None:
    """Raise MachineError if only root can enter ``folder``, as is the case below /root."""
    for place in (folder, *folder.parents):
        if os.geteuid() == 0 and place.exists() and not place.stat().st_mode & 0o001:
            raise MachineError(
                f"Only root can enter {place}, and Tenantry's servers run as {SERVICE_USER}.",
                hint="Set TENANTRY_HOME to a folder elsewhere.",
            )


def remember_home(home: Path) -> None:
    """Record root's installation in ``home``, so that its user stays as long as there is one."""
    homes = _homes()
    if home not in homes:
        _HOMES.parent.mkdir(parents=True, exist_ok=True)
        _note_homes([*homes, home])


def remove_user(home: Path) -> str | None:
    """Forget the installation in ``home``; after the last one, remove the user that we created.

    Returns why the user stays, None if it is gone.
    """
    homes = [each for each in _homes() if each != home]
    try:
        if pwd.getpwnam(SERVICE_USER).pw_gecos != _MADE:
            return "Tenantry has not made it"
    except KeyError:
        return None
    finally:
        if _HOMES.exists():
            _note_homes(homes)
    if homes:  # a missing one may be on a disk that is not mounted
        return f"the installation in {homes[0]} runs as it"
    if why := _delete(SERVICE_USER):
        return f"{why}; afterwards: sudo userdel {SERVICE_USER}"
    _HOMES.unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        _HOMES.parent.rmdir()
    return None


def _delete(user: str) -> str | None:
    """Delete a user. Returns why that failed for some seconds, None if it is gone.

    The last programs of an installation that was stopped may still be ending.
    """
    give_up = time.monotonic() + _REST_SECONDS
    while True:
        try:
            environment.run(["userdel", user])
        except MachineError as error:
            if time.monotonic() > give_up:
                return error.detail.strip()
        else:
            return None
        time.sleep(0.2)


def _homes() -> list[Path]:
    try:
        return [Path(line) for line in _HOMES.read_text().splitlines()]
    except FileNotFoundError:
        return []


def _note_homes(homes: Sequence[Path]) -> None:
    files.write_atomically(_HOMES, "".join(f"{home}\n" for home in homes), mode=0o644)
