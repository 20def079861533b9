"""The paths of the data API. Pure."""

import re
from dataclasses import dataclass

# As Supabase has it, and the short form. Names of databases need no percent encoding.
_PATHS = (
    re.compile(r"/(?P<database>[A-Za-z0-9_-]{1,63})/(?P<service>rest|auth)/v1(?P<path>/.*)?"),
    re.compile(r"/(?P<service>rest|auth)/(?P<database>[A-Za-z0-9_-]{1,63})(?P<path>/.*)?"),
)
_OF_ONE = re.compile(r"/(?P<service>rest|auth)/v1(?P<path>/.*)?")
_LABEL = re.compile(r"[a-z0-9-]{1,63}")


@dataclass(frozen=True, slots=True)
class Route:
    """The database that a request is for, and the path below the root of a service of its API.

    ``is_auth``: the service is that of application users, and not that of tables.
    """

    database: str
    path: str
    is_auth: bool = False


def route(path: str, database: str | None = None) -> Route | None:
    """Return where a path leads, percent-encoded as it was sent; None if nowhere.

    At the host name of a ``database``, it leads to no other.
    """
    if database is not None:
        within = _OF_ONE.fullmatch(path)
        if within is None:
            return None
        return Route(database, within["path"] or "/", within["service"] == "auth")
    for pattern in _PATHS:
        if (found := pattern.fullmatch(path)) is not None:
            return Route(found["database"], found["path"] or "/", found["service"] == "auth")
    return None


def database_at(host: str, domain: str) -> str | None:
    """Return the database with this host name (``Host``) at the edge; None if it is another's.

    Host names have ``-`` where names of databases have ``_``.
    """
    name = host.lower().partition(":")[0]
    label = name.removesuffix(f".rest.{domain}")
    if label == name or not _LABEL.fullmatch(label):
        return None
    return label.replace("-", "_")
