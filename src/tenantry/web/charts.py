"""Small line charts as paths of SVG, from series of samples. Pure."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from tenantry.base.sizes import readable
from tenantry.services.samples.series import Series
from tenantry.web import words

WIDTH, HEIGHT = 240, 48
_EDGE = 2  # half of the stroke, so that it is not cut off at the top and at the bottom

Values = Sequence[float | None]


@dataclass(frozen=True, slots=True)
class Chart:
    """A series, from 0 to its maximum; the texts are of its last known value and its maximum."""

    title: str
    last: str
    most: str
    path: str


def _rate(value: float) -> str:
    return f"{value:,.0f}/s" if value >= 100 else f"{value:.3g}/s"  # noqa: PLR2004


_SHOWN: dict[str, tuple[str, Callable[[float], str]]] = {
    "connections": ("Connections", "{:,.0f}".format),
    "transactions": ("Transactions", _rate),
    "size_bytes": ("Size", readable),
}


_WRITES = {"rows_inserted", "rows_updated", "rows_deleted"}
_WRITTEN: dict[str, Callable[[float], str]] = {
    "bytes": readable,
    "bytes/s": lambda value: f"{readable(value)}/s",
    "ms": words.milliseconds,
    "percent": lambda value: f"{value:.1f} %",
    "ratio": words.percent,
    "seconds": words.duration,
}


def every(series: Sequence[Series]) -> list[Chart]:
    """Return the charts of all that is known of a database."""
    return [
        _chart(each, each.name.removesuffix("_ms").replace("_", " ").capitalize(), _text(each.unit))
        for each in series
    ]


def writes(series: Sequence[Series]) -> list[Chart]:
    """Return the charts of rows that were inserted, updated and deleted, as far as known."""
    return every([each for each in series if each.name in _WRITES])


_OF_SITE = {
    "exact_hits": "Exact hits",
    "semantic_hits": "Hits by meaning",
    "misses": "Misses",
    "saved": "Saved",
    "lookup_p95_ms": "95 % of look-ups within",
}


def of_site(series: Sequence[Series]) -> list[Chart]:
    """Return the charts of a site of the AI cache, of what is known; ``saved`` is money."""
    of_name = {each.name: each for each in series}
    found = []
    for name, title in _OF_SITE.items():
        each = of_name.get(name)
        if each is not None and any(value is not None for value in each.values):
            found.append(
                _chart(each, title, _money(each.unit) if name == "saved" else _text(each.unit))
            )
    return found


def _money(currency: str) -> Callable[[float], str]:
    return lambda value: f"{value:,.4g} {currency}"


def _text(unit: str) -> Callable[[float], str]:
    return _WRITTEN.get(unit) or (_rate if unit.endswith("/s") else "{:,.0f}".format)


def of(series: Sequence[Series]) -> list[Chart]:
    """Return the few charts of an overview, always in the same order."""
    of_name = {each.name: each for each in series}
    return [
        _chart(of_name[name], title, text)
        for name, (title, text) in _SHOWN.items()
        if name in of_name and any(value is not None for value in of_name[name].values)
    ]


def _chart(series: Series, title: str, text: Callable[[float], str]) -> Chart:
    known = [value for value in series.values if value is not None]
    return Chart(title, text(known[-1]), text(max(known)), path(series.values))


def path(values: Values) -> str:
    """Return the line through values at equal distances; nothing where none is known."""
    most = max((value for value in values if value is not None), default=0) or 1
    step = WIDTH / max(1, len(values) - 1)
    lines = []
    for line in _lines(values):
        points = [
            f"{number * step:.1f} {HEIGHT - _EDGE - value / most * (HEIGHT - 2 * _EDGE):.1f}"
            for number, value in line
        ]
        # A line of no length is a dot, as its ends are round.
        lines.append(f"M{'L'.join(points if len(points) > 1 else points * 2)}")
    return "".join(lines)


def _lines(values: Values) -> Iterator[list[tuple[int, float]]]:
    """Yield the parts without gaps, as numbers of values and values."""
    line: list[tuple[int, float]] = []
    for number, value in enumerate(values):
        if value is not None:
            line.append((number, value))
        elif line:
            yield line
            line = []
    if line:
        yield line
