"""Moments and durations: how they are written, shown and compared.

They are shown in the local time zone with its offset, in a form that can be entered again:
2031-12-31 18:00:00+01:00. In JSON they are as in the API, ISO 8601 in UTC.
"""

import datetime as dt
import re
from collections.abc import Callable
from typing import Annotated, TypeGuard

import typer

LATEST = "latest"  # the latest moment that can be restored

_UNITS = {
    "s": dt.timedelta(seconds=1),
    "m": dt.timedelta(minutes=1),
    "h": dt.timedelta(hours=1),
    "d": dt.timedelta(days=1),
    "w": dt.timedelta(weeks=1),
}
_STEPS = (("s", 1, 120), ("min", 60, 7200), ("h", 3600, 172_800))
_SPAN = r"([1-9][0-9]{0,4})([smhdw])"
_CLOCK = r"([01]?\d|2[0-3]):[0-5]\d(:[0-5]\d(\.\d{1,6})?)?"
_MOMENT = r"(?a)\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d{1,9})?(Z|[+-]\d{2}:\d{2})"
_FORMS = (
    "a span such as 90m, 24h, 30d or 2w, a time of today such as 20:42:30, or a moment such as "
    "2031-12-31 or 2031-12-31T18:00+01:00"
)


def past(text: str, *, words: str = "") -> dt.datetime:
    """Parse ``24h`` as 24 hours ago, ``20:42`` as a time of today, or a moment in ISO 8601.

    A moment without a zone is local, and its interpretation is reported. ``words`` names other
    accepted words, for the error message.
    """
    return _moment(text, -1, words)


def future(text: str, *, words: str = "") -> dt.datetime:
    """Parse ``30d`` as 30 days ahead, ``20:42`` as a time of today, or a moment in ISO 8601."""
    return _moment(text, +1, words)


def text_of(read: Callable[..., dt.datetime], *words: str) -> Callable[[str], str]:
    """Return a parser for an option that is a moment or one of these words, as text for the API."""

    def parse(text: str) -> str:
        if text in words:
            return text
        return read(text, words="".join(f"{word}, " for word in words)).isoformat()

    return parse


def _moment(text: str, direction: int, words: str) -> dt.datetime:
    now = dt.datetime.now(dt.UTC)
    text = text.strip()
    if ago := re.fullmatch(_SPAN, text.lower()):
        return now.replace(microsecond=0) + direction * int(ago[1]) * _UNITS[ago[2]]
    is_clock = re.fullmatch(_CLOCK, text) is not None
    try:
        if is_clock:
            clock = dt.time.fromisoformat(text if text[1] != ":" else f"0{text}")
            found = dt.datetime.combine(now.astimezone().date(), clock)
        else:
            found = dt.datetime.fromisoformat(text)
        at = found.astimezone(dt.UTC)
    except (ValueError, OverflowError):
        raise typer.BadParameter(f"write {words}{_FORMS}.") from None
    if is_clock and (at - now) * direction < dt.timedelta():
        when = "is still to come" if direction < 0 else "is over"
        raise typer.BadParameter(f"{text} {when} today: write the date before it.")
    if found.tzinfo is None:
        typer.echo(f"{text} is taken as {local(at)}.", err=True)
    return at


def distance(text: str | None, *, now: dt.datetime | None = None) -> str:
    """Format the distance of a moment: ``42 s``, ``3 h`` (past), ``in 30 d``; ``-`` for none."""
    if not text:
        return "-"
    seconds = ((now or dt.datetime.now(dt.UTC)) - dt.datetime.fromisoformat(text)).total_seconds()
    return span(seconds) if seconds >= 0 else f"in {span(-seconds)}"


def span(seconds: float) -> str:
    """Format a duration: ``42 s``, ``3 h``."""
    unit, length = next(
        ((unit, length) for unit, length, end in _STEPS if seconds < end), ("d", 86_400)
    )
    return f"{round(seconds / length)} {unit}"


def is_future(text: str | None) -> bool:
    """Whether an ISO 8601 moment is in the future."""
    return text is not None and dt.datetime.fromisoformat(text) > dt.datetime.now(dt.UTC)


def is_moment(value: object) -> TypeGuard[str | dt.datetime]:
    """Whether this is a moment, in Python's or the API's form."""
    if isinstance(value, dt.datetime):
        return value.tzinfo is not None
    return isinstance(value, str) and re.fullmatch(_MOMENT, value) is not None


def local(at: str | dt.datetime) -> str:
    """Format a moment in the local time zone, to the second."""
    return _local(at).isoformat(" ", "seconds")


def exact(at: str | dt.datetime) -> str:
    """Format a moment in the local time zone, to the microsecond, as in PostgreSQL's log."""
    return _local(at).isoformat(" ", "microseconds")


def _local(at: str | dt.datetime) -> dt.datetime:
    return (dt.datetime.fromisoformat(at) if isinstance(at, str) else at).astimezone()


Since = Annotated[
    dt.datetime | None,
    typer.Option(parser=past, metavar="WHEN", help="Since 24h or 7d ago, or a date."),
]
