"""Copying a database into another one, for another role: as it is now, or at a past time."""

import asyncio
import datetime as dt
import shutil
from collections.abc import Sequence
from dataclasses import dataclass

from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from tenantry.base.errors import Conflict, NotFound
from tenantry.base.events import StepDone, emit
from tenantry.base.settings import Settings
from tenantry.control.databases import DatabaseRow
from tenantry.control.roles import RoleRow
from tenantry.host import files
from tenantry.pg import catalog, dumps, instance_roles, objects, reloading, replacing, visitors
from tenantry.pg.connections import Address
from tenantry.pg.handover import hand_over
from tenantry.pg.logins import give_away_shared
from tenantry.pg.long_statements import bounded
from tenantry.pg.reloading import Reloaded
from tenantry.pg.tenant_settings import settings_of
from tenantry.pg.visitors import Visitor
from tenantry.services.branches import plan
from tenantry.services.branches.model import BranchRun, Method
from tenantry.services.clusters.fleet import Fleet
from tenantry.services.clusters.pools import ClusterPools
from tenantry.services.repository.service import Repositories
from tenantry.services.restores import transfer
from tenantry.services.restores.model import Exceptions
from tenantry.services.restores.past import Past
from tenantry.services.roles.steps import grant_access
from tenantry.services.side_clusters.service import SideClusters

Server = AsyncConnection[TupleRow]

_COPIES = 2  # times the source's size, for a while: the dump, and what is loaded
_COPIES_AT = 3  # and the side cluster
_DUMPED = 0.4  # the share of copying that is done once the dump is written


@dataclass(frozen=True, slots=True)
class Target:
    """The database to create, for an owner role and its additional roles.

    Either ``closed`` to everybody, or open to the owner role, which cannot log in yet.
    """

    name: str
    new_owner: str
    roles: Sequence[RoleRow]
    closed: bool


