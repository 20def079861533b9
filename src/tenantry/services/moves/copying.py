"""Copying a database to another cluster, and opening it there: by dump and load."""

import asyncio
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from tenantry.base.errors import MachineError
from tenantry.base.events import StepDone, emit
from tenantry.control import data_apis, roles
from tenantry.control.clusters import ClusterRow
from tenantry.control.databases import DatabaseRow
from tenantry.control.store import Tx
from tenantry.host import files
from tenantry.pg import (
    api_roles,
    catalog,
    dumps,
    instance_roles,
    names,
    objects,
    replacing,
    role_settings,
    session_ending,
    visitors,
)
from tenantry.pg.blockers import without_blockers
from tenantry.pg.connections import ADMIN, Address, connect
from tenantry.pg.logins import give_away_shared
from tenantry.pg.tenant_settings import Settings, reading, settings_of
from tenantry.services.clusters.fleet import Fleet
from tenantry.services.clusters.members import Member
from tenantry.services.clusters.pools import ClusterPools
from tenantry.services.data_api import plan as data_api_plan
from tenantry.services.data_api import steps as data_api_steps
from tenantry.services.databases.plan import wanted_state
from tenantry.services.moves.model import MOVE, MoveRun, MoveWouldLose
from tenantry.services.restores import transfer
from tenantry.services.restores.model import Exceptions
from tenantry.services.side_clusters.service import SideClusters

_DUMPED = 0.4  # the share of copying that is done once the dump is written


