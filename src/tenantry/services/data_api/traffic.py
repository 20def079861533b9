"""What a process of the data API has answered since it started, by database."""

import json
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable

from tenantry.services.observations.model import Measure, counter, gauge

_REQUESTS = counter(
    "tenantry_data_api_requests_total",
    "Requests that the data API has answered since its process started, by database and status",
    "database",
    "status",
    "process",
)
_SECONDS = counter(
    "tenantry_data_api_request_seconds_total",
    "Time that the answers to requests took together, by database",
    "database",
    "process",
)
_CACHE = gauge(
    "tenantry_data_api_cache_bytes",
    "Memory of a database's schema cache and connections, estimated",
    "database",
    "process",
)
_OPEN = gauge(
    "tenantry_data_api_open_databases", "Databases with a schema cache in a process", "process"
)
_METRICS = {each.name: each for each in (_REQUESTS, _SECONDS, _CACHE, _OPEN)}
NO_DATABASE = ""  # the label of requests that lead to none


class Traffic:
    """Counts the requests of one process. Those of databases no longer served are forgotten."""

    def __init__(self, process: str) -> None:
        self._process = process
        self._requests: defaultdict[str, Counter[int]] = defaultdict(Counter)
        self._seconds: Counter[str] = Counter()

    def add(self, database: str, status: int, seconds: float) -> None:
        """Count an answer."""
        self._requests[database][status] += 1
        self._seconds[database] += seconds  # type: ignore[assignment] # of floats, too

    def measures(self, served: Collection[str], cache_bytes: dict[str, int]) -> list[Measure]:
        """Return the counts; ``cache_bytes`` are those of open databases."""
        for name in self._requests.keys() - served - {NO_DATABASE}:
            del self._requests[name], self._seconds[name]
        return [
            *(
                _REQUESTS(count, name, str(status), self._process)
                for name, counts in self._requests.items()
                for status, count in counts.items()
            ),
            *(_SECONDS(seconds, name, self._process) for name, seconds in self._seconds.items()),
            *(_CACHE(size, name, self._process) for name, size in cache_bytes.items()),
            _OPEN(len(cache_bytes), self._process),
        ]


def encoded(measures: Iterable[Measure]) -> bytes:
    """Return measures as a process sends them to the API."""
    rows = [(each.metric.name, each.value, each.labels) for each in measures]
    return json.dumps(rows).encode()


def decoded(content: bytes) -> list[Measure]:
    """Return the measures that a process has sent; none of another release's."""
    return [
        _METRICS[name](value, *labels)
        for name, value, labels in json.loads(content)
        if name in _METRICS and len(labels) == len(_METRICS[name].labels)
    ]
