"""The steps by which a branch comes to be.

Its row is ``branching`` until the last one, so that convergence leaves it alone and nobody can
log in. Each step begins by throwing away what an earlier try left; what all of them did is
undone by dropping the branch's databases and its role, and forgetting its row.
"""

import asyncio
import datetime as dt
import shutil
import uuid
from pathlib import Path

import psycopg
from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from tenantry.base.errors import Conflict, MachineError, NotFound, Unavailable
from tenantry.base.events import StepDone, emit
from tenantry.base.home import Home
from tenantry.base.settings import Settings
from tenantry.control import audit, branches, databases, whitelist
from tenantry.control.databases import DatabaseRow
from tenantry.control.store import ControlStore
from tenantry.host import files
from tenantry.pg import catalog, dumps, objects, visitors
from tenantry.pg.connections import Address
from tenantry.pg.handover import hand_over
from tenantry.pg.visitors import Visitor
from tenantry.services.branches import plan
from tenantry.services.branches.model import MaskingFailed, Method
from tenantry.services.clusters.service import ClusterPools, LocalClusters
from tenantry.services.databases.plan import wanted_state
from tenantry.services.network.service import Network
from tenantry.services.operations.model import Done, Flow, Next, Outcome, Run, Step
from tenantry.services.pooling.service import Pooler

Server = AsyncConnection[TupleRow]

CREATE = "branch.create"

_DEADLINE = dt.timedelta(hours=24)
_JOBS = 2  # of the load; the dump takes one of the parent's connections
_SPARE_BYTES = 256 * 1024 * 1024
_MASKING_SECONDS = 3600
_DUMPED = 0.4  # the part of copying by a dump that is done once it is written


