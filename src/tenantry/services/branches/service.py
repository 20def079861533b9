"""The verbs on branches. A branch is a database: showing and deleting it is ``databases``'s."""

import uuid
from dataclasses import replace

import structlog

from tenantry.base.errors import Conflict, InvalidInput, TenantryError
from tenantry.base.ids import new_suffix
from tenantry.base.secrets import Secret, scram_verifier
from tenantry.base.settings import Settings
from tenantry.control import audit, whitelist
from tenantry.control import branches as rows
from tenantry.control import databases as database_rows
from tenantry.control.audit import Actor
from tenantry.control.databases import DatabaseRow, Filter
from tenantry.control.pages import Page
from tenantry.control.store import ControlStore, Tx
from tenantry.services.branches.flow import CREATE
from tenantry.services.branches.model import Masking, NewBranch, OpenedBranch
from tenantry.services.databases.model import Opened
from tenantry.services.databases.service import Databases
from tenantry.services.operations.service import Operations

log = structlog.get_logger()


class Branches:
    """Everything that can be done with branches."""

    def __init__(
        self,
        settings: Settings,
        store: ControlStore,
        databases: Databases,
        operations: Operations,
    ) -> None:
        self._most = settings.branches
        self._store = store
        self._databases = databases
        self._operations = operations

    async def create(
        self, tx: Tx, actor: Actor, parent_id: uuid.UUID, wanted: NewBranch, password: Secret
    ) -> OpenedBranch:
        """Want a branch of a database, reachable from where its parent is, by nobody else.

        Raises NotFound, Conflict, NameTaken, InvalidInput, Forbidden.
        """
        parent = await self._databases.lock_active(tx, actor, parent_id)
        if await rows.count(tx, parent.id) >= self._most:
            raise Conflict(
                f"A database may have {self._most} branches at once.",
                hint="Delete one that nobody uses.",
            )
        has_masking = await rows.masking(tx, parent.id) is not None
        if wanted.masked and not has_masking:
            raise InvalidInput.of("masked", "needs a masking of the parent, and it has none")
        branch_id = await rows.insert(
            tx,
            parent,
            suffix=new_suffix(),
            name=wanted.name,
            friendly_name=wanted.friendly_name,
            environment=wanted.environment,
            plan=wanted.plan,
            has_shadow=wanted.shadow,
            expires_at=wanted.expires_at,
            verifier=scram_verifier(password),
        )
        branch = await self._find(tx, branch_id)
        await self._databases.check_limits(tx, actor, before=parent, after=branch)
        await whitelist.copy(tx, parent.id, branch.id)
        masked = has_masking if wanted.masked is None else wanted.masked
        operation = await self._operations.begin(
            tx,
            actor,
            CREATE,
            resource_kind="database",
            resource_id=branch.id,
            customer_id=branch.customer_id,
            params={"parent_id": str(parent.id), "masked": masked},
        )
        await self._record(
            tx, actor, CREATE, branch, {"parent": parent.database_name, "masked": masked}
        )
        return OpenedBranch(Opened(branch, password), operation)

    async def page(
        self, actor: Actor, parent_id: uuid.UUID, *, cursor: str | None, limit: int
    ) -> Page[DatabaseRow]:
        """A database's branches, newest first. Raises NotFound, InvalidInput for a bad cursor."""
        await self._databases.show(actor, parent_id)
        return await self._databases.page(
            actor, Filter(parent_id=parent_id), cursor=cursor, limit=limit
        )

    async def expire(self) -> list[uuid.UUID]:
        """Delete the branches whose time has come. Returns which."""
        async with self._store.transaction(audit.PLATFORM) as tx:
            due = await rows.expired(tx)
        gone = []
        for branch_id in due:
            try:
                async with self._store.transaction(audit.PLATFORM) as tx:
                    row = await self._databases.lock_active(tx, audit.PLATFORM, branch_id)
                    await self._record(tx, audit.PLATFORM, "branch.expire", row, {})
                    await self._databases.delete(tx, audit.PLATFORM, branch_id)
                await self._databases.finish_deletion(branch_id)
                gone.append(branch_id)
            except TenantryError as error:
                log.warning("branch.not_expired", branch=str(branch_id), error=str(error))
        return gone

    # ── masking ──────────────────────────────────────────────────────────────

    async def masking(self, actor: Actor, database_id: uuid.UUID) -> Masking:
        """What masks a database's branches. Raises NotFound."""
        await self._databases.show(actor, database_id)
        async with self._store.transaction(actor) as tx:
            found = await rows.masking(tx, database_id)
        return Masking(None, None) if found is None else Masking(*found)

    async def set_masking(
        self, tx: Tx, actor: Actor, database_id: uuid.UUID, sql: str | None
    ) -> Masking:
        """Have this SQL mask a database's branches from now on; None has nothing do so.

        Raises NotFound, Conflict.
        """
        row = await self._databases.lock_active(tx, actor, database_id)
        await rows.set_masking(tx, row.id, sql)
        await self._record(
            tx, actor, "masking.set" if sql else "masking.remove", row, {"length": len(sql or "")}
        )
        found = await rows.masking(tx, row.id)
        return Masking(None, None) if found is None else Masking(*found)

    # ── helpers ──────────────────────────────────────────────────────────────

    async def _find(self, tx: Tx, database_id: uuid.UUID) -> DatabaseRow:
        row = await database_rows.lock(tx, database_id, wait=True)
        if row is None:
            raise RuntimeError("a row that was just written is gone")
        return row

    async def _record(
        self, tx: Tx, actor: Actor, action: str, row: DatabaseRow, details: dict[str, object]
    ) -> None:
        await audit.record(
            tx,
            actor if actor.customer_id else replace(actor, customer_id=row.customer_id),
            action,
            resource_kind="database",
            resource_id=row.id,
            resource_name=row.database_name,
            details=details,
        )
