"""The paths of the data API. Pure."""

import re
from dataclasses import dataclass

# As Supabase has it, and the short form. Names of databases need no percent encoding.
_PATHS = (
    re.compile(r"/(?P<database>[A-Za-z0-9_-]{1,63})/(?P<service>rest|auth)/v1(?P<path>/.*)?"),
    re.compile(r"/(?P<service>rest|auth)/(?P<database>[A-Za-z0-9_-]{1,63})(?P<path>/.*)?"),
)


@dataclass(frozen=True, slots=True)
class Route:
    """The database that a request is for, and the path below the root of a service of its API.

    ``is_auth``: the service is that of application users, and not that of tables.
    """

    database: str
    path: str
    is_auth: bool = False


def route(path: str) -> Route | None:
    """Return where a path leads, percent-encoded as it was sent; None if nowhere."""
    for pattern in _PATHS:
        if (found := pattern.fullmatch(path)) is not None:
            return Route(found["database"], found["path"] or "/", found["service"] == "auth")
    return None
