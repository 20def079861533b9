"""What the pooler reports. Values only."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PooledClient:
    """A client of the pooler; PgBouncer never reuses an ``id``."""

    id: int
    database: str
    username: str
    address: str


@dataclass(frozen=True, slots=True)
class PoolUse:
    """One pool: clients served and waiting, server connections active and idle."""

    database: str
    username: str
    clients_active: int
    clients_waiting: int
    servers_active: int
    servers_idle: int
    longest_wait_seconds: float


@dataclass(frozen=True, slots=True)
class PoolCounters:
    """The traffic of one database's pools since the pooler started.

    ``query_seconds`` is the duration of all queries together, ``wait_seconds`` what clients have
    waited for a server connection.
    """

    database: str
    transactions: int
    queries: int
    bytes_received: int
    bytes_sent: int
    average_transaction_seconds: float
    average_query_seconds: float
    average_wait_seconds: float
    query_seconds: float
    wait_seconds: float


@dataclass(frozen=True, slots=True)
class PoolerState:
    """The state of the pooler; all pools together may hold ``budget`` server connections.

    ``memory_bytes`` is the memory of its process, ``memory_limit_bytes`` the most that it may take.
    """

    version: str
    pool_size: int
    budget: int
    clients: int
    servers: int
    memory_bytes: int
    memory_limit_bytes: int
    pools: list[PoolUse]
    stats: list[PoolCounters]
