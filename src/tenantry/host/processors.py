"""This machine's processors: how many this process may use, and how many are idle."""

import asyncio
import os
from pathlib import Path

_STAT = Path("/proc/stat")
_LOOK_SECONDS = 0.3  # the kernel counts in hundredths
_IDLE = (3, 4)  # of a line's times: idle, and waiting for a disk (proc(5))


def count() -> int:
    """Return how many processors this process may use."""
    return len(os.sched_getaffinity(0))


async def idle(seconds: float = _LOOK_SECONDS) -> float:
    """Return how many of them are idle, on average over so many seconds."""
    before = _times()
    await asyncio.sleep(seconds)
    after = _times()
    ours = os.sched_getaffinity(0) & before.keys() & after.keys()
    return sum(share_idle(before[each], after[each]) for each in ours)


def _times() -> dict[int, tuple[int, ...]]:
    return read_times(_STAT.read_text())


def read_times(stat: str) -> dict[int, tuple[int, ...]]:
    """Return the times that each processor has spent, from /proc/stat (proc(5))."""
    lines = [line.split() for line in stat.splitlines() if line.startswith("cpu")]
    # Time for virtual guests is included in the first two already.
    return {int(each[0][3:]): tuple(map(int, each[1:9])) for each in lines if each[0] != "cpu"}


def share_idle(before: tuple[int, ...], after: tuple[int, ...]) -> float:
    """Return the share of the time between that a processor was idle; 0 if no time has passed."""
    spent = [later - earlier for earlier, later in zip(before, after, strict=True)]
    return sum(spent[each] for each in _IDLE) / max(1, sum(spent))
