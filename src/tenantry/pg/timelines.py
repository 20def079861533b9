"""Timelines: where each was left for the next one (manual, section 26.3.6). Pure.

A cluster that was restored writes on a new timeline. What was written on the previous one after the
switch belongs to no later state.
"""


def read_lsn(text: str) -> int:
    """Parse a position in the log, as PostgreSQL writes it: ``1/2A000160``."""
    high, _, low = text.partition("/")
    return (int(high, 16) << 32) + int(low, 16)


def forks(history: str) -> dict[int, int]:
    """Return the position at which each timeline was left, from the history file of a later one."""
    lines = [line.split("\t") for line in history.splitlines() if line and line[0].isdigit()]
    return {int(line[0]): read_lsn(line[1]) for line in lines}


def segment_of(position: int, segment_bytes: int) -> str:
    """Return the name of a position's segment without its timeline."""
    return f"{position >> 32:08X}{(position & 0xFFFFFFFF) // segment_bytes:08X}"


def is_left(timeline: int, stop: int, *, current: int, left_at: dict[int, int]) -> bool:
    """Whether a backup that is consistent at ``stop`` is not part of ``current``'s history."""
    return timeline != current and (timeline not in left_at or stop > left_at[timeline])
