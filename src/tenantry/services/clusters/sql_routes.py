"""The ways to instances by their host names at the edge, in a file of the home.

``services/edge/sql.py`` writes it from the control database; the edge serves by it, and connection
strings name its port.
"""

import ipaddress
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

from pydantic import BaseModel, TypeAdapter, ValidationError

from tenantry.base.home import Home
from tenantry.base.networks import Network
from tenantry.host import files

# In it a connection that the edge has accepted before a change has reached its server, or none:
# plan.HELLO_SECONDS of the edge, and time to spare.
LINGER_SECONDS = 10.0


class SqlRoute(BaseModel, frozen=True):
    """The way to an instance; ``networks`` are those admitted to it, None for all.

    ``since``: when the edge was seen to admit no others, in seconds since 1970. It is None until
    then.
    """

    cluster: str
    host: str
    port: int
    networks: tuple[str, ...] | None = None
    since: float | None = None

    @property
    def parsed(self) -> list[Network]:
        """The admitted networks; none if all are."""
        return [ipaddress.ip_network(each) for each in self.networks or ()]

    def has_admitted(self, began: float, now: float) -> bool:
        """Whether a session that began then is from a network that is admitted now.

        False may be of one that is: what the edge has accepted by the list before may have begun
        a moment after the change.
        """
        if self.since is None:
            return True  # it is being changed: judged once that is in force
        settled = self.since + LINGER_SECONDS
        return began >= (settled if now >= settled else self.since)


_ROUTES = TypeAdapter(tuple[SqlRoute, ...])


@lru_cache(maxsize=64)
def _remembered(root: Path) -> files.Remembered[tuple[SqlRoute, ...]]:
    return files.Remembered(root / "sql.json", _ROUTES.validate_json, missing=())


def read(home: Home) -> tuple[SqlRoute, ...]:
    """Return the routes; none if the file is damaged: it is written again within a minute."""
    try:
        return _remembered(home.edge).value()
    except ValidationError:
        return ()


def write(home: Home, routes: Iterable[SqlRoute]) -> None:
    """Replace the file."""
    files.ensure_folder(home.edge)
    files.write_atomically(home.edge / "sql.json", _ROUTES.dump_json((*routes,), indent=1))
