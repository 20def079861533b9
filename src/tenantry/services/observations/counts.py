"""Totals of what is counted in several processes, whichever of them is asked.

Each process has a file of its own, which it alone writes, and goes on from where the process of
that name before it was. The total is the sum of all files. Files and not a table: they count on
while the control database is down, which is when there is most to count.

A process that is killed may lose what it counted in its last second; power that fails may lose a
file, which then begins anew, as Prometheus expects of counters.
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
    """What one process has counted."""

    def __init__(self, folder: Path, process: str) -> None:
        files.ensure_folder(folder)
        self._file = folder / f"{process}.json"
        self._counted: Counter[Key] = _read(self._file)
        self._lock = threading.Lock()  # events come from threads, too
        self._writing = threading.Lock()
        self._due: threading.Timer | None = None
        atexit.register(self.write)

    def add(self, metric: Metric, *labels: str, amount: int = 1) -> None:
        """Count. It is in the file within a second."""
        with self._lock:
            self._counted[metric.name, labels] += amount
            if self._due is None:
                self._due = threading.Timer(_WRITE_SECONDS, self.write)
                self._due.daemon = True
                self._due.start()

    def write(self) -> None:
        """Have the file say what has been counted up to now."""
        with self._writing:  # and nobody who counts waits for the disk
            with self._lock:
                if self._due is None:
                    return
                self._due.cancel()
                self._due = None
                rows = [[name, labels, value] for (name, labels), value in self._counted.items()]
            with contextlib.suppress(OSError):  # a full disk: the next one that counts tries again
                files.replace(self._file, json.dumps(rows))


def totals(folder: Path) -> list[Measure]:
    """What all processes have counted together; nothing while none has begun to."""
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
