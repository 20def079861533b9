"""The verbs on a database's additional roles, and their reconciliation."""

import uuid
from collections.abc import Mapping, Sequence
from functools import partial

import psycopg
import structlog

from tenantry.base.errors import Conflict, Deferred, InvalidInput, NotFound, TenantryError
from tenantry.base.events import StepDone, emit
from tenantry.base.secrets import Secret, scram_verifier
from tenantry.control import audit, databases, whitelist
from tenantry.control import roles as rows
from tenantry.control.audit import Actor
from tenantry.control.databases import DatabaseRow
from tenantry.control.roles import RoleRow
from tenantry.control.store import ControlStore, Tx
from tenantry.pg import catalog, objects
from tenantry.services.clusters.pools import ClusterPools
from tenantry.services.databases.service import Databases
from tenantry.services.network.service import Network
from tenantry.services.pooling.service import Pooler
from tenantry.services.reconciling import Pass
from tenantry.services.requests.service import Caller
from tenantry.services.roles import plan, steps
from tenantry.services.roles.model import (
    DEFAULT_MAX_CONNECTIONS,
    MOST_ROLES,
    NewRole,
    OpenedRole,
    Role,
)

log = structlog.get_logger()


class Roles:
    """The verbs on additional roles."""

    def __init__(
        self,
        store: ControlStore,
        clusters: ClusterPools,
        pooler: Pooler,
        databases_: Databases,
        network: Network,
    ) -> None:
        self._store = store
        self._clusters = clusters
        self._pooler = pooler
        self._databases = databases_
        self._network = network

    # ── verbs ────────────────────────────────────────────────────────────────
    # As those on databases, they work in the caller's transaction.

    async def of_database(self, actor: Actor, database_id: uuid.UUID) -> list[Role]:
        """Return a database's additional roles. Raises NotFound."""
        database = await self._databases.show(actor, database_id)
        async with self._store.transaction(actor) as tx:
            return [Role(database, row) for row in await rows.of_database(tx, database_id)]

    async def show(self, actor: Actor, database_id: uuid.UUID, role_id: uuid.UUID) -> Role:
        """Return one role. Raises NotFound."""
        database = await self._databases.show(actor, database_id)
        async with self._store.transaction(actor) as tx:
            return Role(database, await self._find(tx, database_id, role_id))

    async def create(
        self, tx: Tx, actor: Actor, database_id: uuid.UUID, wanted: NewRole, password: Secret
    ) -> OpenedRole:
        """Create a role. Raises NotFound, NameTaken, InvalidInput, Conflict, Unavailable."""
        database = await self._databases.lock_there(tx, actor, database_id)
        return (await self.create_all(tx, actor, database, [(wanted, password)]))[0]

    async def create_all(
        self,
        tx: Tx,
        actor: Actor,
        database: DatabaseRow,
        wanted: Sequence[tuple[NewRole, Secret]],
    ) -> list[OpenedRole]:
        """Create roles of a database whose row ``tx`` holds. Raises as ``create``."""
        if len(await rows.of_database(tx, database.id)) + len(wanted) > MOST_ROLES:
            raise InvalidInput(
                f"A database may have {MOST_ROLES} roles besides its first one.",
                hint="Delete one that nobody uses.",
            )
        made = [await self._want(tx, database, each) for each, _ in wanted]
        for role in made:
            # A role that an unfinished creation left may have other rights.
            await steps.remove(self._clusters, self._pooler, database, role.username)
            await steps.build(self._clusters, database, role.username, role.access)
        # Last: other changes of allowlists wait from here to the end of ``tx``, so nothing that
        # follows may wait for a tenant.
        if made and await whitelist.entries(tx, database.id):
            await self._network.apply(tx)
        opened = []
        for role, (_, password) in zip(made, wanted, strict=True):
            async with self._clusters.connection(database.cluster_id) as server:
                await objects.open_role(
                    server,
                    role.username,
                    verifier=scram_verifier(password),
                    max_connections=role.max_connections,
                )
            emit(StepDone("role", "opened", role.username))
            await self._record(tx, actor, "role.create", database, role)
            emit(StepDone("role", "recorded", role.username))
            opened.append(OpenedRole(Role(database, role), password))
        tx.in_background(self._databases.refresh_pooler)
        return opened

    async def _want(self, tx: Tx, database: DatabaseRow, wanted: NewRole) -> RoleRow:
        most = wanted.max_connections or min(DEFAULT_MAX_CONNECTIONS, database.max_connections)
        _check_limit(database, most)
        role = await rows.insert(
            tx,
            database.id,
            name=wanted.name,
            username=wanted.username_in(database),
            access=wanted.access,
            max_connections=most,
        )
        emit(StepDone("role", "wanted", role.username))
        return role

    async def imitate(self, database: DatabaseRow, wanted: NewRole) -> None:
        """Create such a role in a scratch database, with all its rights; it cannot log in."""
        await steps.build(self._clusters, database, wanted.username_in(database), wanted.access)

    async def update(
        self,
        tx: Tx,
        actor: Actor,
        database_id: uuid.UUID,
        role_id: uuid.UUID,
        max_connections: int,
    ) -> Role:
        """Change a role's connection limit; open sessions continue.

        Raises NotFound, InvalidInput, Conflict.
        """
        database, role = await self._lock(tx, actor, database_id, role_id)
        _check_limit(database, max_connections)
        await rows.set_max_connections(tx, role.id, max_connections)
        async with self._clusters.own_connection(database.cluster_id) as server:
            await objects.set_connection_limit(server, role.username, max_connections)
        changed: dict[str, object] = {"max_connections": [role.max_connections, max_connections]}
        await self._record(tx, actor, "role.update", database, role, more=changed)
        tx.in_background(self._databases.refresh_pooler)
        return Role(database, await self._find(tx, database.id, role.id))

    async def delete(self, caller: Caller, database_id: uuid.UUID, role_id: uuid.UUID) -> bool:
        """Delete a role and end its sessions. Return whether it is gone.

        If not, it cannot log in; a reconciliation pass removes it. Raises NotFound, Conflict.
        """
        async with caller.transaction() as tx:
            database, role = await self._lock(tx, caller.actor, database_id, role_id)
            await rows.set_status(tx, role.id, "deleting")
            await self._record(tx, caller.actor, "role.delete", database, role, result="accepted")
            emit(StepDone("role_delete", "promised", role.username))
            tx.in_background(self._databases.refresh_pooler)
        async with caller.visiting():
            return await self._finish_deletion(Role(database, role))

    async def _finish_deletion(self, role: Role) -> bool:
        try:
            async with self._store.long_transaction(audit.PLATFORM) as tx:
                database = await databases.lock(tx, role.database.id, wait=True)
                left = await rows.find(tx, role.database.id, role.row.id)
                if database is not None and database.status == "active" and left is not None:
                    await self._drop(tx, database, left)
        except (TenantryError, psycopg.Error) as error:
            log.warning("role.deletion_waits", role=role.row.username, error=str(error))
            return False
        return True

    async def rotate_password(
        self,
        tx: Tx,
        actor: Actor,
        database_id: uuid.UUID,
        role_id: uuid.UUID,
        password: Secret,
        *,
        reason: str | None = None,
    ) -> OpenedRole:
        """Give a role a new password; open sessions continue. Raises NotFound, Conflict.

        As with a database's, the old verifier is stored until ``tx`` is committed.
        """
        database, role = await self._lock(tx, actor, database_id, role_id)
        await self._databases.login_passwords.change(
            database.cluster_id,
            role,
            password,
            remember=lambda early, verifier: rows.begin_rotation(early, role.id, verifier),
            event="role_rotate",
        )
        await rows.end_rotation(tx, role.id)
        await rows.note_password_change(tx, role.id)
        more: dict[str, object] = {} if reason is None else {"reason": reason}
        await self._record(tx, actor, "role.rotate_password", database, role, more=more)
        emit(StepDone("role_rotate", "recorded", role.username))
        return OpenedRole(Role(database, await self._find(tx, database.id, role.id)), password)

    # ── reconciliation ───────────────────────────────────────────────────────

    async def reconcile(self, passed: Pass) -> None:
        """Complete or undo what a crash or a change by hand left behind."""
        with Deferred() as failures:
            for cluster in await self._clusters.with_databases():
                with failures.deferred():
                    actual = await self._actual(cluster.id)
                    async with self._store.transaction(audit.PLATFORM) as tx:
                        wanted = await rows.by_database(tx, cluster.id)
                        owned = await databases.on_cluster(tx, cluster.id)
                    passed.over(owned)
                    for action in plan.differences(owned, wanted, actual):
                        await passed.act("role", action, partial(self._act, action))

    async def _actual(self, cluster_id: uuid.UUID) -> plan.Actual:
        async with self._clusters.connection(cluster_id) as server:
            return plan.Actual(
                roles=await catalog.tenant_roles(server),
                connectable=await catalog.connectable(server),
            )

    async def _act(self, action: plan.Action) -> bool:
        """Perform an action, if the database is not locked and the action is still needed."""
        async with self._store.long_transaction(audit.PLATFORM) as tx:
            database = await databases.lock(tx, action.database_id, wait=False)
            if database is None:
                return False
            wanted = await rows.of_database(tx, database.id)
            actual = await self._actual(database.cluster_id)
            if action not in plan.differences([database], {database.id: wanted}, actual):
                return False
            role = next((row for row in wanted if row.username == action.username), None)
            if role is None:
                await self._remove(database, action.username)
            else:
                await self._repair(tx, database, role, action)
        return True

    async def _repair(
        self, tx: Tx, database: DatabaseRow, role: RoleRow, action: plan.Action
    ) -> None:
        match action:
            case plan.Drop():
                await self._drop(tx, database, role)
            case plan.Limit():
                async with self._clusters.own_connection(database.cluster_id) as server:
                    await objects.set_connection_limit(server, role.username, role.max_connections)
            case plan.Restore():
                await steps.build(self._clusters, database, role.username, role.access)
                log.error("role.was_missing", role=role.username)
                reason = {"reason": "it or its rights had been removed by hand"}
                await self._record(
                    tx, audit.PLATFORM, "role.made_again", database, role, more=reason
                )
            case plan.UndoRotation() if role.verifier_before is not None:
                async with self._clusters.own_connection(database.cluster_id) as server:
                    await objects.set_verifier(server, role.username, role.verifier_before)
                await rows.end_rotation(tx, role.id)
                reason = {"reason": "the change of password was not finished"}
                await self._record(
                    tx, audit.PLATFORM, "role.rotate_password_undone", database, role, more=reason
                )

    # ── helpers ──────────────────────────────────────────────────────────────

    async def _drop(self, tx: Tx, database: DatabaseRow, role: RoleRow) -> None:
        await self._remove(database, role.username)
        await rows.remove(tx, role.id)
        await self._record(tx, audit.PLATFORM, "role.deleted", database, role)
        emit(StepDone("role_delete", "row", role.username))

    async def _remove(self, database: DatabaseRow, username: str) -> None:
        await steps.remove(self._clusters, self._pooler, database, username)

    async def _lock(
        self, tx: Tx, actor: Actor, database_id: uuid.UUID, role_id: uuid.UUID
    ) -> tuple[DatabaseRow, RoleRow]:
        """Return an active role of an active database, whose row is locked until ``tx`` ends."""
        database = await self._databases.lock_there(tx, actor, database_id)
        role = await self._find(tx, database.id, role_id)
        if role.status != "active":
            raise Conflict("The role is being deleted.")
        return database, role

    async def _find(self, tx: Tx, database_id: uuid.UUID, role_id: uuid.UUID) -> RoleRow:
        row = await rows.find(tx, database_id, role_id)
        if row is None:
            raise NotFound("This database has no such role.")
        return row

    async def _record(
        self,
        tx: Tx,
        actor: Actor,
        action: str,
        database: DatabaseRow,
        role: RoleRow,
        *,
        result: audit.Result = "ok",
        more: Mapping[str, object] | None = None,
    ) -> None:
        await audit.record_on(
            tx,
            actor,
            action,
            database,
            result=result,
            details={"role": role.username, "access": role.access, **(more or {})},
        )


def _check_limit(database: DatabaseRow, max_connections: int) -> None:
    if max_connections > database.max_connections:
        raise InvalidInput.of(
            "max_connections",
            f"is more than the database's own, which is {database.max_connections}",
        )
