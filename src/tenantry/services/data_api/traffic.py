"""What the service of the data API has answered since it started, by database."""

from collections import Counter, defaultdict
from collections.abc import Collection

from tenantry.services.observations.model import Measure, counter, gauge

_REQUESTS = counter(
    "tenantry_data_api_requests_total",
    "Requests that the data API has answered since its process started, by database and status",
    "database",
    "status",
)
_SECONDS = counter(
    "tenantry_data_api_request_seconds_total",
    "Time that the answers to requests took together, by database",
    "database",
)
_CACHE = gauge(
    "tenantry_data_api_cache_bytes",
    "Memory of a database's schema cache and connections, estimated",
    "database",
)
_OPEN = gauge("tenantry_data_api_open_databases", "Databases with a schema cache")
NO_DATABASE = ""  # the label of requests that lead to none


class Traffic:
    """Counts requests. Those of databases that are no longer served are forgotten."""

    def __init__(self) -> None:
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
                _REQUESTS(count, name, str(status))
                for name, counts in self._requests.items()
                for status, count in counts.items()
            ),
            *(_SECONDS(seconds, name) for name, seconds in self._seconds.items()),
            *(_CACHE(size, name) for name, size in cache_bytes.items()),
            _OPEN(len(cache_bytes)),
        ]
