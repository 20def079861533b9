"""The requests that this process has answered, by their duration."""

from prometheus_client import CollectorRegistry, Histogram, disable_created_metrics

from tenantry.services.observations.model import histogram

REGISTRY = CollectorRegistry()

_DURATION = histogram(
    "tenantry_http_request_duration_seconds",
    "Time to answer, by route and status",
    "method",
    "route",
    "status",
)
_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
disable_created_metrics()  # type: ignore[no-untyped-call] # a separate family, no histogram
_requests = Histogram(
    _DURATION.name, _DURATION.help, _DURATION.labels, registry=REGISTRY, buckets=_BUCKETS
)


def observe_request(method: str, route: str, status: int, seconds: float) -> None:
    """Count an answered request."""
    _requests.labels(method, route, str(status)).observe(seconds)
