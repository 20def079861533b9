"""The verbs of importing: look at a source, then have it copied; or take in a dump.

A source's connection string is kept in this process's memory only, for as long as its import
runs. So the API carries imports out itself (docs/decisions/0022).
"""

import asyncio
import datetime as dt
import hashlib
import shutil
import socket
import uuid
import zlib
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import replace
from typing import BinaryIO

from tenantry.base.errors import Conflict, Forbidden, InvalidInput, TooManyRequests
from tenantry.base.ids import new_id
from tenantry.base.settings import Settings
from tenantry.base.sizes import readable
from tenantry.control import audit, plans
from tenantry.control.audit import Actor
from tenantry.control.databases import DatabaseRow
from tenantry.control.operations import OperationRow
from tenantry.control.store import ControlStore, Tx
from tenantry.host import files
from tenantry.pg import extensions, logins, sources
from tenantry.pg.connections import fetch_value
from tenantry.pg.script_loading import ARCHIVE, GZIP
from tenantry.pg.sources import IPAddress, Source, SourceError
from tenantry.services.clusters.service import ClusterPools
from tenantry.services.databases.model import NewDatabase
from tenantry.services.databases.service import Databases
from tenantry.services.imports import flow, plan
from tenantry.services.imports.model import KIND, Examined, Upload
from tenantry.services.imports.plan import Offered, Selection
from tenantry.services.operations.model import Flow, Step
from tenantry.services.operations.service import Operations

_EXAMINED_AT_ONCE = 2
_ADDRESSES_TRIED = 3
_OLDEST = 9_02_00  # as pg_dump's manual says
_FIRST = 512  # bytes, of which a format is known
_DISCARD = 9  # the UDP port that nothing is sent to

