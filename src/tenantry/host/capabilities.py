"""The right to listen on low ports, for what root starts as another user (capabilities(7)).

A service has it from its unit; this is for a start by hand.
"""

import contextlib
import ctypes
import re
from collections.abc import Iterator
from pathlib import Path

_NET_BIND_SERVICE = 10  # linux/capability.h
_VERSION = 0x2008_0522
_SET_KEEPCAPS, _AMBIENT, _AMBIENT_RAISE = 8, 47, 2  # linux/prctl.h


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Sets(ctypes.Structure):
    _fields_ = (
        ("effective", ctypes.c_uint32),
        ("permitted", ctypes.c_uint32),
        ("inheritable", ctypes.c_uint32),
    )


@contextlib.contextmanager
def low_ports_kept() -> Iterator[None]:
    """Let this process, which in the block becomes another user, pass on this one right of root's.

    Where root itself has not got it, as in some containers, nobody has it afterwards.
    """
    kernel = ctypes.CDLL(None)
    kernel.prctl(_SET_KEEPCAPS, 1, 0, 0, 0)
    yield
    bit = 1 << _NET_BIND_SERVICE
    sets = (_Sets * 2)(_Sets(bit, bit, bit), _Sets(0, 0, 0))
    if kernel.capset(ctypes.byref(_Header(_VERSION, 0)), sets) == 0:
        kernel.prctl(_AMBIENT, _AMBIENT_RAISE, _NET_BIND_SERVICE, 0, 0)


def passes_on_low_ports() -> bool:
    """Whether programs that this process starts can listen on low ports."""
    status = Path("/proc/self/status").read_text()
    found = re.search(r"^CapAmb:\s+([0-9a-f]+)$", status, re.MULTILINE)
    return found is not None and bool(int(found[1], 16) >> _NET_BIND_SERVICE & 1)
