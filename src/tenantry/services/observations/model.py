"""Declarations of metrics, and measures of them.

A metric is declared once, where it is measured; ``docs/reference/metrics.md`` lists them all.
"""

from dataclasses import dataclass
from typing import Literal, Protocol

Kind = Literal["gauge", "counter", "untyped", "histogram"]

_UNITS = ("seconds", "bytes")


@dataclass(frozen=True, slots=True)
class Metric:
    """A family of measures that are distinguished by the values of ``labels``."""

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...]

    def __call__(self, value: float, *labels: str) -> "Measure":
        """Return a measure of it, with the labels' values in their order."""
        if len(labels) != len(self.labels):
            raise ValueError(f"{self.name} has the labels {self.labels}")
        return Measure(self, float(value), labels)

    @property
    def unit(self) -> str | None:
        """The unit with which its name ends; None for a mere number."""
        last = self.name.removesuffix("_total").rpartition("_")[2]
        return last if last in _UNITS else None


@dataclass(frozen=True, slots=True)
class Measure:
    """The present value of a metric."""

    metric: Metric
    value: float
    labels: tuple[str, ...]


class Measured(Protocol):
    """A capability with metrics."""

    async def measures(self) -> list[Measure]:
        """Return its measures. Raises TenantryError where it cannot: then they are left out."""


METRICS: dict[str, Metric] = {}


def gauge(name: str, help: str, *labels: str) -> Metric:  # noqa: A002 (as Prometheus calls it)
    """Declare a metric that goes up and down."""
    return _declare(Metric(name, "gauge", help, labels))


def counter(name: str, help: str, *labels: str) -> Metric:  # noqa: A002
    """Declare a metric that counts events, in all processes together; ``…_total``."""
    return _declare(Metric(name, "counter", help, labels))


def untyped(name: str, help: str, *labels: str) -> Metric:  # noqa: A002
    """Declare what is counted elsewhere, under another exporter's name without ``_total``."""
    return _declare(Metric(name, "untyped", help, labels))


def histogram(name: str, help: str, *labels: str) -> Metric:  # noqa: A002
    """Declare a metric that counts values by size, in one process, from its start on."""
    return _declare(Metric(name, "histogram", help, labels))


def _declare(metric: Metric) -> Metric:
    if metric.name in METRICS:
        raise ValueError(f"{metric.name} is declared twice")
    METRICS[metric.name] = metric
    return metric
