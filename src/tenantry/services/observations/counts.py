"""Totals of events counted in several processes, the same whichever process is asked.

Each process writes a file of its own, and continues from the counts of the previous process of its
name. The total is the sum of all files. Files and not a table: they count on while the control
database is down, which is when there is most to count.

A process that is killed may lose the counts of its last second; a power failure may lose a file,
which then begins at zero, as Prometheus expects of counters.
"""

import atexit
import contextlib
import json
import threading
from collections import Counter
from pathlib import Path

from tenantry.host import files
from tenantry.services.observations.model import METRICS, Measure, Metric

_WRITE_SECONDS = 1.0

Key = tuple[str, tuple[str, ...]]


class Counts:
    """The counts of one process."""

    def __init__(self, folder: Path, process: str) -> None:
        files.ensure_folder(folder)
        self._file = folder / f"{process}.json"
        self._counted: Counter[Key] = _read(self._file)
        self._lock = threading.Lock()  # events come from threads, too
        self._writing = threading.Lock()
        self._due: threading.Timer | None = None
        atexit.register(self.write)

    def add(self, metric: Metric, *labels: str, amount: int = 1) -> None:
        """Count. The file is updated within a second."""
        with self._lock:
            self._counted[metric.name, labels] += amount
            if self._due is None:
                self._due = threading.Timer(_WRITE_SECONDS, self.write)
                self._due.daemon = True
                self._due.start()

    def write(self) -> None:
        """Write the present counts to the file."""
        with self._writing:  # a lock of its own, so that counting does not wait for the disk
            with self._lock:
                if self._due is None:
                    return
                self._due.cancel()
                self._due = None
                rows = [[name, labels, value] for (name, labels), value in self._counted.items()]
            with contextlib.suppress(OSError):  # a full disk: the next count tries again
                files.replace(self._file, json.dumps(rows))


def totals(folder: Path) -> list[Measure]:
    """Return the counts of all processes together; nothing while no process has counted."""
    counted: Counter[Key] = Counter()
    found = files.entries(folder)
    for file in found:
        if file.suffix == ".json":
            counted.update(_read(file))
    declared = [each for each in METRICS.values() if each.kind == "counter"] if found else []
    for metric in declared:
        if not metric.labels:
            counted[metric.name, ()] += 0
    return [
        METRICS[name](value, *labels)
        for (name, labels), value in sorted(counted.items())
        # A file may be of another release.
        if name in METRICS and len(labels) == len(METRICS[name].labels)
    ]


def _read(file: Path) -> "Counter[Key]":
    try:
        rows = json.loads(file.read_text())
        return Counter({(str(name), tuple(labels)): int(value) for name, labels, value in rows})
    except (FileNotFoundError, ValueError, TypeError):
        return Counter()