@dataclass(frozen=True, slots=True)
class Copying:
    """Copies databases from one cluster to another."""

    fleet: Fleet
    clusters: ClusterPools
    sides: SideClusters

    # ── the copy, which nobody can enter ─────────────────────────────────────

    async def prepare(self, row: DatabaseRow, source: ClusterRow, target: ClusterRow) -> None:
        """Create the roles and empty databases on the target, in place of an earlier try's.

        The roles cannot log in yet, and the main database admits nobody.
        """
        async with self.clusters.own_connection(source.id) as server:
            there = await catalog.roles_of(server, row.username)
        async with self.clusters.own_connection(target.id) as server:
            for name in row.database_names:
                await objects.drop_database(server, name)
            for name in there:
                if names.is_authenticator(name):
                    await api_roles.create_authenticator(server, name)
                else:
                    await objects.ensure_role(server, name)
            for name in row.database_names:
                await objects.ensure_database(server, target.address, name, tenant=row.username)
            await replacing.close_database(server, row.database_name)
        emit(StepDone(MOVE.name, "prepared", row.database_name))

    async def copy(
        self, run: MoveRun, row: DatabaseRow, source: ClusterRow, target: ClusterRow
    ) -> None:
        """Copy the database that is set aside, and compare how many rows there are.

        Sets what differs in the run's state. Raises MoveWouldLose, and MachineError if the rows
        differ.
        """
        aside = str(run.state.aside)
        scratch = self.sides.folder(run.row.id)
        await asyncio.to_thread(shutil.rmtree, scratch, ignore_errors=True)
        files.ensure_folder(scratch)
        try:
            await give_away_shared(source.address, aside)
            settings = await settings_of(source.address, row.username, aside)
            async with self.clusters.own_connection(source.id) as server:
                own = await catalog.roles_of(server, row.username)
            roles_ = [each for each in own if not names.is_authenticator(each)]
            then = await self._dump(run, source, target, roles_, settings)
            emit(StepDone(MOVE.name, "dumped", row.database_name))
            await self._load(run, row, target, roles_, settings)
            emit(StepDone(MOVE.name, "loaded", row.database_name))
            now = await self._count(run, target.address, row.database_name, roles_, settings)
        finally:
            await files.remove_folder(scratch)
        difference = transfer.compare(then, now, run.state.exceptions.lost)
        if difference.wrong:
            raise MachineError(
                f"What was loaded differs from the original: {', '.join(difference.wrong[:5])}.",
                hint="Nothing was moved. Please report it.",
            )
        run.state.refreshed = difference.refreshed
        run.state.tables = len(now.tables)
        run.state.rows = sum(now.tables.values())

    async def _dump(
        self,
        run: MoveRun,
        source: ClusterRow,
        target: ClusterRow,
        roles_: Sequence[str],
        settings: Settings,
    ) -> transfer.Counts:
        """Dump the original by the target's programs, and count its rows."""
        aside = str(run.state.aside)
        scratch = self.sides.folder(run.row.id)

        async def report(done: int, _: int | None) -> None:
            part = min(1.0, done / max(1, run.state.size))
            await run.report(_DUMPED * part, done_bytes=done)

        async with visitors.visitor(
            source.address, run.row.id.hex, roles_, database=aside, folder=scratch
        ) as visitor:
            await dumps.dump(
                self._bindir(target),
                visitor,
                aside,
                scratch / "dump",
                form="directory",
                options=[f"--jobs={transfer.JOBS}", "--compress=0"],
                report=report,
            )
            async with reading(visitor, aside, settings) as inside:
                return await transfer.count(inside)

    async def _load(
        self,
        run: MoveRun,
        row: DatabaseRow,
        target: ClusterRow,
        roles_: Sequence[str],
        settings: Settings,
    ) -> None:
        scratch = self.sides.folder(run.row.id)

        async def report(done: int, items: int | None) -> None:
            await run.report(_DUMPED + (1 - _DUMPED) * done / max(1, items or 1))

        reloaded = await transfer.load_in(
            transfer.Target(
                target.address,
                self._bindir(target),
                row.database_name,
                row.username,
                [each for each in roles_ if each != row.username],
            ),
            run.row.id.hex,
            scratch / "dump",
            folder=scratch,
            settings=settings,
            seconds=row.longest_statement_seconds,
            report=report,
        )
        run.state.exceptions = Exceptions.of(reloaded)
        if run.state.exceptions.lost and not run.params.accept_losses:
            raise MoveWouldLose.of_objects(row.database_name, run.state.exceptions.lost)

    async def _count(
        self,
        run: MoveRun,
        address: Address,
        database: str,
        roles_: Sequence[str],
        settings: Settings,
    ) -> transfer.Counts:
        scratch = self.sides.folder(run.row.id)
        async with (
            visitors.visitor(
                address, run.row.id.hex, roles_, database=database, folder=scratch
            ) as visitor,
            reading(visitor, database, settings) as inside,
        ):
            return await transfer.count(inside)

    # ── in service ───────────────────────────────────────────────────────────

    async def settle(
        self, run: MoveRun, row: DatabaseRow, source: ClusterRow, target: ClusterRow
    ) -> None:
        """Give the roles on the target all that they have, except that they cannot log in yet.

        That are their settings, limits, rights and passwords. Notes in the run's state which of
        them log in.
        """
        async with connect(source.address, user=ADMIN) as admin:
            known = await catalog.logins(admin)
        async with self.clusters.own_connection(target.id) as server:
            there = await catalog.roles_of(server, row.username)
            await objects.configure_databases(server, row.database_names, wanted_state(row))
        own = {
            name: known[name]
            for name in there
            if name in known and not names.is_authenticator(name)
        }
        await role_settings.copy(
            source.address,
            target.address,
            [*own],
            {str(run.state.aside): row.database_name, row.shadow_name: row.shadow_name},
        )
        if target.kind == "dedicated":
            await instance_roles.grant_rights(target.address, row.username)
        async with connect(target.address, user=ADMIN) as admin:
            await replacing.admit_these(admin, row.database_name, run.state.rights)
            for name, login in own.items():
                await objects.set_login(admin, name, replace(login, can_login=False))
        run.state.logins = [name for name, login in own.items() if login.can_login]
        emit(StepDone(MOVE.name, "settled", row.database_name))

    async def open(self, tx: Tx, run: MoveRun, row: DatabaseRow) -> None:
        """Let the roles of a database that has been switched log in."""
        api = await data_apis.find(tx, row.id)
        if api is not None and api.status == "active":
            additional = await roles.of_database(tx, row.id)
            wanted = data_api_plan.wanted_login(row, api, additional)
            await data_api_steps.build(self.clusters, row, api.authenticator, wanted)
        async with self.clusters.own_connection(row.cluster_id) as server:
            there = await catalog.roles_of(server, row.username)
            for name in run.state.logins:
                if name in there:  # one may have been deleted since
                    await objects.let_in(server, name)
        emit(StepDone(MOVE.name, "opened", row.database_name))

    # ── the original ─────────────────────────────────────────────────────────

    async def close_roles(self, row: DatabaseRow, source: ClusterRow) -> None:
        """Close the roles of a database on the cluster that it has left, and drop its shadow."""
        async with self.clusters.own_connection(source.id) as server:
            there = await catalog.roles_of(server, row.username)
            for name in there:
                await without_blockers(
                    server, partial(objects.close_role, server, name), roles=[name]
                )
            await session_ending.end_sessions(server, *there)
            await objects.drop_database(server, row.shadow_name)
        emit(StepDone(MOVE.name, "closed", row.database_name))

    async def drop_copy(self, row: DatabaseRow, target: ClusterRow) -> None:
        """Drop what was made on a shared target, with the roles unless earlier ones are there."""
        async with self.clusters.own_connection(target.id) as server:
            for name in row.database_names:
                await objects.drop_database(server, name)
            retains = await catalog.databases_beside(server, row.database_name)
            for name in await catalog.roles_of(server, row.username):
                await objects.close_role(server, name)
                if not retains:
                    await objects.drop_role(server, name)

    def _bindir(self, target: ClusterRow) -> Path:
        return self.fleet.of(Member.of(target)).bindir
