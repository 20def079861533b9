"""The service for databases."""

import asyncio
import uuid
from contextlib import suppress
from dataclasses import replace
from functools import partial

import structlog

from tenantry.base.errors import (
    Conflict,
    Forbidden,
    InvalidInput,
    NotFound,
    Unavailable,
)
from tenantry.base.events import StepDone, emit
from tenantry.base.secrets import Secret, scram_verifier
from tenantry.control import (
    attributes,
    audit,
    customers,
    database_counts,
    database_lists,
    operations,
    pages,
    passwords,
    plans,
)
from tenantry.control import clusters as cluster_rows
from tenantry.control import databases as rows
from tenantry.control.audit import Actor
from tenantry.control.database_lists import Filter, Order
from tenantry.control.databases import DatabaseRow
from tenantry.control.operations import OperationRow
from tenantry.control.pages import Page
from tenantry.control.store import ControlStore, Tx, as_platform
from tenantry.pg import catalog, objects
from tenantry.services.clusters import suspending
from tenantry.services.clusters.fleet import Fleet
from tenantry.services.clusters.pools import ClusterPools, instance_stopped
from tenantry.services.databases import plan, steps
from tenantry.services.databases.dropping import Dropping
from tenantry.services.databases.login_passwords import LoginPasswords
from tenantry.services.databases.model import Changes, Deletion, NewDatabase, Opened, Statistics
from tenantry.services.databases.warm_pool import WarmPool
from tenantry.services.pooling.service import Pooler

log = structlog.get_logger()

_AUDITED = (*attributes.NAMES, "owner_email", *plans.NAMES)
_DELETION_SECONDS = 1.0  # a deletion that takes longer is followed as an operation
_RECONNECT_SECONDS = 1.0  # how long pooled clients wait for each other's open transactions


