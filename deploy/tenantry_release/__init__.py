"""The release that pip has installed: a launcher, and what it installs the platform from.

The platform does not run from here but from an environment in its home, which its own user can read
(tenantry/host/environment.py).
"""

import os
import sys
from pathlib import Path
from typing import NoReturn

_LAUNCHER = Path(__file__).with_name("tenantry")


def run() -> NoReturn:
    """Become the launcher, with this process's arguments: the entry point."""
    os.execv(sys.executable, [sys.executable, str(_LAUNCHER), *sys.argv[1:]])  # noqa: S606
