"""Suggestions for a name that matches nothing."""

from collections.abc import Iterable
from itertools import islice

_MOST = 3
_MOST_COMPARED = 2000  # a tenant may have a hundred thousand tables: that would take many seconds


def closest(text: str, names: Iterable[str]) -> list[str]:
    """Return the name that ``text`` is probably a misspelling of, and those that contain it."""
    import difflib  # noqa: PLC0415 (for failures only)

    by_lower = {name.lower(): name for name in islice(names, _MOST_COMPARED)}
    written = text.lower()
    found = difflib.get_close_matches(written, by_lower, n=1, cutoff=0.75)
    found += [name for name in by_lower if written and written in name and name not in found]
    return [by_lower[name] for name in found[:_MOST]]


def did_you_mean(text: str, names: Iterable[str]) -> str | None:
    """Return the same as a question; None if no name is similar."""
    found = closest(text, names)
    return f"Did you mean {' or '.join(found)}?" if found else None
