"""The verbs of importing: look at a source, then have it copied; or take in a dump.

A source's connection string is kept in this process's memory only, for as long as its import
runs. So the API carries imports out itself (docs/decisions/0022).
"""

import datetime as dt
import shutil
import socket
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

from tenantry.base.errors import Conflict, Forbidden, InvalidInput, TooManyAtOnce
from tenantry.base.settings import Settings
from tenantry.base.shares import NoPlace, Shares
from tenantry.base.sizes import readable
from tenantry.control import audit, plans
from tenantry.control import operations as operation_rows
from tenantry.control import roles as roles_rows
from tenantry.control.audit import Actor
from tenantry.control.databases import DatabaseRow
from tenantry.control.operations import OperationRow
from tenantry.control.store import ControlStore, Tx
from tenantry.host import files
from tenantry.host.packages import find_postgres
from tenantry.pg import extensions as extensions_
from tenantry.pg import leftovers, logins, sources
from tenantry.pg.sources import ExtensionUse, IPAddress, RoleUse, Source, SourceError
from tenantry.services.clusters.service import ClusterPools
from tenantry.services.databases.model import NewDatabase
from tenantry.services.databases.plan import statement_seconds
from tenantry.services.databases.service import Databases
from tenantry.services.imports import flow, loading, plan
from tenantry.services.imports.model import (
    KIND,
    Examined,
    NotEmpty,
    Preview,
    PreviewExtension,
    PreviewRole,
    PreviewTable,
    Upload,
)
from tenantry.services.imports.plan import Offered, Selection
from tenantry.services.imports.uploads import Uploads, too_large
from tenantry.services.operations.model import Flow, Step
from tenantry.services.operations.service import Operations

_EXAMINED_AT_ONCE = 16
_EXAMINED_EACH = 2
_ADDRESSES_TRIED = 3
_OLDEST = 9_02_00  # as pg_dump's manual says
_DISCARD = 9  # the UDP port that nothing is sent to

_MOST_USES = 20  # of an extension, in a preview


