"""Databases that log more than the server's log can take, found by what is written to it.

The log is read a second time for this, and only counted: entries are moved slower than they can be
written, so that what has been moved shows a flood too late.
"""

import contextlib
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence

from tenantry.pg import server_log
from tenantry.pg.clusters import Cluster
from tenantry.services.statement_log.moving import database_of

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
        self._positions: dict[str, tuple[str, int]] = {}  # by cluster: a file, and an offset in it

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
        if cluster.name not in self._positions:
            if newest := cluster.entries_from("")[-1:]:
                self._positions[cluster.name] = newest[0].name, newest[0].stat().st_size
            return written
        file, offset = self._positions[cluster.name]
        left = _MOST_READ
        for path in cluster.entries_from(file):
            start = end = offset if path.name == file else 0
            with contextlib.suppress(FileNotFoundError):
                for line in server_log.lines(path, start, most=left):
                    end = line.end
                    if name := _database_of(line):
                        written[name] += line.length
            self._positions[cluster.name] = path.name, end
            left -= end - start
            if left <= 0:
                break
        return written


def _database_of(line: server_log.Line) -> str | None:
    found = server_log.entry(line)
    return database_of(found) if found else None
