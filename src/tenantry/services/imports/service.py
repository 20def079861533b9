"""The service for imports: examine a source and copy it, or receive a dump and load it.

A source's connection string is stored in this process's memory only, while its import runs. So the
API carries imports out itself (docs/decisions/0022).
"""

import datetime as dt
import shutil
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial

from tenantry.base.errors import Conflict, InvalidInput
from tenantry.base.settings import Settings
from tenantry.base.sizes import readable
from tenantry.control import audit, plans
from tenantry.control import operations as operation_rows
from tenantry.control.audit import Actor
from tenantry.control.databases import DatabaseRow
from tenantry.control.operations import OperationRow
from tenantry.control.store import ControlStore, Tx
from tenantry.host import files
from tenantry.host.packages import find_postgres
from tenantry.pg import leftovers, logins, sources
from tenantry.pg.sources import RoleUse, Source
from tenantry.services.clusters.pools import ClusterPools
from tenantry.services.databases.model import NewDatabase
from tenantry.services.databases.plan import statement_seconds
from tenantry.services.databases.service import Databases
from tenantry.services.imports import flow, loading, plan
from tenantry.services.imports.examining import Examining
from tenantry.services.imports.model import (
    IMPORT,
    STATEMENT_SECONDS,
    Examined,
    ImportParams,
    NotEmpty,
    Preview,
    PreviewTable,
    Upload,
)
from tenantry.services.imports.plan import Selection
from tenantry.services.imports.previews import describe, known_roles
from tenantry.services.imports.uploads import Uploads, too_large
from tenantry.services.operations.model import Flow, Step
from tenantry.services.operations.service import Operations
from tenantry.services.requests.service import Caller


