"""The log of a cluster, read on from a position through its files."""

import contextlib
from collections.abc import Callable, Iterable
from pathlib import Path

from tenantry.pg import server_log
from tenantry.pg.clusters import Cluster
from tenantry.pg.server_log import Line

LogPosition = tuple[str, int]  # the name of a file, and an offset in it


def end_of(cluster: Cluster) -> LogPosition | None:
    """Return the end of a cluster's log; None if there is no log yet."""
    newest = cluster.entries_from("")[-1:]
    return (newest[0].name, newest[0].stat().st_size) if newest else None


def read_on(
    paths: Iterable[Path],
    position: LogPosition,
    take: Callable[[Path, Line], None],
    *,
    most: int,
) -> tuple[LogPosition, bool]:
    """Have the complete lines after a position taken, in about ``most`` bytes, file by file.

    ``paths`` are the log's files from that of the position on (``Cluster.entries_from``). Return
    the position after these lines, and whether there is more.
    """
    file, offset = position
    for path in paths:
        start = offset if path.name == file else 0
        position = path.name, start
        with contextlib.suppress(FileNotFoundError):  # deleted meanwhile
            for line in server_log.lines(path, start, most=most):
                take(path, line)
                position = path.name, line.end
        most -= position[1] - start
        if most <= 0:
            return position, True
    return position, False