class Imports:
    """Everything that can be done to bring a database here."""

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
        self._steps = flow.Steps(settings, store, clusters)
        self._examining = Shares(each=_EXAMINED_EACH, total=_EXAMINED_AT_ONCE)
        self.uploads = Uploads(self._steps.uploads)
        operations.register(
            Flow(
                KIND,
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

    async def examine(self, actor: Actor, source: Source, selection: Selection) -> Examined:
        """Connect to a source, and see whether it can be imported.

        Raises SourceError, Forbidden, InvalidInput, TooManyAtOnce.
        """
        examined = await self._examine(actor, source, selection)
        await self._check(examined)
        return examined

    async def _examine(self, actor: Actor, source: Source, selection: Selection) -> Examined:
        async with self._place(actor):
            addresses = await self._allowed(actor, source)
            address, contents = await _look(source, addresses)
        return Examined(source, address, contents, selection)

    @asynccontextmanager
    async def _place(self, actor: Actor) -> AsyncIterator[None]:
        """Be one of the few that look at a source. Raises TooManyAtOnce."""
        try:
            async with self._examining.place(actor.customer_id or actor.id):
                yield
        except NoPlace:
            raise TooManyAtOnce("Other sources are just being looked at.", seconds=5) from None

    async def _allowed(self, actor: Actor, source: Source) -> list[IPAddress]:
        administrator = actor.customer_id is None
        found = [
            address
            for address in await sources.resolve(source)
            if plan.is_allowed(
                address, administrator=administrator, private=self._settings.import_private
            )
            and (administrator or not _is_own(plan.embedded(address)))
        ]
        if not found:
            raise Forbidden(
                f"{source.host} is at an address that imports do not reach from here.",
                hint="An administrator may import from this machine and from private networks;"
                " TENANTRY_IMPORT_PRIVATE lets customers into the latter, too.",
            )
        return list(dict.fromkeys(found))[:_ADDRESSES_TRIED]

    async def _check(self, examined: Examined) -> None:
        contents = examined.contents
        cluster = await self._clusters.for_new_database()
        if contents.major > cluster.version:
            raise InvalidInput.of(
                "from",
                f"is PostgreSQL {contents.major}, and this server has {cluster.version}:"
                " a database can be copied to the same version or a newer one",
                code="newer_version",
            )
        if contents.version < _OLDEST:
            raise InvalidInput.of("from", "is older than PostgreSQL 9.2", code="older_version")
        selection = examined.selection
        known = {table.schema for table in contents.tables}
        if unknown := [name for name in selection.schemas if name not in known]:
            raise InvalidInput.of("schemas", f"there are no tables in {', '.join(unknown)} there")
        async with self._clusters.connection(cluster.id) as server:
            offered = [
                Offered(each.name, each.installable) for each in await extensions_.every(server)
            ]
        missing = plan.unavailable(contents.extensions, offered)
        needs = plan.needs(selection.needed_in(contents.uses), missing)
        if needs and not selection.accept_losses:
            raise InvalidInput.of(
                "from",
                f"has extensions that cannot be here: {sources.readable(needs)}. Leave those"
                " tables out by exclude_tables, or go on without what needs them by accept_losses:"
                " the result lists it",
                code="unavailable_extension",
            )

    def check_room(self, size: int, *, quota: int, used: int) -> None:
        """See that so many bytes fit into a quota and on the disk, twice for a while.

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
        """The same for a database that is not made yet."""
        granted = next((each for each in await plans.every(tx) if each.name == wanted.plan), None)
        if granted is not None:  # else there is no such plan, which is told when it is made
            quota = wanted.limits.get("disk_quota_bytes", granted.disk_quota_bytes)
            self.check_room(examined.size_bytes, quota=quota, used=0)

    async def begin(
        self, tx: Tx, actor: Actor, database_id: uuid.UUID, examined: Examined
    ) -> OperationRow:
        """Have an examined source copied into an empty database.

        Raises NotFound, Conflict (not empty, over the quota, or busy), NotEnoughDisk, InvalidInput.
        """
        row = await self._empty(tx, actor, database_id)
        known = await _known_roles(tx, row, examined.selection.roles)
        _check_policies(examined, known)
        self.check_room(examined.size_bytes, quota=row.disk_quota_bytes, used=row.used_bytes or 0)
        source = examined.source
        told: dict[str, object] = {"host": source.host, "database": source.database}
        asked = {**told, **_how(row, examined.selection, known)}
        operation = await self._want(tx, actor, row, asked, told)
        self._steps.held[operation.id] = examined
        return operation

    # ── from a dump ──────────────────────────────────────────────────────────

    @asynccontextmanager
    async def receiving(self, actor: Actor, database_id: uuid.UUID) -> AsyncIterator[None]:
        """Be the only dump that is sent to a database, while the block lasts.

        Raises NotFound, Conflict, TooManyAtOnce.
        """
        row = await self._databases.active(actor, database_id)
        with self.uploads.only_one(row.id, row.customer_id):
            yield

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

        With ``empty`` the database has to be that, and no operation may have it: otherwise it is
        the same request again. ``announced`` is the dump's size, if that is known; ``roles`` says
        which login of the database stands for a role of the source.

        Raises NotFound, Conflict, InvalidInput.
        """
        row = await self._databases.active(actor, database_id)
        if empty:
            async with self._store.transaction(actor) as tx:
                await operation_rows.require_free(tx, "database", row.id)
                await _known_roles(tx, row, roles)
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
        """Have an uploaded dump read into an empty database, all of it.

        Raises NotFound, Conflict, InvalidInput.
        """
        row = await self._empty(tx, actor, database_id)
        told: dict[str, object] = {"upload_bytes": upload.size_bytes}
        known = await _known_roles(tx, row, selection.roles)
        asked = {"upload": str(upload.id), **_how(row, selection, known)}
        return await self._want(tx, actor, row, asked, told)

    def forget_uploads(self) -> None:
        """For the only API, before it begins: nobody goes on with what another had taken in."""
        shutil.rmtree(self._steps.uploads, ignore_errors=True)

    # ── before it begins ─────────────────────────────────────────────────────

    async def preview(
        self, actor: Actor, database_id: uuid.UUID, source: Source, selection: Selection
    ) -> Preview:
        """What an import from a source would bring. Raises as ``examine``, NotFound."""
        row = await self._databases.active(actor, database_id)
        await self._require_empty(row)
        examined = await self._examine(actor, source, selection)
        contents = examined.contents
        tables = [
            PreviewTable(each.schema, each.name, each.size_bytes)
            for each in selection.tables(contents.tables)
        ]
        return await self._preview(
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
        self, actor: Actor, database_id: uuid.UUID, upload: Upload, *, most: int
    ) -> Preview:
        """What an import of an uploaded dump would bring; it is held for that for an hour.

        ``most`` is how many bytes it may have, unpacked. Raises NotFound, Conflict, TooManyAtOnce,
        NewerDump.
        """
        row = await self._databases.active(actor, database_id)
        cluster = await self._clusters.cluster(row.cluster_id)
        async with self._place(actor):
            told = await loading.survey(
                self.uploads.path(upload.id),
                find_postgres(cluster.version),
                most=most,
                room=row.disk_quota_bytes,
            )
        preview = await self._preview(
            actor,
            row,
            version=told["version"],
            size_bytes=upload.size_bytes,
            schemas=sorted(told["schemas"]),
            tables=[PreviewTable(schema, name, None) for schema, name in told["tables"]],
            extensions=told["extensions"],
            uses=[RoleUse(*each) for each in told["roles"]],
            warnings=plan.foreseen("the dump", tables=len(told["tables"])),
            upload_id=upload.id,
        )
        self.uploads.hold(upload, row.id, row.customer_id)
        return preview

    async def _preview(
        self,
        actor: Actor,
        row: DatabaseRow,
        *,
        extensions: Sequence[str],
        uses: Sequence[RoleUse],
        used_by: Sequence[ExtensionUse] = (),
        upload_id: uuid.UUID | None = None,
        **told: Any,
    ) -> Preview:
        async with self._store.transaction(actor) as tx:
            known = await _known_roles(tx, row, {})
            further = await _further(tx, row)
        async with self._clusters.connection(row.cluster_id) as server:
            installable = {
                each.name for each in await extensions_.every(server) if each.installable
            }
        return Preview(
            extensions=[
                PreviewExtension(
                    each,
                    each in installable,
                    [use.what for use in used_by if use.extension == each][:_MOST_USES],
                )
                for each in extensions
            ],
            roles=[
                PreviewRole(
                    role,
                    policies=counts.get("policies", 0),
                    grants=counts.get("grants", 0),
                    owns=counts.get("owns", 0),
                    login=login,
                )
                for role, counts, login in plan.uses(uses, known)
            ],
            logins=[row.username, *further],
            upload_id=upload_id,
            **told,
        )

    # ── both ─────────────────────────────────────────────────────────────────

    async def _empty(self, tx: Tx, actor: Actor, database_id: uuid.UUID) -> DatabaseRow:
        row = await self._databases.lock_active(tx, actor, database_id)
        await self._require_empty(row)
        return row

    async def _require_empty(self, row: DatabaseRow) -> None:
        cluster = await self._clusters.cluster(row.cluster_id)
        async with logins.inside(cluster.address, row.database_name, [row.username]) as guest:
            there = await leftovers.find(guest)
        if there:
            raise NotEmpty.of(row.friendly_name or row.database_name, there)

    async def _want(
        self,
        tx: Tx,
        actor: Actor,
        row: DatabaseRow,
        params: dict[str, object],
        told: dict[str, object],
    ) -> OperationRow:
        operation = await self._operations.begin(
            tx,
            actor,
            KIND,
            resource_kind="database",
            resource_id=row.id,
            customer_id=row.customer_id,
            params=params,
        )
        details = {**told, "operation_id": str(operation.id)}
        await audit.record_on(tx, actor, KIND, row, result="accepted", details=details)
        return operation


def _how(row: DatabaseRow, selection: Selection, roles: Mapping[str, str]) -> dict[str, object]:
    """What an operation keeps of a selection: how to read in what was copied or sent."""
    return {
        "jobs": selection.jobs,
        "roles": roles,
        "accept_losses": selection.accept_losses,
        "statement_seconds": statement_seconds(
            [row], selection.statement_seconds, usual=flow.STATEMENT_SECONDS
        ),
    }


async def _further(tx: Tx, row: DatabaseRow) -> dict[str, str]:
    """The database's further logins by their short names."""
    return {
        each.name: each.username
        for each in await roles_rows.of_database(tx, row.id)
        if each.status == "active"
    }


async def _known_roles(tx: Tx, row: DatabaseRow, mapped: Mapping[str, str]) -> dict[str, str]:
    """The logins that what is imported may name (see ``plan.roles``). Raises InvalidInput."""
    further = await _further(tx, row)
    known, missing = plan.roles(row.username, further, mapped)
    if missing:
        raise InvalidInput.of(
            "map_roles",
            f"names no login of this database: {', '.join(missing)}. It has "
            + ", ".join([row.username, *further]),
        )
    return known


def _check_policies(examined: Examined, known: Mapping[str, str]) -> None:
    """Raises InvalidInput if policies name roles that are not here, and none may be left out."""
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


async def _look(source: Source, addresses: list[IPAddress]) -> tuple[IPAddress, sources.Contents]:
    """What a source has, at the first of its addresses that answers."""
    for address in addresses[:-1]:
        with suppress(SourceError):
            return address, await sources.look(source, address)
    return addresses[-1], await sources.look(source, addresses[-1])


def _is_own(address: IPAddress) -> bool:
    """Whether this machine has the address: then it is also where it would connect from."""
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6  # noqa: PLR2004
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((str(address), _DISCARD))
        except OSError:
            return False
        return bool(probe.getsockname()[0] == str(address))
