"""The service for branches. A branch is a database: ``databases`` shows and deletes it."""

import datetime as dt
import uuid

import structlog

from tenantry.base.errors import Conflict, InvalidInput, NotFound, TenantryError
from tenantry.base.ids import new_suffix
from tenantry.base.secrets import Secret, scram_verifier
from tenantry.base.settings import Settings
from tenantry.control import audit, whitelist
from tenantry.control import branches as rows
from tenantry.control import databases as database_rows
from tenantry.control.audit import Actor
from tenantry.control.database_lists import Filter
from tenantry.control.databases import DatabaseRow
from tenantry.control.operations import OperationRow
from tenantry.control.pages import Page
from tenantry.control.store import ControlStore, Tx
from tenantry.pg import descriptions
from tenantry.pg.descriptions import Description, Difference
from tenantry.services.branches.flow import BranchFlow
from tenantry.services.branches.model import (
    CREATE,
    PROMOTE,
    RESET,
    BranchParams,
    BranchState,
    Masking,
    NewBranch,
    OpenedBranch,
)
from tenantry.services.branches.plan import require_beside
from tenantry.services.databases import steps
from tenantry.services.databases.model import Opened
from tenantry.services.databases.service import Databases
from tenantry.services.operations.model import Kind
from tenantry.services.operations.service import Operations
from tenantry.services.side_clusters.model import OutsideWindow

log = structlog.get_logger()


