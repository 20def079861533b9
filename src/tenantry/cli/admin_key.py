"""The administrator's key of this machine's platform, in its home."""

from tenantry.base.errors import Unauthenticated
from tenantry.base.home import Home
from tenantry.base.local_api import LocalApi


def read(local: LocalApi) -> str:
    """Return the key. Raises Unauthenticated if this user cannot read it."""
    file = Home(local.home).admin_key
    try:
        return file.read_text().strip()
    except FileNotFoundError:
        raise Unauthenticated(
            f"TENANTRY_API_KEY is not set, and there is no {file}.",
            hint="Log in with `tenantry login`, or put a key into TENANTRY_API_KEY. On the machine"
            " of the platform, the first `tenantry up` makes that file.",
        ) from None
    except (OSError, UnicodeDecodeError):
        raise Unauthenticated(
            f"TENANTRY_API_KEY is not set, and {file} cannot be read by this user.",
            hint="Log in with `tenantry login`, put a key into TENANTRY_API_KEY, or ask again as"
            " root.",
        ) from None
