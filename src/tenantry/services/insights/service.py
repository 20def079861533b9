"""The verbs on what a database does at present."""

import datetime as dt
import uuid
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

from tenantry.base.errors import Conflict, NotFound, TenantryError, Unavailable
from tenantry.base.events import StepDone, emit
from tenantry.control import audit, query_history, statement_resets
from tenantry.control.audit import Actor
from tenantry.control.databases import DatabaseRow
from tenantry.control.query_history import Past
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
from tenantry.pg.statement_statistics import Order, StatementStatistics
from tenantry.pg.table_statistics import IndexStatistics
from tenantry.services.clusters.pools import ClusterPools
from tenantry.services.databases.service import Databases
from tenantry.services.insights import counting, plan
from tenantry.services.insights.model import (
    Comparison,
    Explained,
    Session,
    Statement,
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

    async def table_names(self, actor: Actor, database_id: uuid.UUID) -> list[tuple[str, str]]:
        """Return schema and name of the largest 1,000 tables of a database. Raises as ``tables``.

        Partitions are not among them.
        """
        row = await self._databases.active(actor, database_id)
        cluster = await self._clusters.cluster(row.cluster_id)
        async with logins.inside(cluster.address, row.database_name, [row.username]) as inside:
            found = await table_statistics.tables(inside)
        return sorted((each.schema, each.name) for each in found if each.root is None)

    async def tables(self, actor: Actor, database_id: uuid.UUID) -> list[TableUse]:
        """Return the largest 1,000 tables of a database with their indexes, the largest first.

        Raises NotFound, Conflict, Unavailable.
        """
        row = await self._databases.active(actor, database_id)
        cluster = await self._clusters.cluster(row.cluster_id)
        since = await catalog.counted_since(cluster.address, row.database_name)
        async with logins.inside(cluster.address, row.database_name, [row.username]) as inside:
            found = await table_statistics.tables(inside)
            indexes = await table_statistics.indexes(inside, found)
            of_table: dict[int, list[IndexStatistics]] = {}
            for index in indexes:
                of_table.setdefault(index.table, []).append(index)
            bloat = {each.title: each.returned_bytes for each in await vacuuming.tables(inside)}
        return [
            TableUse(
                each,
                tuple(of_table.get(each.oid, ())),
                bloat.get(each.title),
                since or row.created_at,
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
        since: dt.datetime | None,
        constants: bool,
        own: bool = False,
    ) -> Statements:
        """Return the statements of a database and its shadow, compared with earlier hours.

        With ``since`` those of the history from that hour on, else all that the server counts.
        The server has put parameters in place of their constants, except of a few: ``constants`` is
        as for ``sessions``; the history has none. Statements of the platform's own, which it runs
        with the rights of the database's roles, are among them with ``own`` only.

        Raises NotFound, Unavailable; InvalidInput for an ``order`` that the history does not have.
        """
        if since is not None:
            since = counting.within_history(since, order, dt.datetime.now(dt.UTC))
        past: list[Past] = []
        async with self._store.transaction(actor) as tx:
            row = await self._databases.find(tx, actor, database_id)
            begin, incomplete = await self._completeness(tx, row, since)
            hours = await self._hours(tx, row)
            if since is not None:
                past = await query_history.since(
                    tx, row.id, since, order=order, search=search, limit=limit, own=own
                )
        async with self._clusters.connection(row.cluster_id) as server:
            untracked = await statement_statistics.untracked(server)
            if since is None:
                found = [
                    # One that was evicted while it ran comes back with its constants.
                    replace(each, query=plan.shown(each.query, constants=constants))
                    for each in await statement_statistics.of_tenant(
                        server, _whose(row), order=order, search=search, limit=limit, own=own
                    )
                ]
            else:
                found = [counting.past(each, row) for each in past]
        return Statements(
            statements=[Statement(each, _comparison(hours, row, each)) for each in found],
            counted_since=begin,
            incomplete_since=incomplete,
            recorded=untracked.isdisjoint(row.database_names),
        )

    async def _completeness(
        self, tx: Tx, row: DatabaseRow, since: dt.datetime | None
    ) -> tuple[dt.datetime, dt.datetime | None]:
        """Return since when statements are counted, or stored, and since when incompletely."""
        if since is not None:
            measured = await query_history.hours(tx, row.cluster_id, since)
            return counting.completeness(measured, since)
        reset = await statement_resets.find(tx, row.id)
        async with self._clusters.connection(row.cluster_id) as server:
            return plan.completeness(await statement_statistics.counting(server), reset)

    async def _hours(self, tx: Tx, row: DatabaseRow) -> counting.Hours | None:
        """Return the hours that a database's statements are compared with; None before any."""
        last = await query_history.last(tx, row.cluster_id)
        if last is None:
            return None
        wanted = counting.compared(last.taken_at)
        measured = await query_history.hours(tx, row.cluster_id, min(wanted))
        did = await query_history.of_hours(tx, row.id, wanted)
        return counting.Hours(wanted[0], {each.hour: each for each in measured}, did)

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
                "The database is close to its disk quota, or read-only: nothing is written to it"
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


def _comparison(
    hours: counting.Hours | None, row: DatabaseRow, found: StatementStatistics
) -> Comparison:
    if hours is None:
        return Comparison()
    shadow = found.database_name == row.shadow_name
    return hours.compare(shadow=shadow, query_id=found.query_id)
