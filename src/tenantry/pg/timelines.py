"""Timelines: where the log of one was left for the next (manual, section 26.3.6). Pure.

A cluster that was restored writes on a new timeline. What was written on the one before, after
the moment at which it was left, belongs to no later state any more.
"""


def read_lsn(text: str) -> int:
    """A position in the log, as PostgreSQL writes it: ``1/2A000160``."""
    high, _, low = text.partition("/")
    return (int(high, 16) << 32) + int(low, 16)


def forks(history: str) -> dict[int, int]:
    """By timeline, the position at which it was left, by the history file of a later one."""
    lines = [line.split("\t") for line in history.splitlines() if line and line[0].isdigit()]
    return {int(line[0]): read_lsn(line[1]) for line in lines}


def segment_of(position: int, segment_bytes: int) -> str:
    """What the name of a position's segment says after its timeline."""
    return f"{position >> 32:08X}{(position & 0xFFFFFFFF) // segment_bytes:08X}"


def is_left(timeline: int, stop: int, *, current: int, left_at: dict[int, int]) -> bool:
    """Whether a backup that was consistent at ``stop`` is none of ``current``'s past."""
    return timeline != current and (timeline not in left_at or stop > left_at[timeline])
