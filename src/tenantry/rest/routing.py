"""The paths of the data API. Pure."""

import re
from dataclasses import dataclass

# As Supabase has it, and the short form. Names of databases need no percent encoding.
_PATHS = (
    re.compile(r"/(?P<database>[A-Za-z0-9_-]{1,63})/rest/v1(?P<path>/.*)?"),
    re.compile(r"/rest/(?P<database>[A-Za-z0-9_-]{1,63})(?P<path>/.*)?"),
)


@dataclass(frozen=True, slots=True)
class Route:
    """The database that a request is for, and the path below the root of its API."""

    database: str
    path: str


def route(path: str) -> Route | None:
    """Return where a path leads, percent-encoded as it was sent; None if nowhere."""
    for pattern in _PATHS:
        if (found := pattern.fullmatch(path)) is not None:
            return Route(found["database"], found["path"] or "/")
    return None