class Imports:
    """The service for imports."""

    def __init__(
        self,
        settings: Settings,
        store: ControlStore,
        clusters: ClusterPools,
        databases: Databases,
        operations: Operations,
    ) -> None:
        self._settings = settings
        self._store = store
        self._clusters = clusters
        self._databases = databases
        self._operations = operations
        self._steps = flow.ImportFlow(settings, store, clusters)
        self._examining = Examining(clusters, private=settings.import_private)
        self.uploads = Uploads(self._steps.uploads, settings.engines_dir)
        operations.register(
            Flow(
                IMPORT,
                [
                    Step("copy", self._steps.copy, share=4),
                    Step("load", self._steps.load, share=5),
                    Step("compare", self._steps.compare),
                    Step("hand_over", self._steps.hand_over, final=True),
                ],
                undo=self._steps.undo,
                deadline=dt.timedelta(seconds=loading.DEADLINE),
                part="api",
                lane="imports",
            )
        )

    # ── from another server ──────────────────────────────────────────────────

    async def start(
        self, caller: Caller, database_id: uuid.UUID, source: Source, selection: Selection
    ) -> OperationRow:
        """Begin to copy a source into an empty database, once per idempotency key.

        Raises as ``examine``, ``begin`` and ``Caller.idempotent``.
        """
        examined: Examined | None = None
        if not await caller.is_repeated():
            # First whether the caller may use the database: nobody else makes the platform connect
            # anywhere.
            async with caller.visiting():
                await self.check_target(caller.actor, database_id, roles=selection.roles)
            examined = await self.examine(caller.actor, source, selection)

        async def want(tx: Tx) -> OperationRow:
            if examined is None:
                raise Conflict("The result that was kept is gone.", hint="Send it again.")
            return await self.begin(tx, caller.actor, database_id, examined)

        return await caller.begin(want)

    async def examine(self, actor: Actor, source: Source, selection: Selection) -> Examined:
        """Connect to a source, and check that it can be imported.

        Raises SourceError, Forbidden, InvalidInput, TooManyAtOnce.
        """
        examined = await self._examining.look(actor, source, selection)
        await self._examining.check(examined)
        return examined

    def check_room(self, size: int, *, quota: int, used: int) -> None:
        """Check that ``size`` bytes fit into a quota and, temporarily twice, on the disk.

        Raises Conflict, NotEnoughDisk.
        """
        if used + size > quota:
            raise Conflict(
                f"It takes {size:,} bytes there, and the disk quota here is {quota:,},"
                f" of which {used:,} are used.",
                hint="Raise disk_quota_bytes, or leave tables out.",
            )
        files.require_room(
            self._settings.home,
            2 * size + flow.SPARE_BYTES,
            what=f"A copy of {readable(size)}",
            hint="Whoever runs the platform has to make room.",
        )

    async def check_room_for(self, tx: Tx, wanted: NewDatabase, examined: Examined) -> None:
        """Check the same for a database that is not created yet."""
        granted = next(
            (each for each in await plans.every(tx) if each.name == wanted.attributes.plan), None
        )
        if granted is not None:  # else the creation reports that there is no such plan
            quota = wanted.limits.get("disk_quota_bytes", granted.disk_quota_bytes)
            self.check_room(examined.size_bytes, quota=quota, used=0)

    async def begin(
        self, tx: Tx, actor: Actor, database_id: uuid.UUID, examined: Examined
    ) -> OperationRow:
        """Begin to copy an examined source into an empty database.

        Raises NotFound, Conflict (not empty, over the quota, or busy), NotEnoughDisk, InvalidInput.
        """
        row = await self._empty(tx, actor, database_id)
        known = await known_roles(tx, row, examined.selection.roles)
        _check_policies(examined, known)
        self.check_room(examined.size_bytes, quota=row.disk_quota_bytes, used=row.used_bytes or 0)
        source = examined.source
        details: dict[str, object] = {"host": source.host, "database": source.database}
        asked = _params(
            row, examined.selection, known, source=f"{source.database} at {source.host}"
        )
        operation = await self._want(tx, actor, row, asked, details)
        self._steps.held[operation.id] = examined
        tx.in_background(partial(self._let_go, row.id))
        return operation

    async def _let_go(self, database_id: uuid.UUID, used: uuid.UUID | None = None) -> None:
        """Discard the previewed dumps of a database, but not one that is ``used`` now."""
        if used is not None:
            self.uploads.release(used)
        self.uploads.forget(database_id)

    # ── from a dump ──────────────────────────────────────────────────────────

    async def start_upload(
        self,
        caller: Caller,
        database_id: uuid.UUID,
        chunks: AsyncIterator[bytes],
        selection: Selection,
        *,
        announced: int | None,
    ) -> OperationRow:
        """Receive a dump and begin to load it into an empty database, once per idempotency key.

        Raises as ``check_target``, ``Uploads.receive``, ``begin_upload`` and ``Caller.idempotent``.
        """
        first = not await caller.is_repeated()
        async with self._received(
            caller, database_id, chunks, roles=selection.roles, empty=first, announced=announced
        ) as (upload, _):
            caller.call.content = upload.sha256
            operation = await caller.begin(
                lambda tx: self.begin_upload(tx, caller.actor, database_id, upload, selection)
            )
            if operation.params["upload"] != str(upload.id):  # the same dump was sent before
                self.uploads.discard(upload.id)
        return operation

    async def start_held(
        self, caller: Caller, database_id: uuid.UUID, upload_id: uuid.UUID, selection: Selection
    ) -> OperationRow:
        """As ``start_upload``, with a previewed dump. Raises InvalidInput if it is gone."""

        async def want(tx: Tx) -> OperationRow:
            upload = self.uploads.held(upload_id, database_id)
            return await self.begin_upload(tx, caller.actor, database_id, upload, selection)

        return await caller.begin(want)

    @asynccontextmanager
    async def _received(
        self,
        caller: Caller,
        database_id: uuid.UUID,
        chunks: AsyncIterator[bytes],
        *,
        roles: Mapping[str, str],
        empty: bool,
        announced: int | None,
    ) -> AsyncIterator[tuple[Upload, int]]:
        """Receive a dump for a database; yield it, and how many bytes it may have.

        No other dump for the database is received meanwhile; it is discarded if the block raises.
        """
        row = await self._databases.active(caller.actor, database_id)
        with self.uploads.only_one(row.id, row.customer_id):
            async with caller.visiting():
                most = await self.check_target(
                    caller.actor, database_id, roles=roles, empty=empty, announced=announced
                )
            upload = await self.uploads.receive(chunks, most=most)
            try:
                yield upload, most
            except BaseException:
                self.uploads.discard(upload.id)
                raise

    async def check_target(
        self,
        actor: Actor,
        database_id: uuid.UUID,
        *,
        roles: Mapping[str, str],
        empty: bool = True,
        announced: int | None = None,
    ) -> int:
        """Return how many bytes a dump for this database may have.

        With ``empty`` the database has to be empty and free of operations; without it, the request
        is a repeated one. ``announced`` is the dump's size, if known; ``roles`` says which role of
        the database stands for a role of the source.

        Raises NotFound, Conflict, InvalidInput.
        """
        row = await self._databases.active(actor, database_id)
        if empty:
            async with self._store.transaction(actor) as tx:
                await operation_rows.require_free(tx, "database", row.id)
                await known_roles(tx, row, roles)
            await self._require_empty(row)
        free = files.free_bytes(self._settings.home) - flow.SPARE_BYTES
        most = max(0, min(row.disk_quota_bytes, free // 2))
        if announced is not None and announced > most:
            raise too_large(most)
        return most

    async def begin_upload(
        self,
        tx: Tx,
        actor: Actor,
        database_id: uuid.UUID,
        upload: Upload,
        selection: Selection,
    ) -> OperationRow:
        """Begin to load an uploaded dump into an empty database.

        Raises NotFound, Conflict, InvalidInput.
        """
        row = await self._empty(tx, actor, database_id)
        details: dict[str, object] = {"upload_bytes": upload.size_bytes}
        known = await known_roles(tx, row, selection.roles)
        asked = _params(row, selection, known, upload=upload.id)
        tx.in_background(partial(self._let_go, row.id, upload.id))
        return await self._want(tx, actor, row, asked, details)

    def forget_uploads(self) -> None:
        """Delete the dumps that an earlier API received. Only for the one API, before it serves."""
        shutil.rmtree(self._steps.uploads, ignore_errors=True)

    # ── previews ─────────────────────────────────────────────────────────────

    async def preview(
        self, actor: Actor, database_id: uuid.UUID, source: Source, selection: Selection
    ) -> Preview:
        """Return what an import from a source would create. Raises as ``examine``, NotFound."""
        row = await self._databases.active(actor, database_id)
        await self._require_empty(row)
        examined = await self._examining.look(actor, source, selection)
        contents = examined.contents
        tables = [
            PreviewTable(each.schema, each.name, each.size_bytes)
            for each in selection.tables(contents.tables)
        ]
        return await describe(
            self._store,
            self._clusters,
            actor,
            row,
            version=plan.version_name(contents.version),
            size_bytes=examined.size_bytes,
            schemas=sorted({each.schema for each in tables}),
            tables=tables,
            extensions=contents.extensions,
            used_by=contents.uses,
            uses=selection.roles_in(contents.roles),
            warnings=plan.foreseen(f"{source.database} at {source.host}", tables=len(tables)),
        )

    async def preview_upload(
        self,
        caller: Caller,
        database_id: uuid.UUID,
        chunks: AsyncIterator[bytes],
        *,
        announced: int | None,
    ) -> Preview:
        """Return what an import of a dump would create; the dump is retained for an hour.

        Raises as ``start_upload``, and NewerDump.
        """
        async with self._received(
            caller, database_id, chunks, roles={}, empty=True, announced=announced
        ) as (upload, most):
            return await self._preview_upload(caller.actor, database_id, upload, most=most)

    async def _preview_upload(
        self, actor: Actor, database_id: uuid.UUID, upload: Upload, *, most: int
    ) -> Preview:
        row = await self._databases.active(actor, database_id)
        cluster = await self._clusters.cluster(row.cluster_id)
        async with self._examining.place(actor):
            survey = await loading.survey(
                self.uploads.path(upload.id),
                find_postgres(self._settings.engines_dir, cluster.version),
                self._settings.engines_dir,
                most=most,
                room=row.disk_quota_bytes,
            )
        preview = await describe(
            self._store,
            self._clusters,
            actor,
            row,
            version=survey["version"],
            size_bytes=upload.size_bytes,
            schemas=sorted(survey["schemas"]),
            tables=[PreviewTable(schema, name, None) for schema, name in survey["tables"]],
            extensions=survey["extensions"],
            uses=[RoleUse(*each) for each in survey["roles"]],
            warnings=plan.foreseen("the dump", tables=len(survey["tables"])),
            upload_id=upload.id,
        )
        self.uploads.hold(upload, row.id, row.customer_id)
        return preview

    # ── both ─────────────────────────────────────────────────────────────────

    async def _empty(self, tx: Tx, actor: Actor, database_id: uuid.UUID) -> DatabaseRow:
        row = await self._databases.lock_active(tx, actor, database_id)
        await self._require_empty(row)
        return row

    async def _require_empty(self, row: DatabaseRow) -> None:
        cluster = await self._clusters.cluster(row.cluster_id)
        async with logins.inside(cluster.address, row.database_name, [row.username]) as session:
            there = await leftovers.find(session)
        if there:
            raise NotEmpty.of(row.friendly_name or row.database_name, there)

    async def _want(
        self,
        tx: Tx,
        actor: Actor,
        row: DatabaseRow,
        params: ImportParams,
        details: dict[str, object],
    ) -> OperationRow:
        operation = await self._operations.begin(
            tx,
            actor,
            IMPORT,
            params,
            resource_kind="database",
            resource_id=row.id,
            customer_id=row.customer_id,
        )
        details = {**details, "operation_id": str(operation.id)}
        await audit.record_on(tx, actor, IMPORT.name, row, result="accepted", details=details)
        return operation


def _params(
    row: DatabaseRow,
    selection: Selection,
    roles: dict[str, str],
    *,
    upload: uuid.UUID | None = None,
    source: str | None = None,
) -> ImportParams:
    """Return the parameters of the operation: how to load what was copied or sent."""
    return ImportParams(
        jobs=selection.jobs,
        roles=roles,
        accept_losses=selection.accept_losses,
        statement_seconds=statement_seconds(
            [row], selection.statement_seconds, usual=STATEMENT_SECONDS
        ),
        upload=upload,
        source=source,
    )


def _check_policies(examined: Examined, known: Mapping[str, str]) -> None:
    """Raise InvalidInput if policies name roles that are not here, and may not be left out."""
    selection = examined.selection
    if selection.unmapped_roles == "leave_out":
        return
    unmapped = {
        each.role
        for each in selection.roles_in(examined.contents.roles)
        if each.use == "policies" and each.role not in known
    }
    if unmapped:
        raise InvalidInput.of(
            "map_roles",
            "does not say who stands for these roles, which policies name: "
            + sources.readable(", ".join(sorted(unmapped))),
            code="unmapped_roles",
        )
