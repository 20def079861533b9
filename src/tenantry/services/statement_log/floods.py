"""Databases that log more than the server's log can take, found by what is written to it.

The log is read a second time for this, and only counted: entries are moved slower than they can be
written, so that what has been moved shows a flood too late.
"""

from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from tenantry.pg import server_log
from tenantry.pg.clusters import Cluster
from tenantry.pg.server_log import Line
from tenantry.services.statement_log.moving import database_of
from tenantry.services.statement_log.reading import LogPosition, end_of, read_on

MOST_A_SECOND = 100_000  # bytes of a database, on average of the window
WINDOW_SECONDS = 5.0
_MOST_READ = 64 * 1024 * 1024  # of a cluster at a time; the rest is counted the next time


class Window:
    """The bytes that each database has logged within the last seconds."""

    def __init__(self) -> None:
        self._counted: deque[tuple[float, Counter[str]]] = deque()

    def add(self, written: Mapping[str, int], now: float) -> list[str]:
        """Count bytes by database at a moment (seconds), and return the databases that flood."""
        self._counted.append((now, Counter(written)))
        while self._counted[0][0] <= now - WINDOW_SECONDS:
            self._counted.popleft()
        total = sum((each for _, each in self._counted), Counter[str]())
        return [name for name, size in total.items() if size > MOST_A_SECOND * WINDOW_SECONDS]

    def forget(self, name: str) -> None:
        """Forget what a database has logged until now."""
        for _, each in self._counted:
            del each[name]


class LogCounter:
    """Counts what sessions write to the logs of clusters; for one thread at a time."""

    def __init__(self, clusters: Callable[[], Sequence[Cluster]]) -> None:
        self._clusters = clusters
        self._positions: dict[str, LogPosition] = {}  # by cluster

    def count(self) -> Counter[str]:
        """Return the bytes that were written since the last call, by main database.

        The first call for a cluster finds nothing: it begins at the log's end.
        """
        written: Counter[str] = Counter()
        for cluster in self._clusters():
            written.update(self._count_on(cluster))
        return written

    def _count_on(self, cluster: Cluster) -> Counter[str]:
        written: Counter[str] = Counter()

        def count(_: Path, line: Line) -> None:
            if name := _database_of(line):
                written[name] += line.length

        position = self._positions.get(cluster.name)
        if position is not None:
            paths = cluster.entries_from(position[0])
            position, _ = read_on(paths, position, count, most=_MOST_READ)
        else:
            position = end_of(cluster)
        if position is not None:
            self._positions[cluster.name] = position
        return written


def _database_of(line: Line) -> str | None:
    found = server_log.entry(line)
    return database_of(found) if found else None