_TABLES_THERE = """
    SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND c.relpersistence <> 't'
      AND n.nspname NOT IN ('pg_catalog', 'information_schema')
      AND NOT starts_with(n.nspname, 'pg_toast')
      AND NOT EXISTS (
          SELECT FROM pg_depend d
          WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
"""


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
        self._clusters = clusters
        self._databases = databases
        self._operations = operations
        self._steps = flow.Steps(settings, store, clusters)
        self._examined = 0
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
                deadline=dt.timedelta(seconds=flow.DEADLINE),
                part="api",
            )
        )

    # ── from another server ──────────────────────────────────────────────────

    async def examine(self, actor: Actor, source: Source, selection: Selection) -> Examined:
        """Connect to a source, and see whether it can be imported.

        Raises SourceError, Forbidden, InvalidInput, TooManyRequests.
        """
        if self._examined >= _EXAMINED_AT_ONCE:
            raise TooManyRequests("Other sources are just being looked at.", seconds=5)
        self._examined += 1
        try:
            addresses = await self._allowed(actor, source)
            address, contents = await _look(source, addresses)
        finally:
            self._examined -= 1
        examined = Examined(source, address, contents, selection)
        await self._check(examined)
        return examined

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
                Offered(each.name, each.installable) for each in await extensions.every(server)
            ]
        if problems := plan.extension_problems(contents.extensions, offered):
            raise InvalidInput.of(
                "from",
                "uses extensions that cannot be here: "
                + sources.readable("; ".join(problems))
                + ". GET /api/databases/{id}/extensions lists what there is",
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

        Raises NotFound, Conflict (not empty, over the quota, or busy), NotEnoughDisk.
        """
        row = await self._empty(tx, actor, database_id)
        self.check_room(examined.size_bytes, quota=row.disk_quota_bytes, used=row.used_bytes or 0)
        source = examined.source
        told: dict[str, object] = {"host": source.host, "database": source.database}
        asked = {**told, "jobs": examined.selection.jobs}
        operation = await self._want(tx, actor, row, asked, told)
        self._steps.held[operation.id] = examined
        return operation

    # ── from a dump ──────────────────────────────────────────────────────────

    async def check_target(
        self, tx: Tx, actor: Actor, database_id: uuid.UUID, *, empty: bool = True
    ) -> int:
        """How many bytes a dump for this database may have; if ``empty``, it has to be that.

        Raises NotFound, Conflict.
        """
        if empty:
            row = await self._empty(tx, actor, database_id)
        else:
            row = await self._databases.lock_active(tx, actor, database_id)
        free = files.free_bytes(self._settings.home) - flow.SPARE_BYTES
        return max(0, min(row.disk_quota_bytes, free // 2))

    async def take_in(self, chunks: AsyncIterator[bytes], *, most: int) -> Upload:
        """Keep a dump in a file. Raises InvalidInput if it is none, Conflict if it is too large."""
        upload = new_id()
        path = self._steps.upload(upload)
        files.ensure_folder(path.parent)
        try:
            with path.open("xb") as file:
                path.chmod(0o600)
                size, digest = await _receive(chunks, file, most=most)
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        return Upload(upload, size, digest)

    async def begin_upload(
        self, tx: Tx, actor: Actor, database_id: uuid.UUID, upload: Upload, *, jobs: int
    ) -> OperationRow:
        """Have an uploaded dump read into an empty database. Raises NotFound, Conflict."""
        row = await self._empty(tx, actor, database_id)
        told: dict[str, object] = {"upload_bytes": upload.size_bytes}
        return await self._want(tx, actor, row, {"upload": str(upload.id), "jobs": jobs}, told)

    def discard(self, upload: Upload) -> None:
        """Remove a dump that was not begun with."""
        self._steps.upload(upload.id).unlink(missing_ok=True)

    def forget_uploads(self) -> None:
        """For the only API, before it begins: nobody goes on with what another had taken in."""
        shutil.rmtree(self._steps.uploads, ignore_errors=True)

    # ── both ─────────────────────────────────────────────────────────────────

    async def _empty(self, tx: Tx, actor: Actor, database_id: uuid.UUID) -> DatabaseRow:
        row = await self._databases.lock_active(tx, actor, database_id)
        cluster = await self._clusters.cluster(row.cluster_id)
        async with logins.inside(cluster.address, row.database_name, [row.username]) as guest:
            tables = int(str(await fetch_value(guest, _TABLES_THERE)))
        if tables:
            raise Conflict(
                f"{row.database_name} has {tables:,} tables and views already;"
                " a database is imported into an empty one only.",
                hint="Create another one, and import into that.",
            )
        return row

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
        await audit.record(
            tx,
            actor if actor.customer_id else replace(actor, customer_id=row.customer_id),
            KIND,
            resource_kind="database",
            resource_id=row.id,
            resource_name=row.database_name,
            details={**told, "operation_id": str(operation.id)},
        )
        return operation


async def _receive(chunks: AsyncIterator[bytes], file: BinaryIO, *, most: int) -> tuple[int, bytes]:
    """Write a dump to a file. Returns its size and its SHA-256. Raises as ``take_in``."""
    size, digest, first = 0, hashlib.sha256(), b""
    async for chunk in chunks:
        size += len(chunk)
        digest.update(chunk)
        if size > most:
            raise Conflict(
                f"The dump is larger than the {most:,} bytes that there is room for.",
                hint="Raise disk_quota_bytes, or leave tables out.",
            )
        if len(first) < _FIRST:
            first = (first + chunk)[:_FIRST]
            if len(first) == _FIRST:
                _require_dump(first)
        await asyncio.to_thread(file.write, chunk)
    _require_dump(first)
    return size, digest.digest()


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


def _require_dump(first: bytes) -> None:
    """Raises InvalidInput if what begins so can be neither of the dumps that are taken."""
    if first.startswith(ARCHIVE):
        return
    what = "is neither a dump in PostgreSQL's custom format nor SQL"
    text = first
    if first.startswith(GZIP):
        what = "is compressed by gzip, but not SQL, or damaged"
        try:
            text = zlib.decompressobj(wbits=31).decompress(first, _FIRST)
        except zlib.error:
            text = b""
    elif first[257:262] == b"ustar":
        what = "is a dump in tar format; make one with pg_dump --format=custom"
    elif first.startswith((b"\xff\xfe", b"\xfe\xff")):
        what = "is UTF-16, as PowerShell's > writes it; make it with pg_dump --file=…"
    if b"\0" in text or not text.strip():
        raise InvalidInput.of("body", what, code="not_a_dump")
