"""Moments in time: how people write them, and how old they are."""

import datetime as dt
import re

import typer

_UNITS = {
    "s": dt.timedelta(seconds=1),
    "m": dt.timedelta(minutes=1),
    "h": dt.timedelta(hours=1),
    "d": dt.timedelta(days=1),
    "w": dt.timedelta(weeks=1),
}
_STEPS = (("s", 1, 120), ("min", 60, 7200), ("h", 3600, 172_800))
_SPAN = re.compile(r"([1-9][0-9]{0,4})([smhdw])")


def _moment(text: str, direction: int) -> dt.datetime:
    if span := _SPAN.fullmatch(text.strip().lower()):
        now = dt.datetime.now(dt.UTC).replace(microsecond=0)
        return now + direction * int(span[1]) * _UNITS[span[2]]
    try:
        return dt.datetime.fromisoformat(text.strip()).astimezone(dt.UTC)
    except (ValueError, OverflowError):
        raise typer.BadParameter(
            "write a span such as 90m, 24h, 30d or 2w, or a moment such as 2031-12-31 "
            "or 2031-12-31T18:00+01:00."
        ) from None


def past(text: str) -> dt.datetime:
    """``24h`` as the moment 24 hours ago, or a moment in ISO 8601 (local if it has no zone)."""
    return _moment(text, -1)


def future(text: str) -> dt.datetime:
    """``30d`` as the moment 30 days ahead, or a moment in ISO 8601."""
    return _moment(text, +1)


def distance(text: str | None, *, now: dt.datetime | None = None) -> str:
    """How far an ISO 8601 moment is: ``42 s``, ``3 h`` (past) or ``in 30 d``; ``-`` for none."""
    if not text:
        return "-"
    seconds = ((now or dt.datetime.now(dt.UTC)) - dt.datetime.fromisoformat(text)).total_seconds()
    size = abs(seconds)
    unit, length = next(
        ((unit, length) for unit, length, end in _STEPS if size < end), ("d", 86_400)
    )
    span = f"{round(size / length)} {unit}"
    return span if seconds >= 0 else f"in {span}"


def is_future(text: str | None) -> bool:
    """Whether an ISO 8601 moment is still to come."""
    return text is not None and dt.datetime.fromisoformat(text) > dt.datetime.now(dt.UTC)


def local(text: str) -> str:
    """An ISO 8601 moment in the reader's own zone, to the second."""
    return dt.datetime.fromisoformat(text).astimezone().strftime("%Y-%m-%d %H:%M:%S")
