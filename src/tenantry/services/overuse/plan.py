"""The limits on what databases write that no quota counts, and which ones exceed them. Pure."""

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from tenantry.control.pauses import PauseReason

MIB = 1024 * 1024
PAUSE_SECONDS = 300
LEAST_WAL = 256 * MIB
MOST_SHARED = 64 * MIB  # that the catalogs which all databases share may grow by, in an hour
VACUUM_AFTER = 16 * MIB  # of growth of one of them
LEAST_TEMPORARY = 256 * MIB
MOST_LOG = 16 * MIB
MOST_QUEUED = 32 * MIB  # of the notification queue, which all databases share
MOST_SETTINGS = 64 * 1024  # of a role; it is compressed
_QUEUE_GROWS = 2 * MIB  # between two looks: it is being filled, rather than held
_PART = 0.25  # of what is in the queue: a database with less is not why it is full
_HOUR = 3600.0

_WHY: dict[PauseReason, str] = {
    "wal": "It wrote more write-ahead log in an hour than twice its disk quota and 256 MiB: write"
    " less, or raise disk_quota_bytes. Or it wrote more than 64 MiB into the catalogs that all"
    " databases share: use fewer roles in policies and grants, and fewer ALTER ROLE … SET.",
    "notify": "It filled the queue of notifications that all databases share. Notify less, and"
    " hold no transaction open in a session that listens.",
    "log": "Logins that were refused after their password was checked wrote too much to the"
    " server's log. Correct the parameters that they connect with.",
    "temp": "The temporary files of its sessions together took more than its disk quota. Run fewer"
    " large sorts at once, or raise disk_quota_bytes.",
    "settings": "A role of it had set more than 64 KiB of parameters for itself (ALTER ROLE … SET),"
    " which all logins of the server read. They were reset.",
}


def explain(reason: PauseReason) -> str:
    """Return what a paused database did, and what its owner should do."""
    return _WHY[reason]


def most_wal(quota: int) -> int:
    """Return the bytes of write-ahead log that a database may write in an hour, and at once."""
    return max(LEAST_WAL, 2 * quota)


def share_out(
    shared: Mapping[tuple[int, int], int], *, writers: Mapping[int, str], holders: Collection[str]
) -> Counter[str]:
    """Return the bytes of records of shared catalogs, by the database that wrote them.

    ``shared`` is by relation and transaction; ``writers`` are the known databases, by transaction.
    What others wrote to a relation is shared out in proportion: a session that commits again and
    again is known by its last transaction. Where none is known, the sessions that hold locks on
    these catalogs wrote it in equal parts: subtransactions are not visible. ``holders`` is the
    database of each of them.
    """
    found: Counter[str] = Counter()
    for relation in {relation for relation, _ in shared}:
        sizes = {tx: size for (other, tx), size in shared.items() if other == relation}
        known: Counter[str] = Counter()
        for transaction in sizes.keys() & writers.keys():
            known[writers[transaction]] += sizes[transaction]
        known = known or Counter(holders)
        whole, total = sum(sizes.values()), sum(known.values())
        found.update({name: whole * part // total for name, part in known.items()})
    return found


def most_temporary(quota: int, one_session: int) -> int:
    """Return the bytes that temporary files of all sessions of a database may take at a time."""
    return max(LEAST_TEMPORARY, quota, one_session)


@dataclass(slots=True)
class _Level:
    bytes: float
    allowance: int
    at: float


@dataclass(slots=True)
class Meter:
    """A meter of what each database has written lately: a bucket that leaks one allowance an hour.

    No allowance is below ``least``, so that databases below it need no look-up.
    """

    least: int
    _levels: dict[str, _Level] = field(default_factory=dict)

    def add(self, written: Mapping[str, float], now: float) -> list[str]:
        """Count bytes by database at a moment (seconds). Return those above the allowance last set.

        Those that have written most come first.
        """
        for name, size in written.items():
            level = self._levels.setdefault(name, _Level(0.0, self.least, now))
            self._leak(level, now)
            level.bytes += size
        for name, level in list(self._levels.items()):
            self._leak(level, now)
            if not level.bytes:
                del self._levels[name]
        above = [n for n, level in self._levels.items() if level.bytes > level.allowance]
        return sorted(above, key=lambda name: -self._levels[name].bytes)

    def exceeds(self, name: str, allowance: int) -> bool:
        """Set a database's allowance. Return whether it has written more."""
        level = self._levels.get(name)
        if level is None:
            return False
        level.allowance = allowance
        return level.bytes > allowance

    def left(self, name: str, allowance: int, now: float) -> int:
        """Return how many bytes a database may write at once before it exceeds its allowance."""
        level = self._levels.get(name)
        if level is None:
            return allowance
        self._leak(level, now)
        return max(0, allowance - int(level.bytes))

    def levels(self, now: float) -> dict[str, tuple[float, int]]:
        """Return the bytes that each database has written lately, and its allowance."""
        for level in self._levels.values():
            self._leak(level, now)
        return {name: (level.bytes, level.allowance) for name, level in self._levels.items()}

    def go_on_from(self, levels: Mapping[str, tuple[float, int]], at: float) -> None:
        """Start with the ``levels`` of that moment."""
        for name, (size, allowance) in levels.items():
            self._levels[name] = _Level(size, allowance, at)

    @staticmethod
    def _leak(level: _Level, now: float) -> None:
        level.bytes = max(0.0, level.bytes - level.allowance * (now - level.at) / _HOUR)
        level.at = now


def queue_is_long(size: int) -> bool:
    """Whether the queue is so long that a database has to be paused, or a session ended."""
    return size > MOST_QUEUED


def queue_is_filled(before: int, now: int) -> bool:
    """Whether the queue is too long and grows: then the databases that fill it have to stop.

    If it is long and does not grow, an open transaction of some listener holds it.
    """
    return queue_is_long(now) and now - before > _QUEUE_GROWS


def who_fills(shares: Counter[str]) -> list[str]:
    """Return the databases whose notifications fill the queue."""
    whole = sum(shares.values())
    return [name for name, part in shares.items() if part >= _PART * whole]
