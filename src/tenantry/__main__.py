"""``python -m tenantry NAME``: run a part of the platform, as the supervisor does.

NAME is the supervisor's name of the process: ``api``, ``worker``, ``rest``, ``rest-2`` and so on.
"""

import gc
import signal
import sys
from importlib import import_module

_MODULES = {
    "api": "tenantry.api.main",
    "cache": "tenantry.cache.main",
    "embedder": "tenantry.embedder.main",
    "listener": "tenantry.listener",
    "rest": "tenantry.rest.main",
    "worker": "tenantry.worker",
}


def main() -> None:
    kind = sys.argv[1].partition("-")[0]
    # A certificate may be renewed before the part is ready to read it again.
    signal.signal(signal.SIGHUP, lambda *_: None)
    # Of the time to import a part, the garbage collector takes up to a quarter: it visits, again
    # and again, what stays for as long as the process lives.
    gc.disable()
    module = import_module(_MODULES[kind])
    gc.freeze()
    gc.enable()
    module.main()


if __name__ == "__main__":
    main()
