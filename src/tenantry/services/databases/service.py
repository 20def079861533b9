"""The verbs on databases, and the convergence that makes the world what the rows say."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial

import psycopg
import structlog

from tenantry.base.errors import (
    Conflict,
    Forbidden,
    InvalidInput,
    NotFound,
    TenantryError,
    Unavailable,
)
from tenantry.base.events import StepDone, emit
from tenantry.base.ids import new_suffix
from tenantry.base.secrets import Secret, SecretSource, scram_verifier
from tenantry.base.shares import NoPlace, Shares
from tenantry.control import audit, customers, operations, pages, plans, replaced
from tenantry.control import databases as rows
from tenantry.control.audit import Actor
from tenantry.control.databases import DatabaseRow, Filter, Labels
from tenantry.control.operations import OperationRow
from tenantry.control.pages import Page
from tenantry.control.roles import RoleRow
from tenantry.control.store import ControlStore, Tx
from tenantry.pg import catalog, logins, objects
from tenantry.services.clusters.service import ClusterPools
from tenantry.services.databases import flow, plan
from tenantry.services.databases.model import Changes, NewDatabase, Opened, Statistics
from tenantry.services.pooling.service import Pooler

log = structlog.get_logger()

_AUDITED = (
    "name",
    "friendly_name",
    "environment",
    "plan",
    "pool_mode",
    "owner_email",
    "rotate_password_days",
)
_DROPS_AT_ONCE = 6  # each waits for a checkpoint, and all of them load the disk
_CLOSINGS_AT_ONCE = 12  # who keeps one waiting is ended after seconds
_DROP_TURN_SECONDS = 60.0
_DELETION_SECONDS = 1.0  # a deletion that takes longer is followed as an operation
_RECONNECT_SECONDS = 1.0  # how long pooled clients wait for each other's open transactions
_DROP_SCRATCH_SECONDS = 5.0  # a pass drops what takes longer
_SAMPLE_SLICE = 100  # databases measured at a time: sizes are read from their files


@dataclass(frozen=True, slots=True)
class Deletion:
    """A deletion that has been promised: nobody can connect any more."""

    database_id: uuid.UUID
    operation_id: uuid.UUID


class Databases:
    """Everything that can be done with databases."""

    def __init__(
        self,
        store: ControlStore,
        clusters: ClusterPools,
        pooler: Pooler,
        *,
        most_connections: int,
        most_of_a_customer: int,
        warm_pool: int,
        wake_refill: Callable[[], Awaitable[None]],
    ) -> None:
        self._store = store
        self._warm_pool = warm_pool
        self._wake_refill = wake_refill
        self._most_of_a_customer = most_of_a_customer
        self._most_connections = most_connections
        self._clusters = clusters
        self._pooler = pooler
        self._closings = Shares(each=_CLOSINGS_AT_ONCE)
        self._drops = Shares(each=2, total=_DROPS_AT_ONCE)

    # ── verbs ────────────────────────────────────────────────────────────────
    # Those that change something work in the caller's transaction, which holds
    # the row's lock and ends with the audit, so that all of it counts or none.

    async def create(self, tx: Tx, actor: Actor, wanted: NewDatabase, password: Secret) -> Opened:
        """Give a warm database to its owner; with none ready, make one now.

        Raises NameTaken, InvalidInput (no such plan, or a limit that this machine cannot
        give), Forbidden (another customer's e-mail, or more than a customer may take),
        Conflict (more databases than that), Unavailable.
        """
        labels = Labels(
            customer_id=await self._owner(tx, actor, wanted.owner_email),
            name=wanted.name,
            friendly_name=wanted.friendly_name,
            environment=wanted.environment,
            plan=wanted.plan,
            limits=wanted.limits,
            has_shadow=wanted.shadow,
        )
        warm = await rows.lock_warm(tx) or await self._build_for(tx)
        emit(StepDone("create", "claimed", warm.database_name))
        # Before the role is opened: this is where a name turns out to be taken.
        await rows.activate(tx, warm.id, labels)
        row = await self._locked(tx, warm.id)
        await self.check_limits(tx, actor, before=warm, after=row)
        await self.check_count(tx, actor, row.customer_id)
        emit(StepDone("create", "labelled", row.database_name))
        async with self._clusters.connection(row.cluster_id) as server:
            # The default plan's are in force already, since it was prepared.
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
            tx, actor, "database.create", row, details={"environment": wanted.environment}
        )
        emit(StepDone("create", "recorded", row.database_name))
        tx.in_background(self._ask_for_refill)
        tx.in_background(self.refresh_pooler)
        return Opened(row, password)

    async def check_limits(
        self, tx: Tx, actor: Actor, *, before: DatabaseRow, after: DatabaseRow
    ) -> None:
        """Raises InvalidInput for what this machine cannot give, Forbidden for what it may not.

        A customer may give away what its plan grants, and never take more.
        """
        if before.max_connections != after.max_connections > self._most_connections:
            raise InvalidInput.of(
                "max_connections",
                f"this server gives one database at most {self._most_connections} connections,"
                " so that there are some for the others",
            )
        if actor.customer_id is None:
            return
        granted = next(each for each in await plans.every(tx) if each.name == before.plan)
        for name in plans.ENFORCED:
            if getattr(after, name) > max(getattr(before, name), getattr(granted, name)):
                raise Forbidden(
                    f"A customer cannot raise {name} above what the plan"
                    f" {granted.name} grants: {getattr(granted, name):,}.",
                    hint="Ask whoever runs the platform for another plan.",
                )

    async def check_count(
        self, tx: Tx, actor: Actor, customer_id: uuid.UUID | None, *, more: int = 0
    ) -> None:
        """Raises Conflict if a customer asks for ``more`` databases than it may have.

        Those count that ``tx`` has made, branches, and what is retained of replaced ones.
        """
        if actor.customer_id is None or customer_id is None:
            return
        if await rows.count_of_customer(tx, customer_id) + more > self._most_of_a_customer:
            raise Conflict(
                f"A customer may have {self._most_of_a_customer:,} databases, with branches and"
                " retained databases.",
                hint="Delete some, or ask whoever runs the platform (TENANTRY_CUSTOMER_DATABASES).",
            )

    async def _owner(self, tx: Tx, actor: Actor, email: str | None) -> uuid.UUID | None:
        if actor.customer_id is not None:
            if email not in {None, actor.customer_email}:
                raise Forbidden(
                    "This API key makes databases for its own customer only.",
                    hint=f"Leave owner_email out, or set it to {actor.customer_email}.",
                )
            return actor.customer_id
        return None if email is None else await customers.ensure(tx, email)

    async def page(
        self, actor: Actor, wanted: Filter, *, cursor: str | None, limit: int
    ) -> Page[DatabaseRow]:
        """Databases, newest first. Raises InvalidInput for a bad cursor."""
        after = pages.read_key(cursor)
        async with self._store.transaction(actor) as tx:
            found = await rows.page(
                tx, wanted, customer_id=actor.customer_id, after=after, limit=limit + 1
            )
        return pages.cut(found, limit, lambda row: (row.created_at, row.id))

    async def show(self, actor: Actor, database_id: uuid.UUID) -> DatabaseRow:
        """One database. Raises NotFound, the same for an unknown and a foreign one."""
        async with self._store.transaction(actor) as tx:
            return await self._find(tx, actor, database_id)

    async def update(
        self, tx: Tx, actor: Actor, database_id: uuid.UUID, changes: Changes
    ) -> DatabaseRow:
        """Change labels and limits. Raises NotFound, Conflict, and as ``create``."""
        row = await self.lock_there(tx, actor, database_id)
        if changes.changes_expiry and row.branched_at is None:
            raise InvalidInput.of("expires_at", "is for branches, and this is none")
        await rows.update_labels(
            tx,
            row,
            name=row.name if changes.name is None else changes.name,
            friendly_name=changes.friendly_name or row.friendly_name,
            environment=changes.environment or row.environment,
            plan=changes.plan or row.plan,
            pool_mode=changes.pool_mode or row.pool_mode,
            expires_at=changes.expires_at if changes.changes_expiry else row.expires_at,
            rotate_password_days=changes.rotate_password_days
            if changes.changes_rotation
            else row.rotate_password_days,
            limits=changes.limits,
        )
        if changes.owner_email not in {None, row.owner_email}:
            await self._give(tx, actor, row.id, changes.owner_email)
        after = await self._locked(tx, row.id)
        await self.check_limits(tx, actor, before=row, after=after)
        if after.limits != row.limits:
            async with self._clusters.own_connection(row.cluster_id) as server:
                await flow.limit(server, after)
        changed: dict[str, object] = {
            field: [getattr(row, field), getattr(after, field)]
            for field in (*_AUDITED, *plans.NAMES)
            if getattr(row, field) != getattr(after, field)
        }
        if after.expires_at != row.expires_at:
            moments = (row.expires_at, after.expires_at)
            changed["expires_at"] = [None if at is None else at.isoformat() for at in moments]
        await audit.record_on(tx, actor, "database.update", row, details=changed)
        tx.in_background(self.refresh_pooler)
        return after

    async def _give(self, tx: Tx, actor: Actor, database_id: uuid.UUID, email: str | None) -> None:
        """Have a database that is nobody's be somebody's. Raises Forbidden, Conflict, NameTaken."""
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
        if (customer_id := await self._owner(tx, actor, email)) is not None:
            await rows.give(tx, row, customer_id)

    async def refresh_pooler(self) -> None:
        """Update the pooler's limits of each role, if any have changed."""
        await self._pooler.refresh_users(self._store)

    async def release_clients(self, operation: OperationRow) -> None:
        """Let pooled clients go on that an abandoned operation may have paused."""
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

        It is removed then; the opener of ``tx`` waits for that for a second at most.
        Raises NotFound, Conflict, also while an operation has the database to itself.
        """
        row = await self.lock_active(tx, actor, database_id)
        operation_id = await operations.insert(
            tx,
            kind=flow.DELETE,
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

    async def _remove(self, database_id: uuid.UUID, actor: Actor) -> None:
        removal = self._store.background.start(partial(self.finish_deletion, database_id, actor))
        await asyncio.wait({removal}, timeout=_DELETION_SECONDS)

    async def finish_deletion(self, database_id: uuid.UUID, actor: Actor = audit.PLATFORM) -> None:
        """Carry out a promised deletion, unless somebody else is at it.

        Everybody is shut out at once; what they used is removed when its turn comes. If that does
        not come in time, a convergence pass goes on.
        """
        with suppress(NoPlace):
            await self._finish_deletion(database_id, actor)

    async def _finish_deletion(self, database_id: uuid.UUID, actor: Actor) -> None:
        async with (
            self._closings.place(None, within=_DROP_TURN_SECONDS),
            self._working_on(database_id) as (_, row),
        ):
            if row is None or row.status not in {"deleting", "scratch"}:
                return
            async with self._clusters.own_connection(row.cluster_id) as server:
                await flow.close(server, self._pooler, row)
        async with (
            self._drops.place(row.customer_id or row.id, within=_DROP_TURN_SECONDS),
            self._working_on(database_id) as (tx, row),
        ):
            if row is None:
                return
            async with self._clusters.own_connection(row.cluster_id) as server:
                await flow.drop(server, self._pooler, row)
            await flow.forget(tx, row, actor)

    async def is_gone(self, database_id: uuid.UUID) -> bool:
        """Whether nothing is left of a database."""
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
        """Give a database a new password; open sessions go on. Raises NotFound, Conflict.

        Until ``tx`` is committed the old verifier is remembered outside it, so that a
        crash in between brings back the password that the owner knows.
        """
        row = await self.lock_there(tx, actor, database_id)
        await self.change_password(
            row.cluster_id,
            row,
            password,
            remember=lambda early, verifier: rows.insert_rotation(early, row.id, verifier),
            told_as="rotate",
        )
        await rows.remove_rotation(tx, row.id)
        await rows.note_password_change(tx, row.id)
        details: dict[str, object] = {} if reason is None else {"reason": reason}
        await audit.record_on(tx, actor, "database.rotate_password", row, details=details)
        emit(StepDone("rotate", "recorded", row.username))
        return Opened(await self._locked(tx, row.id), password)

    async def change_password(
        self,
        cluster_id: uuid.UUID,
        login: DatabaseRow | RoleRow,
        password: Secret,
        *,
        remember: Callable[[Tx, str], Awaitable[None]],
        told_as: str,
    ) -> None:
        """Give a role of a locked database another password.

        ``remember`` keeps the verifier to go back to, in a transaction that is committed
        before PostgreSQL has the new one.
        """
        cluster = await self._clusters.cluster(cluster_id)
        before = await logins.verifier_of(cluster.address, login.username)
        if before is not None:
            async with self._store.transaction(audit.PLATFORM) as early:
                await remember(early, before)
        emit(StepDone(told_as, "remembered", login.username))
        async with self._clusters.own_connection(cluster_id) as server:
            await objects.open_role(
                server,
                login.username,
                verifier=scram_verifier(password),
                max_connections=login.max_connections,
            )
        emit(StepDone(told_as, "set", login.username))
        # Without the pooler there is nobody who came with the old password.
        with suppress(Unavailable):
            await self._pooler.learn_password(login.username, password)

    async def statistics(self, actor: Actor, database_id: uuid.UUID) -> Statistics:
        """Size, sessions and counters as they are now. Raises NotFound, Unavailable."""
        row = await self.show(actor, database_id)
        async with self._clusters.connection(row.cluster_id) as server:
            use = await catalog.database_use(server, row.database_names)
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
            stats_since=(main.since if main else None) or row.created_at,
        )

    # ── the warm pool ────────────────────────────────────────────────────────

    async def refill(self) -> int:
        """Make warm databases until the pool is full. Returns how many were made."""
        made = 0
        while True:
            async with self._store.transaction(audit.PLATFORM) as tx:
                if await rows.count_warm(tx) >= self._warm_pool:
                    return made
            await self._make_warm()
            made += 1

    async def _ask_for_refill(self) -> None:
        """Wake the worker if so many warm databases are gone that it is worth it."""
        async with self._store.transaction(audit.PLATFORM) as tx:
            low = await rows.count_warm(tx) <= self._warm_pool * 3 // 4
        if low:
            await self._wake_refill()

    async def ensure_warm(self) -> None:
        """Have a database ready to be given away, so that no transaction waits for its making."""
        async with self._store.transaction(audit.PLATFORM) as tx:
            if await rows.count_warm(tx):
                return
        await self._make_warm()

    async def _want_another(self) -> uuid.UUID:
        cluster = await self._clusters.for_new_database()
        async with self._store.transaction(audit.PLATFORM) as tx:
            database_id = await rows.insert_creating(tx, cluster_id=cluster.id, suffix=new_suffix())
        emit(StepDone("prepare", "wanted", str(database_id)))
        return database_id

    async def _make_warm(self) -> None:
        await self._prepare(await self._want_another())

    async def _build_for(self, tx: Tx) -> DatabaseRow:
        """A new database whose row ``tx`` holds, ready to be given away."""
        row = await rows.lock(tx, await self._want_another(), wait=True)
        if row is None:
            raise Conflict("A database that was just wanted is gone.", hint="Try again.")
        await self._build(row)
        return row

    async def _build(self, row: DatabaseRow) -> None:
        cluster = await self._clusters.cluster(row.cluster_id)
        async with self._clusters.connection(row.cluster_id) as server:
            await flow.build(server, cluster.address, row)

    async def _prepare(self, database_id: uuid.UUID) -> None:
        async with self._working_on(database_id) as (tx, row):
            if row is None or row.status not in {"creating", "warm"}:
                return
            await self._build(row)
            await rows.set_status(tx, row.id, "warm")
        emit(StepDone("prepare", "warm", row.database_name))

    @asynccontextmanager
    async def scratch(self) -> AsyncIterator[Opened]:
        """An empty database that is nobody's, for as long as the block lasts; then it is dropped.

        Its row is held all the while. One that nobody holds was left by a crash, and the next
        convergence pass drops it. Raises Unavailable, and Conflict if that was too quick.
        """
        await self.ensure_warm()
        async with self._store.transaction(audit.PLATFORM) as tx:
            row = await rows.lock_warm(tx) or await self._build_for(tx)
            await rows.set_status(tx, row.id, "scratch")
        try:
            async with self._working_on(row.id) as (_, held):
                if held is None:
                    raise Conflict("A database that was just wanted is gone.", hint="Try again.")
                opened = Opened(held, SecretSource().password())
                async with self._clusters.connection(held.cluster_id) as server:
                    await objects.open_role(
                        server,
                        held.username,
                        verifier=scram_verifier(opened.password),
                        max_connections=held.max_connections,
                    )
                emit(StepDone("scratch", "opened", held.database_name))
                yield opened
        finally:
            try:
                async with asyncio.timeout(_DROP_SCRATCH_SECONDS):
                    await self.finish_deletion(row.id)
            except (TenantryError, psycopg.Error, TimeoutError) as error:
                log.warning("scratch.left", database=row.database_name, error=str(error))

    # ── convergence ──────────────────────────────────────────────────────────

    async def converge(self) -> list[plan.Action]:
        """Complete or undo whatever a crash or a hand left behind. Returns what was needed.

        One database that cannot be mended does not keep the others waiting.
        """
        done: list[plan.Action] = []
        for cluster in await self._clusters.with_databases():
            # The world first, then the rows: see plan.differences.
            async with self._clusters.connection(cluster.id) as server:
                roles = await catalog.tenant_roles(server)
                databases = await catalog.tenant_databases(server)
            async with self._store.transaction(audit.PLATFORM) as tx:
                wanted = await rows.on_cluster(tx, cluster.id)
                beside = await replaced.names(tx, cluster.id)
            for name in plan.strangers(wanted, databases, beside):
                log.warning("database.unknown", database=name, cluster=cluster.name)
            for row in wanted:
                if row.missing_since is not None:
                    log.error("database.missing", database=row.database_name, cluster=cluster.name)
            owners = {row.id: row.customer_id or row.id for row in wanted}
            held_up = set[uuid.UUID | None]()
            for action in plan.differences(wanted, roles, databases, beside):
                database_id = getattr(action, "database_id", None)
                owner = None if database_id is None else owners[database_id]
                if owner in held_up:
                    continue  # who keeps one waiting does so for a whole pass otherwise
                try:
                    await self._act(cluster.id, action)
                    done.append(action)
                except (TenantryError, psycopg.Error, OSError) as error:
                    if owner is not None and isinstance(error, Conflict):
                        held_up.add(owner)
                    log.warning("convergence.failed", action=str(action), error=str(error))
        async with self._store.transaction(audit.PLATFORM) as tx:
            rotations = await rows.unfinished_rotations(tx)
        for database_id in rotations:
            await self._undo_rotation(database_id)
        await self.refresh_pooler()
        return done

    async def _act(  # noqa: C901 (one short case an action)
        self, cluster_id: uuid.UUID, action: plan.Action
    ) -> None:
        on_cluster = self._clusters.own_connection(cluster_id)
        match action:
            case plan.Prepare(database_id):
                await self._prepare(database_id)
            case plan.Drop(database_id):
                await self.finish_deletion(database_id)
            case plan.Close(database_id):
                async with self._working_on(database_id) as (_, row), on_cluster as server:
                    if row is not None and row.status == "warm":
                        await flow.close(server, self._pooler, row)
            case plan.Restore(database_id):
                await self._restore(database_id)
            case plan.Miss(database_id):
                await self._note_missing(database_id, missing=True)
            case plan.FindAgain(database_id):
                await self._note_missing(database_id, missing=False)
            case plan.Limit(database_id):
                async with self._working_on(database_id) as (_, row), on_cluster as server:
                    if row is not None and row.status in {"warm", "active"}:
                        await flow.limit(server, row)
            case plan.DropShadow(database_id):
                async with self._working_on(database_id) as (_, row), on_cluster as server:
                    if row is not None and row.status == "active" and not row.has_shadow:
                        await objects.drop_database(server, row.shadow_name)
            case plan.DropStranger(username):
                async with on_cluster as server:
                    await objects.drop_role(server, username)

    async def _restore(self, database_id: uuid.UUID) -> None:
        async with self._working_on(database_id) as (tx, row):
            if row is None or row.status != "active":
                return
            cluster = await self._clusters.cluster(row.cluster_id)
            async with self._clusters.own_connection(row.cluster_id) as server:
                await flow.rebuild_missing(server, cluster.address, row)
            await audit.record_on(
                tx,
                audit.PLATFORM,
                "database.made_again",
                row,
                details={"reason": "its shadow or its role had been removed by hand"},
            )

    async def _note_missing(self, database_id: uuid.UUID, *, missing: bool) -> None:
        async with self._working_on(database_id) as (tx, row):
            if row is None or row.status != "active":
                return
            async with self._clusters.own_connection(row.cluster_id) as server:
                # Whoever was swapping it for another has let go of the row by now.
                if await objects.database_exists(server, row.database_name) is missing:
                    return
            await rows.note_missing(tx, row.id, missing=missing)
            action = "database.missing" if missing else "database.found"
            await audit.record_on(tx, audit.PLATFORM, action, row)

    async def _undo_rotation(self, database_id: uuid.UUID) -> None:
        async with self._working_on(database_id) as (tx, row):
            if row is None:
                return
            before = await rows.find_rotation(tx, database_id)
            if before is None:
                return
            async with self._clusters.own_connection(row.cluster_id) as server:
                await objects.set_verifier(server, row.username, before)
            await rows.remove_rotation(tx, database_id)
            await audit.record_on(
                tx,
                audit.PLATFORM,
                "database.rotate_password_undone",
                row,
                details={"reason": "the change of password was not finished"},
            )

    # ── samples ──────────────────────────────────────────────────────────────

    async def sample(self) -> int:
        """Keep each owned database's size and counters. Returns how many were measured."""
        measured = 0
        for cluster in await self._clusters.with_databases():
            async with self._store.transaction(audit.PLATFORM) as tx:
                active = [
                    row for row in await rows.on_cluster(tx, cluster.id) if row.status == "active"
                ]
            for start in range(0, len(active), _SAMPLE_SLICE):
                part = active[start : start + _SAMPLE_SLICE]
                async with self._clusters.connection(cluster.id) as server:
                    use = await catalog.database_use(server, [row.database_name for row in part])
                async with self._store.transaction(audit.PLATFORM) as tx:
                    for row in part:
                        if found := use.get(row.database_name):
                            await rows.record_stats(tx, row.id, found)
                            measured += 1
        async with self._store.transaction(audit.PLATFORM) as tx:
            await rows.forget_old_stats(tx)
        return measured

    # ── helpers ──────────────────────────────────────────────────────────────

    @asynccontextmanager
    async def _working_on(
        self, database_id: uuid.UUID
    ) -> AsyncIterator[tuple[Tx, DatabaseRow | None]]:
        """A transaction that holds a row; None instead of it if it is gone or being worked on."""
        async with self._store.long_transaction(audit.PLATFORM) as tx:
            yield tx, await rows.lock(tx, database_id, wait=False)

    async def _find(self, tx: Tx, actor: Actor, database_id: uuid.UUID) -> DatabaseRow:
        row = await rows.find(tx, database_id, customer_id=actor.customer_id)
        if row is None:
            raise NotFound("There is no such database.", hint="GET /api/databases lists yours.")
        return row

    async def lock_active(self, tx: Tx, actor: Actor, database_id: uuid.UUID) -> DatabaseRow:
        """An active database, held until ``tx`` ends. Raises NotFound, Conflict."""
        await self._find(tx, actor, database_id)
        return _active(await self._locked(tx, database_id))

    async def active(self, actor: Actor, database_id: uuid.UUID) -> DatabaseRow:
        """A database, if it is active now. Raises NotFound, Conflict."""
        return _active(await self.show(actor, database_id))

    async def lock_there(self, tx: Tx, actor: Actor, database_id: uuid.UUID) -> DatabaseRow:
        """As ``lock_active``, and its server has it. Raises NotFound, Conflict."""
        row = await self.lock_active(tx, actor, database_id)
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
