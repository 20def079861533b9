"""The steps of a restore. Each finds what an earlier try of it has done.

The invariant of a restore in place: at every moment exactly one whole database is in service under
the database's name, the old one or the new one. The new one is built under another name
(``staging_name`` in the operation's state, by which reconciliation knows it); then one transaction
of PostgreSQL renames the old one to the name under which it is retained, and the new one to its
own.
"""

import datetime as dt
import uuid
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from tenantry.base.errors import Conflict, MachineError, NameTaken, TenantryError
from tenantry.base.home import Home
from tenantry.base.ids import new_id, new_suffix
from tenantry.control import audit, backups, blueprints, whitelist
from tenantry.control import databases as rows
from tenantry.control.attributes import Attributes
from tenantry.control.databases import DatabaseRow
from tenantry.control.store import ControlStore, Tx
from tenantry.host import files
from tenantry.pg import (
    catalog,
    dump_files,
    instance_roles,
    names,
    objects,
    replacing,
    visitors,
)
from tenantry.pg.connections import Address
from tenantry.pg.handover import hand_over
from tenantry.pg.tenant_settings import Settings, reading, settings_of
from tenantry.services.backups.model import file_of
from tenantry.services.clusters.pools import ClusterPools
from tenantry.services.databases import steps as database_steps
from tenantry.services.databases.replacement import Replacement, require_row, retained_name
from tenantry.services.network.service import Network
from tenantry.services.operations.model import (
    Done,
    Flow,
    Next,
    Outcome,
    Step,
    required,
)
from tenantry.services.pooling.service import Pooler
from tenantry.services.repository.service import Repositories
from tenantry.services.restores import transfer
from tenantry.services.restores.model import (
    RESTORE,
    Exceptions,
    RestoreParams,
    RestoreRun,
    RestoreState,
    WouldLose,
)
from tenantry.services.restores.past import Past, largest_size
from tenantry.services.roles.steps import active_roles, grant_access
from tenantry.services.side_clusters.service import SideClusters

Connection = AsyncConnection[TupleRow]

_COPIES = 3  # of the database, for a while: in the side cluster, dumped, and loaded
_NOTHING_CHANGED = "Nothing was changed."


