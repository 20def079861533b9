"""What the pooler reports. Values only."""

from dataclasses import dataclass

from pydantic import BaseModel, Field


@dataclass(frozen=True, slots=True)
class PooledClient:
    """A client of the pooler; PgBouncer never reuses an ``id``."""

    id: int
    database: str
    username: str
    address: str


class PoolUse(BaseModel, frozen=True):
    """One pool: clients served and waiting, server connections active and idle."""

    database: str
    username: str
    clients_active: int
    clients_waiting: int
    servers_active: int
    servers_idle: int
    longest_wait_seconds: float


class PoolCounters(BaseModel, frozen=True):
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


class PoolerState(BaseModel, frozen=True):
    """The state of the pooler, as the API shows it; ``memory_bytes`` is that of its process."""

    version: str
    pool_size: int = Field(description="The most server connections of one pool, now.")
    budget: int = Field(description="The most server connections of all pools together.")
    clients: int
    servers: int
    memory_bytes: int
    memory_limit_bytes: int = Field(description="Above it, sessions are ended.")
    pools: list[PoolUse]
    stats: list[PoolCounters]
