"""The snapshots of what clusters have counted of statements; each adds to the present hour."""

import uuid

from tenantry.base.errors import Deferred
from tenantry.control import audit, query_history
from tenantry.control import databases as rows
from tenantry.control.query_history import MOST_IN_PRESENT_HOUR, MOST_KEPT, Snapshot, hour_of
from tenantry.control.store import ControlStore, Tx
from tenantry.pg import statement_counters, statement_statistics
from tenantry.pg.redaction import without_constants
from tenantry.services.clusters.pools import ClusterPools
from tenantry.services.insights import counting

MOST_TEXT = 2000  # characters of a statement


class QueryHistory:
    """The history of statements, of all clusters."""

    def __init__(self, store: ControlStore, clusters: ClusterPools) -> None:
        self._store = store
        self._clusters = clusters

    async def take(self) -> None:
        """Add what was counted since the last snapshots. The invariant is ``query_history``'s.

        Each cluster is read once, whatever the number of databases, and a second time for texts
        that are new.
        """
        async with self._store.transaction(audit.PLATFORM) as tx:
            await query_history.roll(tx)
        with Deferred() as failures:
            for cluster in await self._clusters.with_databases():
                with failures.deferred():
                    async with self._store.transaction(audit.PLATFORM) as tx:
                        await self.take_of(tx, cluster.id)

    async def take_of(self, tx: Tx, cluster_id: uuid.UUID) -> None:
        """Take the snapshot of one cluster. Raises Busy, Unavailable."""
        last, now = await query_history.lock(tx, cluster_id)
        before = await query_history.counters(tx, cluster_id)
        databases = counting.owned(await rows.on_cluster(tx, cluster_id))
        async with self._clusters.connection(cluster_id) as server:
            counted = await statement_statistics.counting(server)
            entries = await statement_counters.entries(server)
        there = {each.key: each.counters for each in entries}
        await query_history.note(
            tx,
            cluster_id,
            now,
            counted,
            changed={key: each for key, each in there.items() if before.get(key) != each},
            gone=before.keys() - there.keys(),
        )
        if last is None:
            return  # it is unknown when that was counted
        hour, ids = hour_of(now), {each.row.id for each in databases.values()}
        await query_history.note_hour(
            tx,
            cluster_id,
            hour,
            seconds=max(0.0, (now - last.taken_at).total_seconds()),  # the clock may be set back
            evictions=_evicted(last, counted),
        )
        did = counting.first(counting.done_since(before, entries, databases))
        await query_history.add(tx, hour, did)
        await query_history.cut(tx, hour, did.keys(), most=MOST_IN_PRESENT_HOUR)
        if hour_of(last.taken_at) < hour:
            await query_history.cut(tx, hour_of(last.taken_at), ids, most=MOST_KEPT)
        missing = set(await query_history.without_text(tx, hour, did.keys()))
        places = counting.places(missing, entries, databases)
        if not places:
            return
        async with self._clusters.connection(cluster_id) as server:
            found = await statement_counters.texts(server, places.keys(), most=MOST_TEXT)
        # A constant may still be there: see ``Insights.statements``.
        texts = {
            places[key]: (without_constants(text)[:MOST_TEXT], own)
            for key, (text, own) in found.items()
        }
        await query_history.add_texts(tx, hour, texts)


def _evicted(last: Snapshot, counted: statement_statistics.Counting) -> int:
    same = last.counted_since == counted.since
    return max(0, counted.evictions - (last.evictions if same else 0))
