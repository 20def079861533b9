"""The verbs on advice: what is found, and what is muted."""

import asyncio
import datetime as dt
import uuid
from contextlib import suppress
from dataclasses import dataclass

from tenantry.base.errors import Conflict, NotFound, Unavailable
from tenantry.control import advice_mutes, audit, data_apis
from tenantry.control.audit import Actor
from tenantry.control.databases import DatabaseRow
from tenantry.control.store import ControlStore, Tx
from tenantry.pg import (
    advice_catalog,
    catalog,
    logins,
    role_settings,
    sessions,
    statement_statistics,
    vacuuming,
)
from tenantry.pg.sessions import Whose
from tenantry.services.advice import plan
from tenantry.services.advice.model import Evidence, Finding, Pool
from tenantry.services.clusters.pools import ClusterPools
from tenantry.services.databases.service import Databases
from tenantry.services.pooling.plan import pool_size
from tenantry.services.pooling.service import Pooler

_MOST_STATEMENTS = 200


@dataclass(frozen=True, slots=True)
class Advice:
    """A finding, and since when its owner has muted it (None: not)."""

    finding: Finding
    muted_at: dt.datetime | None


class Advisor:
    """Finds what is wrong with a database, by the catalog and the server's counters."""

    def __init__(
        self, store: ControlStore, clusters: ClusterPools, databases: Databases, pooler: Pooler
    ) -> None:
        self._store = store
        self._clusters = clusters
        self._databases = databases
        self._pooler = pooler

    async def advice(self, actor: Actor, database_id: uuid.UUID, *, muted: bool) -> list[Advice]:
        """Return what is found, the most severe first; with ``muted`` also what is muted.

        Raises NotFound, Conflict, Unavailable.
        """
        row = await self._databases.active(actor, database_id)
        async with self._store.transaction(actor) as tx:
            mutes = await advice_mutes.of_database(tx, row.id)
        evidence = await self._evidence(row)
        # Statements and policies are parsed, which takes a while.
        found = await asyncio.to_thread(plan.findings, evidence)
        reported = [Advice(each, mutes.get((each.code, each.object))) for each in found]
        return [each for each in reported if muted or each.muted_at is None]

    async def mute(
        self, tx: Tx, actor: Actor, database_id: uuid.UUID, code: str, object_: str
    ) -> None:
        """Report a finding no more. Raises NotFound, Conflict for too many."""
        row = await self._databases.find(tx, actor, database_id)
        if len(await advice_mutes.of_database(tx, row.id)) >= advice_mutes.MOST:
            raise Conflict(
                f"A database has at most {advice_mutes.MOST:,} muted findings.",
                hint="Unmute those that are not found any more.",
            )
        await advice_mutes.put(tx, row.id, code, object_)
        details: dict[str, object] = {"code": code, "object": object_}
        await audit.record_on(tx, actor, "database.mute_advice", row, details=details)

    async def unmute(
        self, tx: Tx, actor: Actor, database_id: uuid.UUID, code: str, object_: str
    ) -> None:
        """Report a finding again. Raises NotFound."""
        row = await self._databases.find(tx, actor, database_id)
        if not await advice_mutes.remove(tx, row.id, code, object_):
            raise NotFound(
                f"{code} of {object_} is not muted.",
                hint="GET /api/databases/{id}/advice?muted=true lists what is.",
            )
        details: dict[str, object] = {"code": code, "object": object_}
        await audit.record_on(tx, actor, "database.unmute_advice", row, details=details)

    async def _evidence(self, row: DatabaseRow) -> Evidence:
        whose = Whose(row.database_names, row.username)
        name = row.database_name
        async with self._store.transaction(audit.PLATFORM) as tx:
            api = await data_apis.find(tx, row.id)
        statements: list[statement_statistics.StatementStatistics] = []
        async with self._clusters.connection(row.cluster_id) as server:
            use = (await catalog.database_use(server, [name])).get(name)
            buffers = await catalog.shared_buffers(server)
            open_sessions = await sessions.of_tenant(server, whose)
            with suppress(Unavailable):  # a server that does not count statements yet
                statements = await statement_statistics.of_tenant(
                    server, whose, order="total_ms", search=None, limit=_MOST_STATEMENTS
                )
        cluster = await self._clusters.cluster(row.cluster_id)
        since = await catalog.counted_since(cluster.address, name)
        settings = await role_settings.own(cluster.address, row.username, row.database_names)
        async with logins.inside(cluster.address, name, [row.username]) as inside:
            found = await advice_catalog.read(inside)
            sizes = await vacuuming.tables(inside)
        return Evidence(
            name=name,
            pool_size=pool_size(row.max_connections, row.pool_size),
            catalog=found,
            sizes=sizes,
            sessions=open_sessions,
            statements=[each for each in statements if each.database_name == name],
            settings=settings,
            pool=await self._pool(name),
            use=use,
            shared_buffers=buffers,
            counted_since=since or row.created_at,
            now=dt.datetime.now(dt.UTC),
            exposed=() if api is None or api.status != "active" else api.schemas,
        )

    async def _pool(self, name: str) -> Pool | None:
        """Return the state of a database's pools; None if the pooler does not answer."""
        with suppress(Unavailable):
            async with self._pooler.console() as console:
                pools = [each for each in await console.show("POOLS") if each["database"] == name]
            return Pool(
                waiting=sum(int(each["cl_waiting"]) for each in pools),
                seconds=max(
                    (each["maxwait"] + each["maxwait_us"] / 1e6 for each in pools), default=0.0
                ),
                connections=sum(
                    int(each[state])
                    for each in pools
                    for state in ("sv_active", "sv_idle", "sv_used", "sv_tested", "sv_login")
                ),
            )
        return None
