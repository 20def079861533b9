"""The user of this process. Nothing of the platform serves as root."""

import contextlib
import os
import pwd
import resource

from tenantry.base.errors import MachineError
from tenantry.host import capabilities

SERVICE_USER = "tenantry"
_MOST_FILES = 65_536  # each pooled client is one


def service_user() -> pwd.struct_passwd:
    """Return the platform's system user. Raises MachineError if it does not exist."""
    try:
        return pwd.getpwnam(SERVICE_USER)
    except KeyError:
        raise MachineError(
            f"The system user {SERVICE_USER} does not exist.", hint="./tenantry up makes it."
        ) from None


def become_service_user(*, low_ports: bool = False) -> None:
    """If this is root, become the platform's system user for good.

    With ``low_ports``, what it starts can listen on ports below 1024.

    Raises MachineError if that user does not exist.
    """
    if os.geteuid() != 0:
        return
    user = service_user()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if 0 <= most < _MOST_FILES:
        # A container may forbid it; then there are fewer pooled clients.
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (_MOST_FILES, _MOST_FILES))
    os.initgroups(SERVICE_USER, user.pw_gid)
    os.setgid(user.pw_gid)
    with capabilities.low_ports_kept() if low_ports else contextlib.nullcontext():
        os.setuid(user.pw_uid)
    os.environ |= {"HOME": user.pw_dir, "USER": SERVICE_USER, "LOGNAME": SERVICE_USER}
    os.umask(0o077)
    # A folder that only root can enter would make every program that we start fail.
    os.chdir("/")
