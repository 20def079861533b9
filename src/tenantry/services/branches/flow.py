"""The steps that create, reset and promote a branch.

All three copy one database for another's role. A new branch is ``branching`` until its last step,
so that reconciliation skips it and nobody can log in. A database that replaces one in service is
made beside it, under a staging name that reconciliation recognizes, and is swapped in by one
transaction of PostgreSQL's; the replaced database is retained, as after a restore. Each step begins
by removing what an earlier try left of it.
"""

import datetime as dt
from dataclasses import dataclass

import psycopg

from tenantry.base.errors import Conflict, NotFound, Unavailable
from tenantry.base.events import StepDone, emit
from tenantry.control import audit, blueprints, branches, databases, whitelist
from tenantry.control.databases import DatabaseRow
from tenantry.control.store import ControlStore
from tenantry.host import files
from tenantry.pg import names, objects, visitors
from tenantry.pg.connections import ADMIN, connect
from tenantry.pg.discarding import execute_discarding
from tenantry.pg.handover import copy_settings
from tenantry.pg.long_statements import bounded
from tenantry.services.branches.copying import Copying, Target
from tenantry.services.branches.model import (
    CREATE,
    PROMOTE,
    RESET,
    BranchParams,
    BranchRun,
    BranchState,
    MaskingFailed,
)
from tenantry.services.branches.plan import require_beside
from tenantry.services.clusters.pools import ClusterPools
from tenantry.services.databases.plan import wanted_state
from tenantry.services.databases.replacement import Replacement, require_row, retained_name
from tenantry.services.network.service import Network
from tenantry.services.operations.model import Done, Flow, Next, Outcome, Step, required
from tenantry.services.pooling.service import Pooler
from tenantry.services.restores.model import WouldLose
from tenantry.services.roles.steps import active_roles

_DEADLINE = dt.timedelta(hours=24)
_MASKING_SECONDS = 3600