class Branches:
    """The service for branches."""

    def __init__(
        self,
        settings: Settings,
        store: ControlStore,
        databases: Databases,
        operations: Operations,
        branching: BranchFlow,
    ) -> None:
        self._most = settings.branches
        self._store = store
        self._databases = databases
        self._operations = operations
        self._clusters = branching.clusters
        self._sides = branching.copying.sides
        operations.register(*branching.flows)

    async def create(
        self, tx: Tx, actor: Actor, parent_id: uuid.UUID, wanted: NewBranch, password: Secret
    ) -> OpenedBranch:
        """Begin to create a branch, which has its parent's allowlist.

        Raises NotFound, Conflict, NameTaken, InvalidInput, Forbidden.
        """
        parent = await self._databases.lock_there(tx, actor, parent_id)
        if await rows.count(tx, parent.id) >= self._most:
            raise Conflict(
                f"A database may have {self._most} branches at once.",
                hint="Delete one that nobody uses.",
            )
        has_masking = await self._check(tx, parent, masked=wanted.masked, at=wanted.at)
        plan, limits = await steps.granted_to_copy(tx, actor, parent)
        branch_id = await rows.insert(
            tx,
            parent,
            wanted.attributes_from(parent, wanted.plan or plan),
            suffix=new_suffix(),
            limits=limits if wanted.plan is None else {},
            verifier=scram_verifier(password),
        )
        branch = await self._find(tx, branch_id)
        await self._databases.check_limits(tx, actor, before=parent, after=branch, is_new=True)
        await self._databases.check_count(tx, actor, branch.customer_id)
        await whitelist.copy(tx, parent.id, branch.id)
        masked = has_masking if wanted.masked is None else wanted.masked
        operation = await self._begin(
            tx, actor, CREATE, branch, source=parent, masked=masked, at=wanted.at
        )
        return OpenedBranch(Opened(branch, password), operation)

    async def reset(
        self,
        tx: Tx,
        actor: Actor,
        parent_id: uuid.UUID,
        branch_id: uuid.UUID,
        *,
        at: dt.datetime | None,
        masked: bool | None,
        accept_losses: bool,
    ) -> OperationRow:
        """Begin to reset a branch to its parent, now or ``at`` a past time.

        Raises NotFound, Conflict, InvalidInput, OutsideWindow.
        """
        parent = await self._databases.lock_there(tx, actor, parent_id)
        branch = await self._databases.lock_there(tx, actor, branch_id)
        if branch.parent_id != parent.id:
            raise NotFound("This database has no such branch.")
        require_beside(branch, parent)
        has_masking = await self._check(tx, parent, masked=masked, at=at)
        await self._databases.check_count(tx, actor, branch.customer_id, more=1)
        masked = has_masking if masked is None else masked
        return await self._begin(
            tx,
            actor,
            RESET,
            branch,
            source=parent,
            masked=masked,
            at=at,
            accept_losses=accept_losses,
        )

    async def promote(
        self, tx: Tx, actor: Actor, branch_id: uuid.UUID, *, accept_losses: bool
    ) -> OperationRow:
        """Begin to replace a branch's parent by a copy of the branch. Raises NotFound, Conflict."""
        branch = await self._databases.lock_there(tx, actor, branch_id)
        if branch.parent_id is None:
            raise Conflict(
                "The database has no parent that it could be promoted to.",
                hint="It never had one, or that has been deleted.",
            )
        parent = await self._databases.lock_there(tx, actor, branch.parent_id)
        require_beside(branch, parent)
        await self._databases.check_count(tx, actor, parent.customer_id, more=1)
        return await self._begin(
            tx,
            actor,
            PROMOTE,
            parent,
            source=branch,
            masked=False,
            at=None,
            accept_losses=accept_losses,
        )

    async def _check(
        self, tx: Tx, parent: DatabaseRow, *, masked: bool | None, at: dt.datetime | None
    ) -> bool:
        """Return whether a database has a masking.

        Raises InvalidInput if one is requested and missing, OutsideWindow if ``at`` cannot be
        restored.
        """
        if at is not None:
            if at < parent.created_at:
                raise OutsideWindow(
                    f"The parent was made at {parent.created_at:%F %T} UTC only.",
                    hint="Ask for a moment after that.",
                )
            cluster = await self._clusters.name_at(parent.id, parent.cluster_id, at)
            await self._sides.check(cluster, at)
        has_masking = await rows.masking(tx, parent.id) is not None
        if masked and not has_masking:
            raise InvalidInput.of("masked", "needs a masking of the parent, and it has none")
        return has_masking

    async def _begin(
        self,
        tx: Tx,
        actor: Actor,
        kind: Kind[BranchParams, BranchState],
        destination: DatabaseRow,
        *,
        source: DatabaseRow,
        masked: bool,
        at: dt.datetime | None,
        accept_losses: bool = False,
    ) -> OperationRow:
        operation = await self._operations.begin(
            tx,
            actor,
            kind,
            BranchParams(source_id=source.id, masked=masked, at=at, accept_losses=accept_losses),
            resource_kind="database",
            resource_id=destination.id,
            customer_id=destination.customer_id,
        )
        details: dict[str, object] = {
            "from": source.database_name,
            "masked": masked,
            "operation_id": str(operation.id),
        }
        await audit.record_on(tx, actor, kind.name, destination, result="accepted", details=details)
        return operation

    async def page(
        self, actor: Actor, parent_id: uuid.UUID, *, cursor: str | None, limit: int
    ) -> Page[DatabaseRow]:
        """Return a database's branches, newest first.

        Raises NotFound; InvalidInput for a bad cursor.
        """
        await self._databases.show(actor, parent_id)
        return await self._databases.page(
            actor, Filter(parent_id=parent_id), cursor=cursor, limit=limit
        )

    async def compare(
        self, actor: Actor, parent_id: uuid.UUID, branch_id: uuid.UUID
    ) -> list[Difference]:
        """Return how a branch's schema differs from its parent's now; rows are not compared.

        Raises NotFound, Conflict, Unavailable.
        """
        parent = await self._databases.active(actor, parent_id)
        branch = await self._databases.active(actor, branch_id)
        if branch.parent_id != parent.id:
            raise NotFound("This database has no such branch.")
        of_parent, of_branch = [await self._described(each) for each in (parent, branch)]
        of_branch = descriptions.renamed(of_branch, branch.username, parent.username)
        return descriptions.differences(of_parent, of_branch)

    async def _described(self, row: DatabaseRow) -> Description:
        cluster = await self._clusters.cluster(row.cluster_id)
        return await descriptions.read(cluster.address, row.database_name, row.username, ())

    async def expire(self) -> list[uuid.UUID]:
        """Delete the branches that have expired. Returns their IDs."""
        async with self._store.transaction(audit.PLATFORM) as tx:
            due = await rows.expired(tx)
        gone = []
        for branch_id in due:
            try:
                async with self._store.transaction(audit.PLATFORM) as tx:
                    row = await self._databases.lock_active(tx, audit.PLATFORM, branch_id)
                    await audit.record_on(tx, audit.PLATFORM, "branch.expire", row)
                    await self._databases.delete(tx, audit.PLATFORM, branch_id)
                gone.append(branch_id)
            except TenantryError as error:
                log.warning("branch.not_expired", branch=str(branch_id), error=str(error))
        return gone

    # ── masking ──────────────────────────────────────────────────────────────

    async def masking(self, actor: Actor, database_id: uuid.UUID) -> Masking:
        """Return the SQL that masks a database's branches. Raises NotFound."""
        await self._databases.show(actor, database_id)
        async with self._store.transaction(actor) as tx:
            found = await rows.masking(tx, database_id)
        return Masking(None, None) if found is None else Masking(*found)

    async def set_masking(
        self, tx: Tx, actor: Actor, database_id: uuid.UUID, sql: str | None
    ) -> Masking:
        """Set the SQL that masks a database's new branches; None removes it.

        Raises NotFound, Conflict.
        """
        row = await self._databases.lock_active(tx, actor, database_id)
        await rows.set_masking(tx, row.id, sql)
        await audit.record_on(tx, actor, "masking.set" if sql else "masking.remove", row)
        found = await rows.masking(tx, row.id)
        return Masking(None, None) if found is None else Masking(*found)

    # ── helpers ──────────────────────────────────────────────────────────────

    async def _find(self, tx: Tx, database_id: uuid.UUID) -> DatabaseRow:
        row = await database_rows.lock(tx, database_id, wait=True)
        if row is None:
            raise RuntimeError("a row that was just written is gone")
        return row
