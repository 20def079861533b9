"""Restores databases, and drops retained ones that have expired."""

import datetime as dt
import uuid
from typing import Literal

import psycopg
import structlog

from tenantry.base.errors import Conflict, InvalidInput, NotFound, TenantryError
from tenantry.control import audit, backups, replaced
from tenantry.control import databases as rows
from tenantry.control.audit import Actor
from tenantry.control.backups import BackupRow
from tenantry.control.databases import DatabaseRow
from tenantry.control.operations import OperationRow
from tenantry.control.replaced import ReplacedRow
from tenantry.control.store import Tx
from tenantry.pg import catalog
from tenantry.pg.pgbackrest_output import RepositoryError
from tenantry.services.databases.service import Databases
from tenantry.services.operations.model import Kind, P, S
from tenantry.services.operations.service import Operations
from tenantry.services.restores.flow import RestoreFlow
from tenantry.services.restores.model import (
    PUT_BACK,
    RESTORE,
    NewRestore,
    PutBackParams,
    Replaced,
    Restorable,
    RestoreParams,
)
from tenantry.services.restores.put_back import PutBackFlow
from tenantry.services.side_clusters.model import OutsideWindow, Window

log = structlog.get_logger()


class Restores:
    """The verbs on restores."""

    def __init__(self, flow: RestoreFlow, databases: Databases, operations: Operations) -> None:
        self._store = flow.store
        self._clusters = flow.clusters
        self._repositories = flow.repositories
        self._sides = flow.sides
        self._databases = databases
        self._operations = operations
        operations.register(flow.flow, PutBackFlow(flow.store, flow.replacement).flow)

    async def begin(
        self, tx: Tx, actor: Actor, database_id: uuid.UUID, wanted: NewRestore
    ) -> OperationRow:
        """Begin a restore.

        Raises NotFound, Conflict, InvalidInput, NameTaken, OutsideWindow, RepositoryError.
        """
        row = await self._databases.lock_active(tx, actor, database_id)
        if wanted.name is not None:
            await self._require_free(tx, row, wanted)
        if isinstance(wanted.to, uuid.UUID):
            backup = await backups.find(tx, wanted.to, database_id=row.id)
            if backup is not None:
                return await self._load(tx, actor, row, wanted, backup)
        if wanted.to == "previous" or isinstance(wanted.to, uuid.UUID):
            return await self._put_back(tx, actor, row, wanted)
        self._repositories.require_enabled()
        if wanted.to != "latest":
            if wanted.to < row.created_at:
                raise OutsideWindow(
                    f"The database was made at {row.created_at:%F %T} UTC only.",
                    hint="Ask for a moment after that.",
                )
            cluster = await self._clusters.name_at(row.id, row.cluster_id, wanted.to)
            await self._sides.check(cluster, wanted.to)
        return await self._begin(tx, actor, row, RESTORE, _params(wanted, wanted.to))

    async def _require_free(self, tx: Tx, row: DatabaseRow, wanted: NewRestore) -> None:
        """Raise InvalidInput unless a new database is wanted, NameTaken if its name is in use.

        The name may be taken later all the same; then the database is created without one.
        """
        if wanted.into == "in_place":
            raise InvalidInput.of("name", "is for a new database; in place it keeps its own")
        taken = await rows.has_name(tx, row.customer_id, row.environment, wanted.name or "")
        if taken:
            raise rows.name_taken(wanted.name, row.environment)

    async def window(self, actor: Actor, database_id: uuid.UUID) -> Restorable:
        """Return the moments to which the local repository alone can restore a database."""
        if not self._repositories.enabled:
            return Restorable("off")
        try:
            row = await self._databases.show(actor, database_id)
            cluster = await self._clusters.cluster(row.cluster_id)
            found = await self._sides.window(cluster.name)
        except NotFound:
            return Restorable("none")
        except RepositoryError:
            return Restorable("unknown")
        if found is None or found.until < row.created_at:
            return Restorable("none")
        return Restorable("ok", Window(max(found.since, row.created_at), found.until))

    async def _load(
        self, tx: Tx, actor: Actor, row: DatabaseRow, wanted: NewRestore, backup: BackupRow
    ) -> OperationRow:
        if backup.status != "ready" or backup.format != "custom" or backup.part != "all":
            raise Conflict(
                f"{backup.file_name} cannot be restored: it is {backup.status}, of the format "
                f"{backup.format}, with the part {backup.part}.",
                hint="A whole backup in the custom format can be.",
            )
        return await self._begin(tx, actor, row, RESTORE, _params(wanted, backup.id))

    async def _put_back(
        self, tx: Tx, actor: Actor, row: DatabaseRow, wanted: NewRestore
    ) -> OperationRow:
        retained = await replaced.of_database(tx, row.id)
        old = next((each for each in retained if wanted.to in {"previous", each.id}), None)
        if old is None:
            raise NotFound(
                "This database has no such backup, and nothing of it was replaced and is kept.",
                hint="GET /api/databases/{id}/backups and GET /api/databases/{id}/replaced list "
                "what there is.",
            )
        if old.cluster_id != row.cluster_id:
            raise Conflict(
                f"{old.database_name} is on the cluster that {row.database_name} was moved from,"
                " and cannot be put back.",
                hint="Move the database back with what it has now (POST /api/databases/{id}/move),"
                " or restore it to a moment before the move.",
            )
        if wanted.into != "in_place":
            raise Conflict(
                f"What was replaced is put back in the place of {row.database_name} as it is now.",
                hint='Ask for it as "in_place".',
            )
        asked = PutBackParams(replaced=old.database_name, replaced_at=old.replaced_at)
        return await self._begin(tx, actor, row, PUT_BACK, asked)

    async def _begin(
        self, tx: Tx, actor: Actor, row: DatabaseRow, kind: Kind[P, S], params: P
    ) -> OperationRow:
        # One more either way: a new database, or a retained one.
        await self._databases.check_count(tx, actor, row.customer_id, more=1)
        operation = await self._operations.begin(
            tx,
            actor,
            kind,
            params,
            resource_kind="database",
            resource_id=row.id,
            customer_id=row.customer_id,
        )
        details: dict[str, object] = {"operation_id": str(operation.id)}
        await audit.record_on(tx, actor, kind.name, row, result="accepted", details=details)
        return operation

    async def retained(self, actor: Actor, database_id: uuid.UUID) -> list[Replaced]:
        """Return the databases that were replaced, or are left by moves.

        A suspended instance is woken. Raises NotFound; Conflict and Unavailable if the database's
        server does not run.
        """
        row = await self._databases.show(actor, database_id)
        async with self._store.transaction(actor) as tx:
            found = await replaced.of_database(tx, row.id)
        sizes: dict[str, int] = {}
        names = [each.database_name for each in found if each.cluster_id == row.cluster_id]
        if names:
            await self._databases.awake(row)
            async with self._clusters.connection(row.cluster_id) as server:
                sizes = await catalog.sizes(server, names)
        return [
            Replaced(
                each,
                sizes.get(each.database_name, 0),
                can_be_put_back=each.cluster_id == row.cluster_id,
            )
            for each in found
        ]

    async def reconcile(self) -> list[str]:
        """Drop the retained databases that have expired. Return their names."""
        async with self._store.transaction(audit.PLATFORM) as tx:
            due = await replaced.expired(tx)
        gone: list[str] = []
        for each in due:
            try:
                if await self._drop(each):
                    gone.append(each.database_name)
            except (TenantryError, psycopg.Error) as error:
                log.warning("retained.drop_failed", database=each.database_name, error=str(error))
        return gone

    async def _drop(self, old: ReplacedRow) -> bool:
        async with self._store.long_transaction(audit.PLATFORM) as tx:
            row = await rows.lock(tx, old.database_id, wait=False)
            if row is None or old not in await replaced.expired(tx):
                return False
            await self._databases.dropping.drop_retained(tx, row, old)
            await audit.record_on(
                tx,
                audit.PLATFORM,
                "database.replaced_dropped",
                row,
                details={"database_name": old.database_name},
            )
        return True


def _params(wanted: NewRestore, to: dt.datetime | uuid.UUID | Literal["latest"]) -> RestoreParams:
    return RestoreParams(
        to=to,
        into=wanted.into or "new",
        name=wanted.name,
        friendly_name=wanted.friendly_name,
        accept_losses=wanted.accept_losses,
    )
