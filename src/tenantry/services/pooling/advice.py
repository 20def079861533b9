"""Advice on the pool size of an application's replicas. Pure.

Half of the connections of a server with PostgreSQL's default of 100 is for the application, shared
out among its replicas and rounded up to fives. That gives the usual table: 50 for one replica, 25
for two, 20 for three, 10 for five. A larger server allows more: half of its connections, but for no
replica more than a deployment of its size puts to use. A reserve stays free for administrators and
migrations.
"""

from dataclasses import dataclass

from tenantry.base.errors import InvalidInput

SUGGESTED_RESERVE = 20
SUGGESTED_MAX_CONNECTIONS = (200, 300)
DEFAULT_MAX_CONNECTIONS = 100  # PostgreSQL's

_FIVES = 5
# (replicas, connections): up to so many replicas, each puts so many connections to use.
_BANDS = ((2, 50), (5, 30))
_LARGE = 20


@dataclass(frozen=True, slots=True)
class PoolAdvice:
    """Connections: in each replica's pool, of all of them together, and left for others.

    ``at_most`` is what a pool may grow to on this server, should the advised one be too small.
    """

    replicas: int
    max_connections: int
    reserve: int
    pool_size: int
    at_most: int

    @property
    def total(self) -> int:
        return self.replicas * self.pool_size

    @property
    def left(self) -> int:
        return self.max_connections - self.total


def advise(
    *,
    replicas: int,
    max_connections: int = DEFAULT_MAX_CONNECTIONS,
    reserve: int = SUGGESTED_RESERVE,
) -> PoolAdvice:
    """Return the pool that each of ``replicas`` should have on a server of ``max_connections``.

    Raises InvalidInput where not even one connection each is left.
    """
    if replicas < 1:
        raise InvalidInput.of("replicas", "there must be at least one")
    if reserve < 0:
        raise InvalidInput.of("reserve", "it cannot be below 0")
    available = (max_connections - reserve) // replicas
    if available < 1:
        raise InvalidInput(
            f"{max_connections} connections less {reserve} in reserve are not one for each of "
            f"{replicas} replicas.",
            hint="Let the replicas come through the pooler (port 6432), which lends a few server "
            "connections to thousands of clients, or raise max_connections.",
        )
    most = next((size for upto, size in _BANDS if replicas <= upto), _LARGE)
    usual, at_most = (
        min(_share(connections, replicas), most, available)
        for connections in (min(max_connections, DEFAULT_MAX_CONNECTIONS), max_connections)
    )
    return PoolAdvice(replicas, max_connections, reserve, usual, at_most)


def _share(connections: int, replicas: int) -> int:
    """Return each replica's part of a half, in fives."""
    share = -(-connections // (2 * replicas))
    return -(-share // _FIVES) * _FIVES
