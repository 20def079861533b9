"""How large the pool of an application's replicas should be. Pure.

Half of ``max_connections`` is for the application, shared out among its replicas and rounded
up to fives; no replica gets more than a deployment of its size puts to use, and a reserve
stays free for administrators and migrations. With PostgreSQL's default of 100 that gives
the usual table: 50 for one replica, 25 for two, 20 for three, 10 for five.
"""

from dataclasses import dataclass

from tenantry.base.errors import InvalidInput

SUGGESTED_RESERVE = 20
SUGGESTED_MAX_CONNECTIONS = (200, 300)
DEFAULT_MAX_CONNECTIONS = 100  # PostgreSQL's

_FIVES = 5
# Up to so many replicas, so many connections in each are put to use.
_BANDS = ((2, 50), (5, 30))
_LARGE = 20


@dataclass(frozen=True, slots=True)
class PoolAdvice:
    """Connections: in each replica's pool, of all of them together, and left for others."""

    replicas: int
    max_connections: int
    reserve: int
    pool_size: int

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
    """The pool that each of ``replicas`` should have on a server of ``max_connections``.

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
    share = -(-max_connections // (2 * replicas))
    in_fives = -(-share // _FIVES) * _FIVES
    return PoolAdvice(replicas, max_connections, reserve, min(in_fives, most, available))
