"""Measures in Prometheus's format."""

from collections.abc import Iterable, Iterator
from itertools import groupby

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, UnknownMetricFamily
from prometheus_client.registry import Collector

from tenantry.services.observations.model import Measure

MEDIA_TYPE = "text/plain; version=0.0.4"


def render(measures: Iterable[Measure], *more: CollectorRegistry) -> bytes:
    """Return measures, and what is collected otherwise, as Prometheus reads them."""
    registry = CollectorRegistry()
    registry.register(_Measured(measures))
    return b"".join(map(generate_latest, (registry, *more)))


_Family = CounterMetricFamily | GaugeMetricFamily | UnknownMetricFamily
_FAMILIES: dict[str, type[_Family]] = {
    "counter": CounterMetricFamily,
    "gauge": GaugeMetricFamily,
    "untyped": UnknownMetricFamily,
}


class _Measured(Collector):
    def __init__(self, measures: Iterable[Measure]) -> None:
        self._measures = sorted(measures, key=lambda each: (each.metric.name, each.labels))

    def collect(self) -> Iterator[_Family]:
        for metric, some in groupby(self._measures, key=lambda each: each.metric):
            family = _FAMILIES[metric.kind](metric.name, metric.help, labels=metric.labels)
            for each in some:
                family.add_metric(each.labels, each.value)
            yield family