class Databases:
    """The service for databases."""

    def __init__(
        self,
        store: ControlStore,
        clusters: ClusterPools,
        pooler: Pooler,
        *,
        fleet: Fleet,
        most_of_a_customer: int,
        warm_pool: WarmPool,
    ) -> None:
        self._store = store
        self._most_of_a_customer = most_of_a_customer
        self._fleet = fleet
        self._clusters = clusters
        self._pooler = pooler
        self.warm_pool = warm_pool
        self.login_passwords = LoginPasswords(store, clusters, pooler)
        self.dropping = Dropping(store, clusters, pooler, fleet)

    # ── verbs ────────────────────────────────────────────────────────────────

    async def create(self, tx: Tx, actor: Actor, wanted: NewDatabase, password: Secret) -> Opened:
        """Give a warm database to its owner; if none is ready, create one now.

        Raises NameTaken, InvalidInput (no such plan, or a limit that this machine cannot provide),
        Forbidden (another customer's e-mail, or more than a customer may take), Conflict (more
        databases than that), Unavailable.
        """
        customer_id = await self.owner(tx, actor, wanted)
        if wanted.cluster is not None and actor.customer_id is not None:
            raise Forbidden("Only administrators choose the cluster.", hint="Leave cluster out.")
        warm = await self.warm_pool.take(tx, wanted.cluster, customer_id=customer_id)
        emit(StepDone("create", "claimed", warm.database_name))
        # Before the role is opened: this detects a name that is taken.
        await rows.activate(
            tx, warm.id, wanted.attributes, customer_id=customer_id, limits=wanted.limits
        )
        row = await self._locked(tx, warm.id)
        await self.check_limits(tx, actor, before=warm, after=row, is_new=True)
        await self.check_count(tx, actor, row.customer_id)
        emit(StepDone("create", "labelled", row.database_name))
        async with self._clusters.connection(row.cluster_id) as server:
            # The default plan's limits are in force since the database was prepared.
            if (state := plan.wanted_state(row)) != plan.wanted_state(warm):
                await objects.configure_databases(server, row.database_names, state)
            await objects.open_role(
                server,
                row.username,
                verifier=scram_verifier(password),
                max_connections=row.max_connections,
            )
        emit(StepDone("create", "opened", row.database_name))
        await audit.record_on(
            tx, actor, "database.create", row, details={"environment": row.environment}
        )
        emit(StepDone("create", "recorded", row.database_name))
        tx.in_background(self.warm_pool.ask_for_refill)
        tx.in_background(self.refresh_pooler)
        return Opened(row, password)

    async def check_limits(
        self,
        tx: Tx,
        actor: Actor,
        *,
        before: DatabaseRow,
        after: DatabaseRow,
        is_new: bool = False,
    ) -> None:
        """Raise InvalidInput or Forbidden for limits that cannot or may not be set.

        InvalidInput: this machine cannot provide them. Forbidden: a customer may lower limits, and
        raise them up to what its plan grants or, unless it ``is_new``, the database's.
        """
        most = self._fleet.sizing_for(after.memory_mb).per_database
        if before.max_connections != after.max_connections > most:
            raise InvalidInput.of(
                "max_connections",
                f"this server gives one database at most {most} connections,"
                " so that there are some for the others",
            )
        if (own := await plans.of_customer(tx, actor.customer_id)) is not None:
            plan.require_granted(before, after, own, await plans.every(tx), is_new=is_new)

    async def check_count(
        self, tx: Tx, actor: Actor, customer_id: uuid.UUID | None, *, more: int = 0
    ) -> None:
        """Raise Conflict if a customer asks for ``more`` databases than it may have.

        Databases that ``tx`` has created, branches, and retained databases count, too.
        """
        if actor.customer_id is None or customer_id is None:
            return
        if (
            await database_counts.count_of_customer(tx, customer_id) + more
            > self._most_of_a_customer
        ):
            raise Conflict(
                f"A customer may have {self._most_of_a_customer:,} databases, with branches and"
                " retained databases.",
                hint="Delete some, or ask whoever runs the platform (TENANTRY_CUSTOMER_DATABASES).",
            )

    async def planned(self, tx: Tx, actor: Actor, wanted: NewDatabase) -> NewDatabase:
        """Return a request with the pricing plan of its owner, unless it names one.

        Raises Forbidden.
        """
        if wanted.names_plan:
            return wanted
        owner = await plans.of_customer(tx, await self.owner(tx, actor, wanted))
        name = plans.DEFAULT if owner is None else owner.name
        return replace(
            wanted, attributes=wanted.attributes.changed({"plan": name}), names_plan=True
        )

    async def owner(self, tx: Tx, actor: Actor, wanted: NewDatabase | Changes) -> uuid.UUID | None:
        """Return the customer who is to own a database, None for nobody. Raises Forbidden."""
        email = wanted.owner_email
        if actor.customer_id is not None:
            if email not in {None, actor.customer_email}:
                raise Forbidden(
                    "This API key makes databases for its own customer only.",
                    hint=f"Leave owner_email out, or set it to {actor.customer_email}.",
                )
            return actor.customer_id
        if email is None:
            return None
        return await customers.ensure(
            tx, email, field="owner_email", may_be_new=wanted.new_customer
        )

    async def page(
        self, actor: Actor, wanted: Filter, *, cursor: str | None, limit: int
    ) -> Page[DatabaseRow]:
        """Return databases, newest first. Raises InvalidInput for a bad cursor or owner."""
        after = pages.read_key(cursor)
        async with self._store.transaction(actor) as tx:
            found = await database_lists.page(
                tx, wanted, customer_id=actor.customer_id, after=after, limit=limit + 1
            )
            if not found and wanted.owner is not None:
                await customers.require(tx, wanted.owner, field="owner")
        return pages.cut(found, limit, lambda row: (row.created_at, row.id))

    async def first(
        self, actor: Actor, wanted: Filter, order: Order, *, limit: int
    ) -> list[DatabaseRow]:
        """Return the first databases in an order, as by size or by the CPU time they take."""
        async with self._store.transaction(actor) as tx:
            return await database_lists.first(
                tx, wanted, order, customer_id=actor.customer_id, limit=limit
            )

    async def show(self, actor: Actor, database_id: uuid.UUID) -> DatabaseRow:
        """Return one database. Raises NotFound, also for another customer's."""
        async with self._store.transaction(actor) as tx:
            return await self.find(tx, actor, database_id)

    async def update(
        self, tx: Tx, actor: Actor, database_id: uuid.UUID, changes: Changes
    ) -> DatabaseRow:
        """Change labels and limits. Raises NotFound, Conflict, and as ``create``."""
        row = await self.lock_there(tx, actor, database_id)
        if "expires_at" in changes.attributes and row.branched_at is None:
            raise InvalidInput.of("expires_at", "is for branches, and this is none")
        for field in changes.attributes.keys() & {"auto_suspend_seconds", "auto_suspend_direct"}:
            if not row.is_instance:
                raise InvalidInput.of(field, "is of instances, and this has none")
        wanted = plan.labelled(row, changes.attributes)
        await rows.update(tx, row.id, row.changed(wanted), limits=changes.limits)
        if changes.owner_email not in {None, row.owner_email}:
            await self._give(tx, actor, row.id, changes)
        after = await self._locked(tx, row.id)
        await self.check_limits(tx, actor, before=row, after=after)
        renews = plan.wanted_state(after).defaults != plan.wanted_state(row).defaults
        if renews or after.limits != row.limits:
            async with self._clusters.own_connection(row.cluster_id) as server:
                await steps.limit(server, after)
        if renews:
            tx.after_commit(partial(self._renew_defaults, after))
        changed = audit.differences(row, after, _AUDITED)
        await audit.record_on(tx, actor, "database.update", row, details=changed)
        tx.in_background(self.refresh_pooler)
        return after

    async def _renew_defaults(self, row: DatabaseRow) -> None:
        # The pool's server connections began with the earlier defaults. If the pooler is down there
        # are none.
        with suppress(Unavailable):
            await self.reconnect_pool(row, end_clients=False)

    async def _give(self, tx: Tx, actor: Actor, database_id: uuid.UUID, changes: Changes) -> None:
        """Give a database without an owner to one. Raises Forbidden, Conflict, NameTaken."""
        row = await self._locked(tx, database_id)
        if actor.customer_id is not None:
            raise Forbidden(
                "Only administrators give a database to somebody.", hint="Leave owner_email out."
            )
        if row.customer_id is not None:
            raise Conflict(
                f"The database is {row.owner_email}'s, and stays so: who knew its passwords and had"
                " its backups would know those of the next owner.",
                hint="Make a database for the new owner, and import this one into it.",
            )
        if (customer_id := await self.owner(tx, actor, changes)) is not None:
            await rows.give(tx, row, customer_id)

    async def refresh_pooler(self) -> None:
        """Update the pooler's limits of each role, if any have changed."""
        await self._pooler.refresh(self._store)

    async def release_clients(self, operation: OperationRow) -> None:
        """Resume pooled clients that an abandoned operation may have paused."""
        if operation.resource_kind != "database":
            return
        async with self._store.transaction(audit.PLATFORM) as tx:
            row = await rows.find(tx, operation.resource_id, customer_id=None)
        if row is not None:
            await self._pooler.renew_servers(row.database_name, within=_RECONNECT_SECONDS)

    async def reconnect_pool(self, row: DatabaseRow, *, end_clients: bool) -> None:
        """Renew the server connections of a database's pooled clients, and of its shadow's.

        With ``end_clients`` end the clients' sessions as well. Raises Unavailable if the pooler
        does not answer.
        """
        if end_clients:
            await self._pooler.kick_out(row.database_names)
            return
        for name in row.database_names:
            await self._pooler.renew_servers(name, within=_RECONNECT_SECONDS)

    async def delete(self, tx: Tx, actor: Actor, database_id: uuid.UUID) -> Deletion:
        """Delete a database. Once ``tx`` is committed nobody can connect any more.

        It is dropped after the commit, for which the opener of ``tx`` waits at most one second. An
        instance goes with its database, and with all that its tenant has made there.
        Raises NotFound, Conflict, also while an operation has the database exclusively, or while
        an instance has further databases that the platform manages.
        """
        row = await self.lock_active(tx, actor, database_id)
        if row.is_instance:
            await self._close_instance(tx, row)
        operation_id = await operations.insert(
            tx,
            kind=steps.DELETE,
            resource_kind="database",
            resource_id=row.id,
            customer_id=row.customer_id,
            exclusive=True,
        )
        await rows.set_status(tx, row.id, "deleting")
        await audit.record_on(tx, actor, "database.delete", row, result="accepted")
        emit(StepDone("delete", "promised", row.database_name))
        tx.after_commit(partial(self._remove, row.id, actor))
        tx.in_background(self.refresh_pooler)
        return Deletion(row.id, operation_id)

    async def _close_instance(self, tx: Tx, row: DatabaseRow) -> None:
        async with as_platform(tx):
            found = await rows.on_cluster(tx, row.cluster_id)
            others = [each for each in found if each.id != row.id]
            if others:
                names = ", ".join(each.name or each.database_name for each in others)
                raise Conflict(
                    f"The instance also has {names}, which would be deleted with it.",
                    hint="Delete its branches and restored copies first.",
                )
            await cluster_rows.set_wanted(tx, row.cluster_id, "stopped")

    async def _remove(self, database_id: uuid.UUID, actor: Actor) -> None:
        removal = self._store.background.start(partial(self.dropping.finish, database_id, actor))
        await asyncio.wait({removal}, timeout=_DELETION_SECONDS)

    async def is_gone(self, database_id: uuid.UUID) -> bool:
        """Whether a database is completely deleted."""
        async with self._store.transaction(audit.PLATFORM) as tx:
            return await rows.find(tx, database_id, customer_id=None) is None

    async def rotate_password(
        self,
        tx: Tx,
        actor: Actor,
        database_id: uuid.UUID,
        password: Secret,
        *,
        reason: str | None = None,
    ) -> Opened:
        """Give a database a new password; open sessions stay. Raises NotFound, Conflict.

        Until ``tx`` is committed the old verifier is stored outside it, so that after a crash in
        between the password that the owner knows is restored.
        """
        row = await self.lock_there(tx, actor, database_id)
        await self.login_passwords.change(
            row.cluster_id,
            row,
            password,
            remember=lambda early, verifier: passwords.insert_rotation(early, row.id, verifier),
            event="rotate",
        )
        await passwords.remove_rotation(tx, row.id)
        await passwords.note_password_change(tx, row.id)
        details: dict[str, object] = {} if reason is None else {"reason": reason}
        await audit.record_on(tx, actor, "database.rotate_password", row, details=details)
        emit(StepDone("rotate", "recorded", row.username))
        return Opened(await self._locked(tx, row.id), password)

    async def statistics(self, actor: Actor, database_id: uuid.UUID) -> Statistics:
        """Return the current size, sessions and counters. Raises NotFound, Unavailable."""
        row = await self.show(actor, database_id)
        async with self._clusters.connection(row.cluster_id) as server:
            use = await catalog.database_use(server, row.database_names)
        cluster = await self._clusters.cluster(row.cluster_id)
        since = await catalog.counted_since(cluster.address, row.database_name)
        main = use.get(row.database_name)
        return Statistics(
            database_id=row.id,
            database_name=row.database_name,
            size_bytes=sum(each.size_bytes for each in use.values()),
            active_connections=sum(each.connections for each in use.values()),
            max_connections=row.max_connections,
            cache_hit_ratio=main.cache_hit_ratio if main else None,
            transactions_committed=main.committed if main else 0,
            transactions_rolled_back=main.rolled_back if main else 0,
            stats_since=since or row.created_at,
        )

    # ── helpers ──────────────────────────────────────────────────────────────

    async def find(self, tx: Tx, actor: Actor, database_id: uuid.UUID) -> DatabaseRow:
        """Return one database in ``tx``. Raises NotFound, also for another customer's."""
        row = await rows.find(tx, database_id, customer_id=actor.customer_id)
        if row is None:
            raise NotFound("There is no such database.", hint="GET /api/databases lists yours.")
        return row

    async def lock_active(self, tx: Tx, actor: Actor, database_id: uuid.UUID) -> DatabaseRow:
        """Return an active database, locked until ``tx`` ends. A suspended instance is woken.

        Raises NotFound, Conflict.
        """
        await self.find(tx, actor, database_id)
        return await self.awake(_active(await self._locked(tx, database_id)))

    async def active(self, actor: Actor, database_id: uuid.UUID) -> DatabaseRow:
        """Return a database that is active now. A suspended instance is woken.

        Raises NotFound, Conflict.
        """
        return await self.awake(_active(await self.show(actor, database_id)))

    async def awake(self, row: DatabaseRow) -> DatabaseRow:
        """Wake the instance of a database if it is suspended. Raises MachineError."""
        await suspending.ensure_awake(self._fleet, row.cluster)  # which the row follows
        return row

    async def lock_there(self, tx: Tx, actor: Actor, database_id: uuid.UUID) -> DatabaseRow:
        """As ``lock_active``; raises Conflict also if its server is stopped or does not have it."""
        row = await self.lock_active(tx, actor, database_id)
        if row.wanted == "stopped":
            raise instance_stopped(row.container_name)
        if row.missing_since is not None:
            raise Conflict(
                f"The database is missing on its server since {row.missing_since:%F %T} UTC.",
                hint="Restore it from a backup, or delete it.",
            )
        return row

    async def _locked(self, tx: Tx, database_id: uuid.UUID) -> DatabaseRow:
        row = await rows.lock(tx, database_id, wait=True)
        if row is None:
            raise NotFound("There is no such database.")
        return row


def _active(row: DatabaseRow) -> DatabaseRow:
    if row.status == "branching":
        raise Conflict(
            "The database is still being made.",
            hint="GET /api/operations?resource_id=… shows how far it is, and can cancel it.",
        )
    if row.status != "active":
        raise Conflict("The database is being deleted.")
    return row
