"""What is recorded of two readings of a database: pure."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from operator import attrgetter

from tenantry.control.sample_history import Period
from tenantry.control.samples import COUNTERS, GAUGES, POOLER_COUNTERS, Sample

IDLE_SECONDS = 300.0  # between the rows of a database in which nothing happens

_POOLER = COUNTERS.index(POOLER_COUNTERS[0])
_WORKER = COUNTERS.index("cpu_seconds")
_counters = attrgetter(*COUNTERS)
_gauges = attrgetter(*GAUGES)
_clients = attrgetter("size_bytes", "shadow_bytes", "clients_active", "clients_waiting")
_connections = attrgetter(*(name for name in GAUGES if name.startswith(("direct_", "pooled_"))))
_state = attrgetter("longest_transaction_seconds", *COUNTERS)
_Values = Sequence[float | None]


@dataclass(frozen=True, slots=True)
class Reading:
    """A sample, with what shows whether its counters go on from those of another.

    ``server`` and ``pooler`` differ once the counters of these were reset. ``sessions`` is how
    many sessions of clients began so far.
    """

    sample: Sample
    server: tuple[object, ...]
    pooler: object
    sessions: int


def is_active(before: Reading, now: Reading) -> bool:
    """Whether something happened in between that is not autovacuum's alone.

    Autovacuum counts as transactions, but not as sessions: without a session of a client between
    two readings, the difference is its.
    """
    old, new = before.sample, now.sample
    if before.server != now.server or before.sessions != now.sessions:
        return True
    if _clients(old) != _clients(new):
        return True
    connected = _connections(old)
    if connected != _connections(new):
        return True
    return any(connected) and _state(old) != _state(new)


def period(before: Reading | None, now: Reading) -> Period:
    """Return what is recorded of ``now``, with what was added since ``before``.

    What was added is not known if there is no reading before, or if counters were reset.
    """
    unknown: _Values = (None,) * len(COUNTERS)
    seconds = pooler_seconds = None
    server = pooler = unknown
    if before is not None and before.sample.at < now.sample.at:
        span = (now.sample.at - before.sample.at).total_seconds()
        added = _added(_counters(before.sample), _counters(now.sample))
        if before.server == now.server and not _is_reset(added[:_WORKER]):
            seconds, server = span, added
        if before.pooler == now.pooler and not _is_reset(added[_POOLER:]):
            pooler = added
            pooler_seconds = None if added[_POOLER] is None else span
    return Period(
        database_id=now.sample.database_id,
        at=now.sample.at,
        sums=(seconds, pooler_seconds, *server[:_POOLER], *pooler[_POOLER:]),
        gauges=_gauges(now.sample),
    )


def _added(before: _Values, now: _Values) -> _Values:
    return [
        None if old is None or new is None else new - old
        for old, new in zip(before, now, strict=True)
    ]


def _is_reset(added: _Values) -> bool:
    return any(each is not None and each < 0 for each in added)


def due(recorded: Reading, seen: Reading, now: Reading, *, closed: dt.datetime) -> list[Period]:
    """Return the rows to be recorded now, for a database last recorded and last read before.

    One in which nothing happens has a row every five minutes, and one when the clock was set back.
    That time ends with a row of the
    reading before: what happened since was in the last interval only. No row is from before
    ``closed``.
    """
    if is_active(seen, now):
        if seen is recorded or seen.sample.at < closed:
            return [period(recorded, now)]
        return [period(recorded, seen), period(seen, now)]
    if not 0 <= (now.sample.at - recorded.sample.at).total_seconds() < IDLE_SECONDS:
        return [period(recorded, now)]
    return []
