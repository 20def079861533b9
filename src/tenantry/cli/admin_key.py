"""The administrator's key of this machine's platform, in its home."""

import shlex
from pathlib import Path

from tenantry.base.errors import Unauthenticated
from tenantry.base.home import Home
from tenantry.base.local_api import LocalApi


def read(local: LocalApi) -> str:
    """Return the key. Raises Unauthenticated if this user cannot read it."""
    home = Home(local.home)
    file = home.admin_key
    try:
        return file.read_text().strip()
    except FileNotFoundError:
        raise Unauthenticated(
            f"TENANTRY_API_KEY is not set, and there is no {file}.",
            hint="Log in with `tenantry login`, or put a key into TENANTRY_API_KEY. On the machine"
            f" of the platform, {_another(file) if home.seal_key.exists() else _FIRST}",
        ) from None
    except (OSError, UnicodeDecodeError):
        raise Unauthenticated(
            f"TENANTRY_API_KEY is not set, and {file} cannot be read by this user.",
            hint="Log in with `tenantry login`, put a key into TENANTRY_API_KEY, or ask again as"
            " root.",
        ) from None


_FIRST = "the first `tenantry up` makes that file."


def _another(file: Path) -> str:
    # The file may have been moved to a safe place: an empty one says that it is lost.
    return (
        "and if no key is left, these commands make another, as root: `install -m 644 /dev/null"
        f" {shlex.quote(str(file))}`, `tenantry down`, `tenantry up --detach`."
    )
