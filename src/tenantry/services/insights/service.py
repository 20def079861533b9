"""The verbs on what a database does at present."""

import datetime as dt
import uuid
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

from tenantry.base.errors import Conflict, NotFound, TenantryError, Unavailable
from tenantry.base.events import StepDone, emit
from tenantry.control import audit, statement_resets
from tenantry.control.audit import Actor
from tenantry.control.databases import DatabaseRow
from tenantry.control.store import ControlStore, Tx
from tenantry.pg import (
    catalog,
    explaining,
    logins,
    sessions,
    statement_statistics,
    table_statistics,
    vacuuming,
)
from tenantry.pg.explaining import Wanted
from tenantry.pg.sessions import Signal, Signalled, Whose
from tenantry.pg.statement_statistics import Order
from tenantry.services.clusters.pools import ClusterPools
from tenantry.services.databases.service import Databases
from tenantry.services.insights import plan
from tenantry.services.insights.model import (
    Explained,
    Session,
    Statements,
    TableUse,
    Waiting,
)
from tenantry.services.pooling.service import Pooler


class Insights:
    """What a database does: its sessions, locks, tables and statements."""

    def __init__(
        self, store: ControlStore, clusters: ClusterPools, databases: Databases, pooler: Pooler
    ) -> None:
        self._store = store
        self._clusters = clusters
        self._databases = databases
        self._pooler = pooler

    async def sessions(
        self, actor: Actor, database_id: uuid.UUID, *, constants: bool
    ) -> list[Session]:
        """Return the open sessions of a database and its shadow, open transactions first.

        Their queries have no secrets and, unless ``constants``, no constants.

        Raises NotFound, Unavailable.
        """
        row = await self._databases.show(actor, database_id)
        return await self._sessions(row, constants=constants)

    async def locks(
        self, actor: Actor, database_id: uuid.UUID, *, constants: bool
    ) -> list[Waiting]:
        """Return the sessions that wait for a lock and those that they wait for, as a tree.

        ``constants`` is as for ``sessions``.

        Raises NotFound, Unavailable.
        """
        row = await self._databases.show(actor, database_id)
        found = await self._sessions(row, constants=constants)
        waiting = [each.activity.pid for each in found if each.activity.blocked_by]
        if not waiting:
            return []
        async with self._clusters.connection(row.cluster_id) as server:
            waits = await sessions.lock_waits(server, waiting)
        return await self._with_relations(row, plan.blocking_tree(found, waits))

    async def signal(
        self,
        tx: Tx,
        actor: Actor,
        database_id: uuid.UUID,
        pid: int,
        signal: Signal,
        *,
        started_at: dt.datetime | None = None,
    ) -> Signalled:
        """Cancel the statement of a session of a database or its shadow, or end the session.

        With ``started_at`` only if it began then. Raises NotFound, Unavailable.
        """
        row = await self._databases.show(actor, database_id)
        async with self._clusters.connection(row.cluster_id) as server:
            done = await sessions.send(server, _whose(row), pid, signal, started_at=started_at)
        if done is None:
            raise NotFound(
                f"No session of this database has the process ID {pid}"
                + ("." if started_at is None else f" and began at {started_at.isoformat()}."),
                hint="It may have ended: GET /api/databases/{id}/sessions lists the open ones.",
            )
        emit(StepDone("session", signal, row.database_name))
        await audit.record_on(
            tx,
            actor,
            f"database.{signal}_session",
            row,
            details={
                "pid": pid,
                "role": done.role,
                "database_name": done.database_name,
                "started_at": done.started_at.isoformat(),
            },
        )
        return done

    async def tables(self, actor: Actor, database_id: uuid.UUID) -> list[TableUse]:
        """Return the largest 1,000 tables of a database with their indexes, the largest first.

        Raises NotFound, Conflict, Unavailable.
        """
        row = await self._databases.active(actor, database_id)
        async with self._clusters.connection(row.cluster_id) as server:
            use = (await catalog.database_use(server, [row.database_name])).get(row.database_name)
        cluster = await self._clusters.cluster(row.cluster_id)
        async with logins.inside(cluster.address, row.database_name, [row.username]) as inside:
            found = await table_statistics.tables(inside)
            indexes = await table_statistics.indexes(inside, found)
            bloat = {each.title: each.returned_bytes for each in await vacuuming.tables(inside)}
        since = (use.since if use else None) or row.created_at
        return [
            TableUse(
                each,
                tuple(index for index in indexes if index.table == each.oid),
                bloat.get(each.title),
                since,
            )
            for each in found
        ]

    async def statements(
        self,
        actor: Actor,
        database_id: uuid.UUID,
        *,
        order: Order,
        search: str | None,
        limit: int,
        constants: bool,
    ) -> Statements:
        """Return the statements of a database and its shadow.

        The server has put parameters in place of their constants, except of a few: ``constants`` is
        as for ``sessions``.

        Raises NotFound, Unavailable.
        """
        async with self._store.transaction(actor) as tx:
            row = await self._databases.find(tx, actor, database_id)
            reset = await statement_resets.find(tx, row.id)
        async with self._clusters.connection(row.cluster_id) as server:
            counting = await statement_statistics.counting(server)
            found = await statement_statistics.of_tenant(
                server, _whose(row), order=order, search=search, limit=limit
            )
            untracked = await statement_statistics.untracked(server)
        since, evictions = counting.since, counting.evictions
        if reset is not None and reset.counted_since == counting.since:
            since, evictions = reset.reset_at, evictions - reset.evictions
        return Statements(
            # An entry that was evicted while its statement ran comes back with its constants.
            statements=[
                replace(each, query=plan.shown(each.query, constants=constants)) for each in found
            ],
            counted_since=since,
            incomplete_since=since if evictions else None,
            recorded=untracked.isdisjoint(row.database_names),
        )

    async def reset_statements(self, tx: Tx, actor: Actor, database_id: uuid.UUID) -> None:
        """Forget the statements of a database and its shadow. Raises NotFound, Unavailable."""
        row = await self._databases.find(tx, actor, database_id)
        async with self._clusters.connection(row.cluster_id) as server:
            counting = await statement_statistics.counting(server)
            await statement_resets.note(
                tx, row.id, counted_since=counting.since, evictions=counting.evictions
            )
            await audit.record_on(tx, actor, "database.reset_queries", row)
            await statement_statistics.reset(server, row.database_names)

    async def explain(self, actor: Actor, database_id: uuid.UUID, wanted: Wanted) -> Explained:
        """Return the plan of a statement, with the rights of the database's owner role.

        Nothing of it lasts. Raises NotFound, Conflict, InvalidInput, Unavailable.
        """
        row = await self._databases.active(actor, database_id)
        if not wanted.read_only and row.quota_state != "ok":
            raise Conflict(
                "The database is close to its disk quota, or beyond it: nothing is written to it"
                " only to explain a statement.",
                hint="Leave read_only out.",
            )
        cluster = await self._clusters.cluster(row.cluster_id)
        found = await explaining.explain(cluster.address, row.database_name, row.username, wanted)
        return plan.explained(found)

    async def _sessions(self, row: DatabaseRow, *, constants: bool) -> list[Session]:
        async with self._clusters.connection(row.cluster_id) as server:
            found = await sessions.of_tenant(server, _whose(row))
        servers, clients = [], []
        if any(each.client_address is None for each in found):
            with suppress(Unavailable):
                async with self._pooler.console() as console:
                    servers = await console.show("SERVERS")
                    clients = await console.show("CLIENTS")
        addresses = plan.pooled_addresses(servers, clients)
        return plan.reported(found, addresses, constants=constants)

    async def _with_relations(self, row: DatabaseRow, tree: Sequence[Waiting]) -> list[Waiting]:
        """Add the names of relations, which only the database itself has.

        They stay unknown if it admits nobody: all its connections may be waiting.
        """
        cluster = await self._clusters.cluster(row.cluster_id)
        known: dict[tuple[str, int], str] = {}
        for database in row.database_names:
            oids = {
                each.wait.relation
                for each in tree
                if each.wait is not None
                and each.wait.relation is not None
                and each.session.activity.database_name == database
            }
            if not oids:
                continue
            with suppress(TenantryError):
                async with logins.inside(cluster.address, database, [row.username]) as inside:
                    named = await sessions.relation_names(inside, sorted(oids))
                known |= {(database, oid): name for oid, name in named.items()}
        return [
            replace(
                each,
                relation=known.get((each.session.activity.database_name, each.wait.relation or 0)),
            )
            if each.wait is not None
            else each
            for each in tree
        ]


def _whose(row: DatabaseRow) -> Whose:
    return Whose(row.database_names, row.username)