@dataclass(frozen=True, slots=True)
class BranchFlow:
    """The flows that create, reset and promote branches."""

    store: ControlStore
    clusters: ClusterPools
    pooler: Pooler
    network: Network
    copying: Copying
    replacement: Replacement

    @property
    def flows(self) -> list[Flow[BranchParams, BranchState]]:
        made = [Step("copy", self._copy, share=20), Step("mask", self._mask, share=4)]
        create = Flow(
            CREATE,
            [
                Step("prepare", self._prepare, share=1),
                *made,
                Step("open", self._open, share=1, final=True),
            ],
            undo=self._undo_create,
            deadline=_DEADLINE,
        )
        steps = [
            Step("prepare", self._prepare_beside, share=1),
            *made,
            Step("serve", self._serve, share=1, final=True),
        ]
        return [
            create,
            *(
                Flow(kind, steps, undo=self._undo_beside, deadline=_DEADLINE)
                for kind in (RESET, PROMOTE)
            ),
        ]

    # ── the copy ─────────────────────────────────────────────────────────────

    async def _prepare(self, run: BranchRun) -> Outcome:
        """Create the branch's role, which cannot log in yet, and its shadow."""
        branch, parent = await self._both(run)
        run.state.size = await self.copying.check(parent, branch, run.params.at)
        run.state.staging_name = branch.database_name
        address = (await self.clusters.cluster(branch.cluster_id)).address
        async with self.clusters.own_connection(branch.cluster_id) as server:
            await objects.ensure_role(server, branch.username)
            if branch.has_shadow:
                await objects.ensure_database(
                    server, address, branch.shadow_name, tenant=branch.username
                )
        return Next()

    async def _prepare_beside(self, run: BranchRun) -> Outcome:
        destination, source = await self._both(run)
        run.state.size = await self.copying.check(source, destination, run.params.at)
        run.state.staging_name = names.of_operation(
            destination.database_name, "copying", run.row.id
        )
        return Next()

    async def _copy(self, run: BranchRun) -> Outcome:
        destination, source = await self._both(run)
        at = run.params.at
        run.state.branched_at = at or dt.datetime.now(dt.UTC)
        beside = await active_roles(self.store, destination)
        target = Target(
            required(run.state.staging_name),
            destination.username,
            beside,
            closed=destination.status == "active",
        )
        run.state.method = await self.copying.copy(run, source, target, at)
        if target.closed and not run.params.accept_losses:
            WouldLose.require_nothing(source.database_name, run.state.exceptions.lost)
        run.state.masking = False
        return Next()

    # ── masking ──────────────────────────────────────────────────────────────

    async def _mask(self, run: BranchRun) -> Outcome:
        """Run the parent's masking SQL, if requested, with the branch's rights and no other."""
        if not run.params.masked:
            return Next()
        if run.state.masking:
            return Next("copy")  # it is unknown how much of it was done
        branch, parent = await self._both(run)
        async with self.store.transaction(audit.PLATFORM) as tx:
            masking = await branches.masking(tx, parent.id)
        if masking is None:
            raise MaskingFailed(
                "The parent's masking has been removed meanwhile.",
                hint="Register it again, or ask for a branch that is not masked.",
            )
        run.state.masking = True
        await run.save()
        files.ensure_folder(self.copying.sides.folder(run.row.id))
        try:
            await self._do_masking(run, branch, masking[0])
        finally:
            await self.copying.sides.remove(run.row.id)
        return Next()

    async def _do_masking(self, run: BranchRun, branch: DatabaseRow, statements: str) -> None:
        address = (await self.clusters.cluster(branch.cluster_id)).address
        database = required(run.state.staging_name)
        seconds = min(_MASKING_SECONDS, branch.longest_statement_seconds)
        # A visitor, to whom row-level security does not apply: no row may be left out.
        async with visitors.visitor(
            address,
            run.row.id.hex,
            [branch.username],
            database=database,
            folder=self.copying.sides.folder(run.row.id),
        ) as visitor:
            try:
                async with (
                    bounded(address, visitor.name, seconds),
                    visitors.connect_as(visitor, database) as inside,
                ):
                    await inside.execute(
                        "SELECT set_config('search_path', 'public', false),"
                        " set_config('statement_timeout', %s, false)",
                        (f"{seconds}s",),
                    )
                    async with inside.transaction():
                        await execute_discarding(inside, statements.encode())
                    # Its statistics contain unmasked values.
                    await inside.execute("ANALYZE")
            except psycopg.Error as error:
                if error.sqlstate is None or error.sqlstate.startswith("57P"):
                    raise Unavailable(
                        "The server was stopped while a branch was masked."
                    ) from error
                raise MaskingFailed(
                    f"PostgreSQL refuses the masking: {error.diag.message_primary}",
                    hint="What was made is removed. Correct the parent's masking, and try again.",
                ) from error
            await visitors.leave(visitor, database, branch.username)

    # ── in service ───────────────────────────────────────────────────────────

    async def _open(self, run: BranchRun) -> Outcome:
        """Open a new branch to its owner."""
        branched_at = required(run.state.branched_at)
        async with self.store.long_transaction(audit.PLATFORM) as tx:
            branch = await databases.lock(tx, run.row.resource_id, wait=True)
            if branch is not None and branch.status == "branching":
                verifier = await branches.verifier(tx, branch.id)
                async with self.clusters.own_connection(branch.cluster_id) as server:
                    await objects.configure_databases(
                        server, branch.database_names, wanted_state(branch)
                    )
                    await self._copy_settings(run, branch)
                    if await whitelist.entries(tx, branch.id):
                        await self.network.apply(tx)
                    if verifier is not None:
                        await objects.open_role(
                            server,
                            branch.username,
                            verifier=verifier,
                            max_connections=branch.max_connections,
                        )
                emit(StepDone("branch", "opened", branch.database_name))
                await blueprints.follow(tx, run.params.source_id, branch.id)
                await branches.finish(tx, branch.id, branched_at)
        await self.pooler.refresh(self.store)
        return Done(self._result(run))

    async def _copy_settings(self, run: BranchRun, branch: DatabaseRow) -> None:
        async with self.store.transaction(audit.PLATFORM) as tx:
            parent = await databases.find(tx, run.params.source_id, customer_id=None)
        if parent is None:
            return
        address = (await self.clusters.cluster(branch.cluster_id)).address
        async with connect(address, user=ADMIN) as admin:
            await copy_settings(
                admin,
                first=parent.username,
                source=parent.database_name,
                new_owner=branch.username,
                target=branch.database_name,
            )

    async def _serve(self, run: BranchRun) -> Outcome:
        """Swap in the copy for the database in service; pooled clients wait meanwhile."""
        async with self.store.long_transaction(audit.PLATFORM) as tx:
            row = require_row(await databases.lock(tx, run.row.resource_id, wait=True))
            staging = required(run.state.staging_name)
            if not await self.replacement.can_swap(row, staging, run.row.id):
                return Next("copy")  # it was dropped by hand
            await self.replacement.swap(tx, row, staging, operation_id=run.row.id)
            emit(StepDone("branch", "swapped", row.database_name))
            await blueprints.follow(tx, run.params.source_id, row.id)
            if run.row.kind == RESET.name:
                await branches.set_branched_at(tx, row.id, required(run.state.branched_at))
        return Done(self._result(run) | {"replaced": retained_name(row, run.row.id)})

    @staticmethod
    def _result(run: BranchRun) -> dict[str, object]:
        return {
            "database_id": str(run.row.resource_id),
            "method": run.state.method,
            "masked": run.params.masked,
            "branched_at": required(run.state.branched_at).isoformat(),
            "unreadable_backups": run.state.unreadable,
            **run.state.exceptions.model_dump(),
        }

    # ── undoing ──────────────────────────────────────────────────────────────

    async def _undo_create(self, run: BranchRun) -> None:
        await self.copying.sides.remove(run.row.id)
        async with self.store.long_transaction(audit.PLATFORM) as tx:
            branch = await databases.lock(tx, run.row.resource_id, wait=True)
            if branch is None or branch.status != "branching":
                return
            async with self.clusters.own_connection(branch.cluster_id) as server:
                for name in (branch.shadow_name, branch.database_name):
                    await objects.drop_database(server, name)
                await objects.drop_role(server, branch.username)
            await databases.remove(tx, branch.id)

    async def _undo_beside(self, run: BranchRun) -> None:
        await self.copying.sides.remove(run.row.id)
        staging = run.state.staging_name
        async with self.store.transaction(audit.PLATFORM) as tx:
            row = await databases.find(tx, run.row.resource_id, customer_id=None)
        if staging is None or row is None:
            return
        async with self.clusters.own_connection(row.cluster_id) as server:
            await objects.drop_database(server, staging)

    # ── helpers ──────────────────────────────────────────────────────────────

    async def _both(self, run: BranchRun) -> tuple[DatabaseRow, DatabaseRow]:
        """Return the target and the source of the copy. Raises Conflict, NotFound."""
        async with self.store.transaction(audit.PLATFORM) as tx:
            destination = await databases.find(tx, run.row.resource_id, customer_id=None)
            source = await databases.find(tx, run.params.source_id, customer_id=None)
        if destination is None or destination.status != (
            "branching" if run.row.kind == CREATE.name else "active"
        ):
            raise Conflict("The database has been deleted meanwhile.")
        if source is None or source.status != "active":
            raise NotFound("What is to be copied has been deleted meanwhile.")
        require_beside(destination, source)
        return destination, source