class Branching:
    """Making branches."""

    def __init__(
        self,
        settings: Settings,
        store: ControlStore,
        clusters: ClusterPools,
        pooler: Pooler,
        network: Network,
    ) -> None:
        self._settings = settings
        self._store = store
        self._clusters = clusters
        self._pooler = pooler
        self._network = network

    @property
    def flows(self) -> list[Flow]:
        create = Flow(
            CREATE,
            [
                Step("prepare", self._prepare, share=1),
                Step("copy", self._copy, share=20),
                Step("mask", self._mask, share=4),
                Step("open", self._open, share=1, final=True),
            ],
            undo=self._undo,
            deadline=_DEADLINE,
        )
        return [create]

    # ── steps ────────────────────────────────────────────────────────────────

    async def _prepare(self, run: Run) -> Outcome:
        """Have the branch's role, which nobody can log in with, and its shadow; and room."""
        branch, parent = await self._both(run)
        address = (await self._clusters.cluster(branch.cluster_id)).address
        async with self._clusters.connection(branch.cluster_id) as server:
            sizes = await catalog.sizes(server, [parent.database_name])
            size = run.state["size_bytes"] = sizes.get(parent.database_name, 0)
            self._check_room(branch, size)
            await objects.ensure_role(server, branch.username)
            if branch.has_shadow:
                await objects.ensure_database(
                    server, address, branch.shadow_name, tenant=branch.username
                )
        return Next()

    def _check_room(self, branch: DatabaseRow, size: int) -> None:
        if size > branch.disk_quota_bytes:
            raise Conflict(
                f"The parent takes {size:,} bytes, and the branch may take"
                f" {branch.disk_quota_bytes:,}.",
                hint="Choose a larger plan for the branch, or make room in the parent.",
            )
        # Its dump is there beside it for a while.
        free = shutil.disk_usage(self._settings.home).free
        if free < 2 * size + _SPARE_BYTES:
            raise MachineError(
                f"A branch of {size:,} bytes needs twice as much on disk; {free:,} bytes are free.",
                hint="Make room on the disk of TENANTRY_HOME.",
            )

    async def _copy(self, run: Run) -> Outcome:
        branch, parent = await self._both(run)
        run.state["branched_at"] = dt.datetime.now(dt.UTC).isoformat()
        run.state["method"] = await self._copy_into(run, parent, branch)
        run.state["masking"] = False
        return Next()

    async def _copy_into(self, run: Run, parent: DatabaseRow, branch: DatabaseRow) -> Method:
        """Have the branch's database as the parent's is now, and all in it the branch's role's."""
        address = (await self._clusters.cluster(branch.cluster_id)).address
        target = branch.database_name
        async with self._clusters.connection(branch.cluster_id) as server:
            await objects.drop_database(server, target)
            roles = await catalog.roles_of(server, parent.username)
            method = await self._try_blocks(server, parent, branch)
            if method == "dump":
                await objects.ensure_database(server, address, target, tenant=branch.username)
        emit(StepDone("branch", "filling", target))
        async with visitors.visitor(address, run.row.id.hex, [*roles, branch.username]) as visitor:
            if method == "dump":
                await self._copy_contents(run, visitor, parent.database_name, target)
                emit(StepDone("branch", "loaded", target))
            async with visitors.connect_as(visitor, target) as inside:
                await hand_over(
                    inside,
                    first=parent.username,
                    others=[*(name for name in roles if name != parent.username), visitor.name],
                    heir=branch.username,
                )
        return method

    async def _try_blocks(self, server: Server, parent: DatabaseRow, branch: DatabaseRow) -> Method:
        """Copy the parent's blocks if that disturbs nobody. Returns how the branch is to be made.

        If that is ``dump``, nothing has been made yet.
        """
        source = parent.database_name
        use = (await catalog.database_use(server, [source])).get(source)
        if use is None:
            raise NotFound("The parent is not there any more.")
        for method in plan.methods(
            version=server.info.server_version // 10_000,
            size_bytes=use.size_bytes,
            sessions=use.connections,
        ):
            if method == "dump" or await objects.copy_database(
                server,
                source,
                branch.database_name,
                tenant=branch.username,
                clone=method == "clone",
            ):
                return method
        raise RuntimeError("a dump is always a way")

    async def _copy_contents(self, run: Run, visitor: Visitor, source: str, target: str) -> None:
        """Dump one database and load it into another, as the visitor's."""
        bindir = LocalClusters(self._settings).shared.bindir
        folder = self._scratch(run)
        shutil.rmtree(folder, ignore_errors=True)
        files.ensure_folder(folder)
        size = run.state["size_bytes"]

        async def dumped(done: int, _: int | None) -> None:
            fraction = min(1.0, done / max(1, size))
            await run.tell(_DUMPED * fraction, done_bytes=done)

        async def loaded(done: int, whole: int | None) -> None:
            await run.tell(_DUMPED + (1 - _DUMPED) * done / (whole or 1))

        try:
            file = folder / "dump"
            await dumps.dump(bindir, visitor, source, file, options=["--compress=0"], tell=dumped)
            # What is the parent's roles' becomes the visitor's: no role but it may make it theirs.
            await dumps.load(
                bindir, visitor, target, file, jobs=_JOBS, options=["--no-owner"], tell=loaded
            )
        finally:
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)

    async def _mask(self, run: Run) -> Outcome:
        """Do the owner's SQL, if it is asked for, with the branch's rights and no other."""
        if not run.params["masked"]:
            return Next()
        if run.state["masking"]:
            return Next("copy")  # nobody knows how much of it was done
        branch, parent = await self._both(run)
        async with self._store.transaction(audit.PLATFORM) as tx:
            masking = await branches.masking(tx, parent.id)
        if masking is None:
            raise MaskingFailed(
                "The parent's masking has been removed meanwhile.",
                hint="Register it again, or make a branch that is not masked.",
            )
        run.state["masking"] = True
        await run.save()
        cluster = await self._clusters.cluster(branch.cluster_id)
        await self._do_masking(run, cluster.address, branch, masking[0])
        return Next()

    async def _do_masking(
        self, run: Run, address: Address, branch: DatabaseRow, statements: str
    ) -> None:
        # A visitor, to whom row-level security does not apply: no row may be left out.
        async with visitors.visitor(address, run.row.id.hex, [branch.username]) as visitor:
            try:
                async with visitors.connect_as(visitor, branch.database_name) as inside:
                    await inside.execute(
                        "SELECT set_config('search_path', 'public', false),"
                        " set_config('statement_timeout', %s, false)",
                        (str(_MASKING_SECONDS * 1000),),
                    )
                    async with inside.transaction():
                        await inside.execute(statements.encode())
                    # Its statistics tell of values as they were.
                    await inside.execute("ANALYZE")
            except psycopg.Error as error:
                if error.sqlstate is None or error.sqlstate.startswith("57P"):
                    raise Unavailable(
                        "The server was stopped while a branch was masked."
                    ) from error
                raise MaskingFailed(
                    f"PostgreSQL refuses the masking: {error.diag.message_primary}",
                    hint="The branch is removed. Correct the masking of its parent, and try again.",
                ) from error
            await visitors.leave(visitor, branch.database_name, branch.username)

    async def _open(self, run: Run) -> Outcome:
        """Let its owner in."""
        branch_id = run.row.resource_id
        branched_at = dt.datetime.fromisoformat(run.state["branched_at"])
        async with self._store.transaction(audit.PLATFORM) as tx:
            branch = await databases.lock(tx, branch_id, wait=True)
            verifier = await branches.verifier(tx, branch_id)
            if branch is not None and branch.status == "branching":
                async with self._clusters.connection(branch.cluster_id) as server:
                    await objects.configure_databases(
                        server, branch.database_names, wanted_state(branch)
                    )
                    if await whitelist.of_database(tx, branch.id):
                        await self._network.apply(tx)
                    if verifier is not None:
                        await objects.open_role(
                            server,
                            branch.username,
                            verifier=verifier,
                            max_connections=branch.max_connections,
                        )
                emit(StepDone("branch", "opened", branch.database_name))
                await branches.finish(tx, branch.id, branched_at)
        await self._pooler.refresh_users(self._store)
        return Done(
            {
                "database_id": str(branch_id),
                "method": run.state["method"],
                "masked": run.params["masked"],
                "branched_at": run.state["branched_at"],
            }
        )

    async def _undo(self, run: Run) -> None:
        await asyncio.to_thread(shutil.rmtree, self._scratch(run), ignore_errors=True)
        async with self._store.transaction(audit.PLATFORM) as tx:
            branch = await databases.lock(tx, run.row.resource_id, wait=True)
            if branch is None or branch.status != "branching":
                return
            async with self._clusters.connection(branch.cluster_id) as server:
                for name in (branch.shadow_name, branch.database_name):
                    await objects.drop_database(server, name)
                await objects.drop_role(server, branch.username)
            await databases.remove(tx, branch.id)

    # ── helpers ──────────────────────────────────────────────────────────────

    def _scratch(self, run: Run) -> Path:
        return Home(self._settings.home).scratch / str(run.row.id)

    async def _both(self, run: Run) -> tuple[DatabaseRow, DatabaseRow]:
        """The branch, still to be made, and its parent. Raises Conflict, NotFound."""
        async with self._store.transaction(audit.PLATFORM) as tx:
            branch = await databases.find(tx, run.row.resource_id, customer_id=None)
            parent = await databases.find(tx, uuid.UUID(run.params["parent_id"]), customer_id=None)
        if branch is None or branch.status != "branching":
            raise Conflict("The branch is not being made any more.")
        if parent is None or parent.status != "active":
            raise NotFound("The parent has been deleted meanwhile.")
        return branch, parent
