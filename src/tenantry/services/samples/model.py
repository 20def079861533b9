"""What is sampled of a database: the fields of ``control.samples.Sample``, with their units."""

from dataclasses import dataclass
from typing import Literal

Kind = Literal["gauge", "counter"]
Source = Literal["quotas", "server", "processes", "log", "pooler"]


@dataclass(frozen=True, slots=True)
class Field:
    """A field of a sample.

    A gauge is a state at that moment, a counter is what has been counted so far. ``source`` is what
    knows it: the metering of quotas, the statistics of the server, its processes on this machine, a
    sample of its write-ahead log, or the pooler.
    """

    name: str
    kind: Kind
    unit: str
    source: Source
    help: str


FIELDS = (
    Field("size_bytes", "gauge", "bytes", "quotas", "Size of the database on disk"),
    Field("shadow_bytes", "gauge", "bytes", "quotas", "Size of its shadow on disk"),
    Field("memory_bytes", "gauge", "bytes", "processes", "Own memory of its sessions"),
    Field("direct_active", "gauge", "connections", "server", "Direct sessions that run a query"),
    Field("direct_idle", "gauge", "connections", "server", "Direct sessions that are idle"),
    Field(
        "direct_in_transaction",
        "gauge",
        "connections",
        "server",
        "Direct sessions that are idle in a transaction",
    ),
    Field("pooled_active", "gauge", "connections", "server", "The pooler's that run a query"),
    Field("pooled_idle", "gauge", "connections", "server", "The pooler's that are idle"),
    Field(
        "pooled_in_transaction",
        "gauge",
        "connections",
        "server",
        "The pooler's that are idle in a transaction",
    ),
    Field(
        "longest_transaction_seconds", "gauge", "seconds", "server", "Age of the oldest transaction"
    ),
    Field("clients_active", "gauge", "clients", "pooler", "Clients with a server connection"),
    Field("clients_waiting", "gauge", "clients", "pooler", "Clients that wait for one"),
    Field("longest_wait_seconds", "gauge", "seconds", "pooler", "Longest wait at present"),
    Field("commits", "counter", "transactions", "server", "Committed transactions"),
    Field("rollbacks", "counter", "transactions", "server", "Transactions rolled back"),
    Field("rows_read", "counter", "rows", "server", "Rows and index entries read (tup_returned)"),
    Field("rows_fetched", "counter", "rows", "server", "Rows fetched by indexes (tup_fetched)"),
    Field("rows_inserted", "counter", "rows", "server", "Rows inserted"),
    Field("rows_updated", "counter", "rows", "server", "Rows updated"),
    Field("rows_deleted", "counter", "rows", "server", "Rows deleted"),
    Field("blocks_hit", "counter", "blocks", "server", "Blocks found in shared buffers"),
    Field("blocks_read", "counter", "blocks", "server", "Blocks read from the disk or its cache"),
    Field("temporary_bytes", "counter", "bytes", "server", "Written to temporary files"),
    Field("deadlocks", "counter", "deadlocks", "server", "Deadlocks"),
    Field("cpu_seconds", "counter", "seconds", "processes", "CPU time of its sessions"),
    Field("wal_bytes", "counter", "bytes", "log", "Write-ahead log, estimated"),
    Field("pooled_queries", "counter", "queries", "pooler", "Queries through the pooler"),
    Field("pooled_query_seconds", "counter", "seconds", "pooler", "Duration of these queries"),
    Field("pooled_wait_seconds", "counter", "seconds", "pooler", "Waits for a server connection"),
)
GAUGES = tuple(each.name for each in FIELDS if each.kind == "gauge")
COUNTERS = tuple(each.name for each in FIELDS if each.kind == "counter")