@dataclass(frozen=True, slots=True)
class RestoreFlow:
    """The flow that restores a database, as a new one or in place."""

    store: ControlStore
    clusters: ClusterPools
    pooler: Pooler
    network: Network
    repositories: Repositories
    sides: SideClusters
    replacement: Replacement
    home: Home

    @property
    def flow(self) -> Flow[RestoreParams, RestoreState]:
        return Flow(
            RESTORE,
            [
                Step("prepare", self._prepare, share=0.2),
                Step("restore", self._restore, share=3),
                Step("recover", self._recover, share=1),
                Step("dump", self._dump, share=2),
                Step("load", self._load, share=4),
                Step("check", self._check, share=0.5),
                Step("serve", self._serve, share=0.2, final=True),
                Step("clean_up", self._clean_up, share=0.1, final=True),
            ],
            undo=self._undo,
            deadline=dt.timedelta(hours=24),
            records_audit=True,
        )

    # ── before anything is changed ───────────────────────────────────────────

    async def _prepare(self, run: RestoreRun) -> Outcome:
        if run.state.staging_name is not None:
            return Next()
        row = await self._row(run)
        if _backup_id(run) is None:
            await self._look_at_window(run, row)
        else:
            await self._look_at_backup(run, row)
        if run.params.is_new:
            suffix = new_suffix()
            run.state.staging_name = names.main(suffix)
            run.state.target_role = names.owner(suffix)
            run.state.database_id = new_id()
        else:
            run.state.staging_name = names.of_operation(row.database_name, "restoring", run.row.id)
            run.state.target_role = row.username
        return Next()

    async def _look_at_window(self, run: RestoreRun, row: DatabaseRow) -> None:
        to = run.params.to if isinstance(run.params.to, dt.datetime) else None
        run.state.moment, run.state.size = await Past.prepare(
            self.store, self.clusters, self.repositories, self.sides, row=row, to=to, copies=_COPIES
        )

    async def _look_at_backup(self, run: RestoreRun, row: DatabaseRow) -> None:
        async with self.store.transaction(audit.PLATFORM) as tx:
            backup = await backups.find(tx, _backup_id(run) or run.row.id, database_id=row.id)
        if backup is None:
            raise Conflict("The backup has been deleted meanwhile.", hint=_NOTHING_CHANGED)
        cluster = await self.clusters.cluster(row.cluster_id)
        file = file_of(self.home, backup)

        async def heard(_: int) -> None:
            pass

        bindir = self.repositories.cluster(cluster.name).bindir
        found = await dump_files.look_at(file, backup.format, bindir, heard)
        if found.sha256 != backup.sha256:
            raise dump_files.Unreadable(
                "Its file is not the one that was written.", hint=_NOTHING_CHANGED
            )
        run.state.size = await largest_size(self.store, self.clusters, row, backup.created_at)
        self.sides.require_room(run.state.size)
        run.state.moment = backup.created_at
        run.state.file = str(file)

    # ── the side cluster ─────────────────────────────────────────────────────

    async def _past(self, run: RestoreRun) -> Past:
        row, size = await self._row(run), run.state.size
        return await Past.of(self.clusters, self.sides, run, row, moment=_moment(run), size=size)

    async def _restore(self, run: RestoreRun) -> Outcome:
        if run.state.file is not None:
            return Next("load")
        await (await self._past(run)).restore()
        return Next()

    async def _recover(self, run: RestoreRun) -> Outcome:
        side = await (await self._past(run)).recover()
        run.state.unreadable = [*side.unreadable]
        return Next()

    async def _dump(self, run: RestoreRun) -> Outcome:
        past = await self._past(run)
        retained = await self._earlier_roles(run, past.row)
        await past.dump(target_role=run.state.target_role, retained=retained)
        return Next()

    async def _earlier_roles(self, run: RestoreRun, row: DatabaseRow) -> list[str]:
        """Return the additional roles that the restored database keeps: those of its moment."""
        if run.params.is_new:
            return []
        earlier = await active_roles(self.store, row, until=_moment(run))
        return [each.username for each in earlier]

    # ── the new database ─────────────────────────────────────────────────────

    async def _load(self, run: RestoreRun) -> Outcome:
        row = await self._row(run)
        cluster = await self.clusters.cluster(row.cluster_id)
        staging, target_role = _staging_name(run), run.state.target_role
        await self._make(run, row, cluster.address)
        # The owners in a backup's file are those of its time: they change once it is loaded.
        file = run.state.file
        roles_ = await self._earlier_roles(run, row)
        if file is not None and run.params.is_new:
            roles_ = await self._roles_of(row)
        folder = self.sides.folder(run.row.id)
        files.ensure_folder(folder)
        if file is not None:
            await dump_files.copy(Path(file), folder / "dump")

        async def report(done: int, items: int | None) -> None:
            await run.report(done / max(1, items or 1))

        async def settle(inside: Connection, visitor: str) -> None:
            if file is not None and run.params.is_new:
                others = [each for each in (*roles_, visitor) if each != row.username]
                await hand_over(inside, first=row.username, others=others, new_owner=target_role)

        reloaded = await transfer.load_in(
            transfer.Target(
                cluster.address,
                self.repositories.cluster(cluster.name).bindir,
                staging,
                target_role,
                roles_,
            ),
            run.row.id.hex,
            folder / "dump",
            folder=folder,
            settings=await settings_of(cluster.address, row.username, row.database_name),
            seconds=row.longest_statement_seconds,
            options=[] if file is None else ["--no-owner"],
            settle=settle,
            report=report,
        )
        await instance_roles.return_databases(cluster.address)
        run.state.exceptions = Exceptions.of(reloaded)
        if not run.params.is_new and not run.params.accept_losses:
            WouldLose.require_nothing(row.database_name, run.state.exceptions.lost)
        if not run.params.is_new:
            later = await active_roles(self.store, row, after=_moment(run))
            await grant_access(later, cluster.address, staging, tenant=row.username)
        return Next()

    async def _roles_of(self, row: DatabaseRow) -> list[str]:
        async with self.clusters.own_connection(row.cluster_id) as server:
            return await catalog.roles_of(server, row.username)

    async def _make(self, run: RestoreRun, row: DatabaseRow, address: Address) -> None:
        """Create an empty staging database, in place of what an earlier try has loaded."""
        staging, target_role = _staging_name(run), run.state.target_role
        async with self.clusters.own_connection(row.cluster_id) as server:
            await objects.drop_database(server, staging)
            await objects.ensure_role(server, target_role)
            await objects.ensure_database(server, address, staging, tenant=target_role)
            if not run.params.is_new:
                await replacing.close_database(server, staging)
            elif row.has_shadow:
                shadow = names.shadow(staging)
                await objects.ensure_database(server, address, shadow, tenant=target_role)

    async def _check(self, run: RestoreRun) -> Outcome:
        """Count the rows of each table, and compare them with the side cluster's if it exists."""
        row = await self._row(run)
        cluster = await self.clusters.cluster(row.cluster_id)
        settings = await settings_of(cluster.address, row.username, row.database_name)
        now = await self._count(run, cluster.address, _staging_name(run), settings)
        if run.state.file is None:
            side = await (await self._past(run)).recover()
            then = await self._count(run, side.address, row.database_name, settings)
            difference = transfer.compare(then, now, run.state.exceptions.lost)
            if difference.wrong:
                raise MachineError(
                    f"What was loaded differs from what was there at {_moment(run).isoformat()}: "
                    f"{', '.join(difference.wrong[:5])}.",
                    hint=f"{_NOTHING_CHANGED} Please report it.",
                )
            run.state.refreshed = difference.refreshed
        run.state.tables = len(now.tables)
        run.state.rows = sum(now.tables.values())
        return Next()

    async def _count(
        self, run: RestoreRun, address: Address, database: str, settings: Settings
    ) -> transfer.Counts:
        scratch = self.sides.folder(run.row.id)
        async with (
            visitors.visitor(
                address, run.row.id.hex, [run.state.target_role], database=database, folder=scratch
            ) as visitor,
            reading(visitor, database, settings) as inside,
        ):
            return await transfer.count(inside)

    # ── in service ───────────────────────────────────────────────────────────

    async def _serve(self, run: RestoreRun) -> Outcome:
        async with self.store.long_transaction(audit.PLATFORM) as tx:
            row = await self._locked(tx, run)
            staging = _staging_name(run)
            if not await self.replacement.can_swap(row, staging, run.row.id):
                return Next("load")  # it was dropped by hand
            if run.params.is_new:
                is_first = await self._own(tx, run, row)
            else:
                is_first = await self.replacement.swap(tx, row, staging, operation_id=run.row.id)
            if is_first:  # after a crash before this step is recorded it runs again
                await audit.record_on(
                    tx,
                    run.actor,
                    "database.restored",
                    row,
                    details={
                        "to": _moment(run).isoformat(),
                        "as": run.params.into,
                        "operation_id": str(run.row.id),
                    },
                )
        return Next()

    async def _own(self, tx: Tx, run: RestoreRun, row: DatabaseRow) -> bool:
        """Give the new database to the owner of the original; nobody knows its password yet.

        Return False if that was done before.
        """
        database_id = _database_id(run)
        if await rows.find(tx, database_id, customer_id=None) is not None:
            return False
        suffix = names.suffix_of(_staging_name(run))
        await rows.insert_creating(
            tx, cluster_id=row.cluster_id, suffix=suffix, database_id=database_id
        )
        plan, limits = await database_steps.granted_to_copy(tx, run.actor, row)
        name = run.params.name
        wanted = replace(
            row.copied(),
            plan=plan,
            name=name,
            friendly_name=run.params.friendly_name or name or f"{row.friendly_name} (restored)",
        )

        async def activate(attributes: Attributes) -> None:
            await rows.activate(
                tx, database_id, attributes, customer_id=row.customer_id, limits=limits
            )

        try:
            async with tx.transaction():
                await activate(wanted)
        except NameTaken:  # since the check; the restore shall not fail for that
            await activate(replace(wanted, name=None))
        made = await rows.find(tx, database_id, customer_id=None)
        if made is None:
            raise MachineError("A database that was just made is gone.")
        # Clients that could not reach the original shall not reach its copy.
        await whitelist.copy(tx, row.id, database_id)
        await blueprints.follow(tx, row.id, database_id)
        await self.network.apply(tx)
        async with self.clusters.own_connection(row.cluster_id) as server:
            await database_steps.limit(server, made)
        await audit.record_on(tx, run.actor, "database.create", made, details={"from": str(row.id)})
        return True

    async def _clean_up(self, run: RestoreRun) -> Outcome:
        await self.sides.remove(run.row.id)
        row = await self._row(run)
        result: dict[str, object] = {
            "restored_to": _moment(run).isoformat(),
            "tables": run.state.tables,
            "rows": run.state.rows,
            "unreadable_backups": run.state.unreadable,
            "changed": run.state.exceptions.changed + run.state.refreshed,
            "lost": run.state.exceptions.lost,
        }
        if run.params.is_new:
            with suppress(TenantryError):  # a reconciliation pass does it as well
                await self.pooler.refresh(self.store)
            database_id = _database_id(run)
            async with self.store.transaction(audit.PLATFORM) as tx:
                made = await rows.find(tx, database_id, customer_id=None)
            return Done(
                result
                | {
                    "database_id": str(database_id),
                    "database_name": _staging_name(run),
                    "name": made and made.name,
                }
            )
        return Done(
            result
            | {
                "database_id": str(row.id),
                "database_name": row.database_name,
                "replaced": retained_name(row, run.row.id),
            }
        )

    async def _undo(self, run: RestoreRun) -> None:
        await self.sides.remove(run.row.id)
        staging = run.state.staging_name
        if staging is None:
            return
        row = await self._row(run)
        cluster = await self.clusters.cluster(row.cluster_id)
        async with self.clusters.own_connection(row.cluster_id) as server:
            await objects.drop_database(server, staging)
            if run.params.is_new:
                await objects.drop_database(server, names.shadow(staging))
                await objects.drop_role(server, run.state.target_role)
        if run.row.id.hex in await visitors.purposes(cluster.address):
            await visitors.drop(cluster.address, run.row.id.hex)

    # ── helpers ──────────────────────────────────────────────────────────────

    async def _row(self, run: RestoreRun) -> DatabaseRow:
        async with self.store.transaction(audit.PLATFORM) as tx:
            row = await rows.find(tx, run.row.resource_id, customer_id=None)
        return require_row(row)

    async def _locked(self, tx: Tx, run: RestoreRun) -> DatabaseRow:
        return require_row(await rows.lock(tx, run.row.resource_id, wait=True))


def _backup_id(run: RestoreRun) -> uuid.UUID | None:
    """The logical backup to restore from, if it is one."""
    return run.params.to if isinstance(run.params.to, uuid.UUID) else None


def _moment(run: RestoreRun) -> dt.datetime:
    return required(run.state.moment)


def _staging_name(run: RestoreRun) -> str:
    return required(run.state.staging_name)


def _database_id(run: RestoreRun) -> uuid.UUID:
    return required(run.state.database_id)