@dataclass(frozen=True, slots=True)
class Copying:
    """Copies databases of one cluster."""

    settings: Settings
    clusters: ClusterPools
    repositories: Repositories
    sides: SideClusters

    async def check(
        self, source: DatabaseRow, destination: DatabaseRow, at: dt.datetime | None
    ) -> int:
        """Check that there is room for a copy, and return the source's size in bytes.

        Raises Conflict, NotEnoughDisk; and OutsideWindow if ``at`` cannot be restored.
        """
        if at is not None:
            cluster = await self.clusters.cluster(source.cluster_id)
            await self.repositories.secure(cluster.name)
            await self.sides.check(
                await self.clusters.name_at(source.id, source.cluster_id, at), at
            )
        async with self.clusters.own_connection(source.cluster_id) as server:
            sizes = await catalog.sizes(server, [source.database_name])
        size = sizes.get(source.database_name, 0)
        if size > destination.disk_quota_bytes:
            raise Conflict(
                f"What is to be copied takes {size:,} bytes, and {destination.database_name}"
                f" may take {destination.disk_quota_bytes:,}.",
                hint="Choose a larger plan for it, or make room in what is to be copied.",
            )
        self.sides.require_room((_COPIES if at is None else _COPIES_AT) * size)
        return size

    async def copy(
        self, run: BranchRun, source: DatabaseRow, target: Target, at: dt.datetime | None
    ) -> Method:
        """Create the target, replacing what an earlier try left. Returns how it was made.

        ``run.state.size`` is the source's size in bytes; ``run.state.exceptions`` is set to the
        differences of the copy.
        """
        run.state.exceptions = Exceptions()
        try:
            if at is None:
                method = await self._copy_now(run, source, target)
            else:
                method = await self._copy_as_it_was(run, source, target, at)
        finally:
            await self.sides.remove(run.row.id)
        address = (await self.clusters.cluster(source.cluster_id)).address
        await grant_access(target.roles, address, target.name, tenant=target.new_owner)
        return method

    # ── now ──────────────────────────────────────────────────────────────────

    async def _copy_now(self, run: BranchRun, source: DatabaseRow, target: Target) -> Method:
        address = (await self.clusters.cluster(source.cluster_id)).address
        await give_away_shared(address, source.database_name)
        async with self.clusters.own_connection(source.cluster_id) as server:
            await objects.drop_database(server, target.name)
            roles = await catalog.roles_of(server, source.username)
            method = await self._try_blocks(server, source, target)
        if method == "dump":
            await self._make_empty(source, target)
        emit(StepDone("branch", "filling", target.name))
        scratch = self.sides.folder(run.row.id)
        await asyncio.to_thread(shutil.rmtree, scratch, ignore_errors=True)
        files.ensure_folder(scratch)
        async with (
            visitors.visitor(
                address,
                run.row.id.hex,
                [*roles, target.new_owner],
                database=target.name,
                folder=scratch,
            ) as visitor,
            bounded(address, visitor.name, source.longest_statement_seconds),
        ):
            if method == "dump":
                reloaded = await self._dump_and_load(run, visitor, source, target.name, address)
                run.state.exceptions = Exceptions.of(reloaded)
                emit(StepDone("branch", "loaded", target.name))
            async with visitors.connect_as(visitor, target.name) as inside:
                others = [name for name in roles if name != source.username]
                await hand_over(
                    inside,
                    first=source.username,
                    others=[*others, visitor.name],
                    new_owner=target.new_owner,
                )
        await instance_roles.return_databases(address)
        return method

    async def _try_blocks(self, server: Server, source: DatabaseRow, target: Target) -> Method:
        """Copy the source's blocks if that disturbs nobody. Returns how the target is to be made.

        If that is ``dump``, nothing has been made yet.
        """
        name = source.database_name
        sizes = await catalog.sizes(server, [name])
        if name not in sizes:
            raise NotFound("What is to be copied is not there any more.")
        for method in plan.methods(
            clones=await self._clones(server, source),
            size_bytes=sizes[name],
            sessions=await catalog.sessions_in(server, name),
        ):
            if method == "dump" or await objects.copy_database(
                server,
                name,
                target.name,
                tenant=None if target.closed else target.new_owner,
                clone=method == "clone",
            ):
                return method
        raise RuntimeError("a dump is always a way")

    async def _clones(self, server: Server, source: DatabaseRow) -> bool:
        """Whether blocks can be shared on disk. If not, PostgreSQL would silently copy them."""
        data = Fleet(self.settings).named(source.cluster).data
        return await catalog.can_clone(server) and await asyncio.to_thread(
            files.shares_blocks, data
        )

    async def _make_empty(self, source: DatabaseRow, target: Target) -> None:
        address = (await self.clusters.cluster(source.cluster_id)).address
        async with self.clusters.own_connection(source.cluster_id) as server:
            await objects.drop_database(server, target.name)
            await objects.ensure_database(server, address, target.name, tenant=target.new_owner)
            if target.closed:
                await replacing.close_database(server, target.name)

    async def _dump_and_load(
        self, run: BranchRun, visitor: Visitor, source: DatabaseRow, target: str, address: Address
    ) -> Reloaded:
        """Dump one database and load it into another, where the visitor owns everything."""
        bindir = Fleet(self.settings).named(source.cluster).bindir
        progress = _Progress(run)
        file = self.sides.folder(run.row.id) / "dump"
        await dumps.dump(
            bindir,
            visitor,
            source.database_name,
            file,
            options=["--compress=0"],
            report=progress.dumped,
        )
        # Objects of the source's roles become the visitor's: no other role may be their owner.
        return await reloading.load(
            bindir,
            visitor,
            target,
            file,
            settings=await settings_of(address, source.username, source.database_name),
            jobs=transfer.JOBS,
            options=["--no-owner"],
            report=progress.loaded,
        )

    # ── at a past time ───────────────────────────────────────────────────────

    async def _copy_as_it_was(
        self, run: BranchRun, source: DatabaseRow, target: Target, at: dt.datetime
    ) -> Method:
        cluster = await self.clusters.cluster(source.cluster_id)
        size = run.state.size
        past = await Past.of(self.clusters, self.sides, run, source, moment=at, size=size)
        await past.restore()
        side = await past.recover()
        run.state.unreadable = [*side.unreadable]
        # There the owner role can be renamed, so that no ownership has to be changed here.
        dump = await past.dump(target_role=target.new_owner)
        await self._make_empty(source, target)
        emit(StepDone("branch", "filling", target.name))
        reloaded = await transfer.load_in(
            transfer.Target(cluster.address, side.bindir, target.name, target.new_owner),
            run.row.id.hex,
            dump,
            folder=side.folder,
            settings=await settings_of(cluster.address, source.username, source.database_name),
            seconds=source.longest_statement_seconds,
            report=_Progress(run).loaded,
        )
        run.state.exceptions = Exceptions.of(reloaded)
        emit(StepDone("branch", "loaded", target.name))
        return "restore"


@dataclass(frozen=True, slots=True)
class _Progress:
    """Reports the progress of copying."""

    run: BranchRun

    async def dumped(self, done: int, _: int | None) -> None:
        part = min(1.0, done / max(1, self.run.state.size))
        await self.run.report(_DUMPED * part, done_bytes=done)

    async def loaded(self, done: int, items: int | None) -> None:
        await self.run.report(_DUMPED + (1 - _DUMPED) * done / max(1, items or 1))
