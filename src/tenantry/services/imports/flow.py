"""The steps of an import. Until the last one, everything it creates belongs to a visitor alone.

The visitor is a role made for this import, and a member of no other role: SQL of a hostile dump can
do in this one database what its author could do in an empty one, and can touch neither the tenant's
role nor anything else. At the end ownership passes to the owner role; before that, undoing is
dropping what the visitor owns.
"""

import asyncio
import contextlib
import json
import re
import shutil
import signal
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import structlog
from psycopg import sql

from tenantry.base.errors import Conflict
from tenantry.base.events import StepDone, emit
from tenantry.base.home import Home
from tenantry.base.settings import Settings
from tenantry.control import audit, data_apis
from tenantry.control import databases as rows
from tenantry.control.databases import DatabaseRow
from tenantry.control.store import ControlStore
from tenantry.host import files, processes
from tenantry.host.commands import CommandFailed
from tenantry.host.packages import find_postgres
from tenantry.pg import (
    api_roles,
    application_users,
    catalog,
    dump_formats,
    dumps,
    logins,
    objects,
    owned_objects,
    role_settings,
    sources,
    tenant_settings,
    visitors,
)
from tenantry.pg.long_statements import StatementTooLong, bounded
from tenantry.pg.tables import row_counts
from tenantry.services.clusters.pools import ClusterPools
from tenantry.services.imports import loading, plan
from tenantry.services.imports.loading import Place
from tenantry.services.imports.model import Examined, ImportRun
from tenantry.services.operations.model import Done, Next, Outcome
from tenantry.services.quotas.plan import RESTRICTED
from tenantry.services.roles.steps import active_roles, grant_access

log = structlog.get_logger()

_LOOK_SECONDS = 0.5
_SILENT_SECONDS = 600.0  # longer than pg_dump waits for a lock
_MOST_OBJECTS = 20_000
_MOST_REPORTED = 200
_LONGEST_REPORTED = 300
_SOURCE_BYTES = 2 * 2**30  # of memory, for all of pg_dump's processes at another's server
SPARE_BYTES = 512 * 1024 * 1024  # of the disk, left free for the others
_SAID = re.compile(r"(?:ERROR|FATAL): .*"), re.compile(r"error: .*")


class _TooLarge(Exception):
    """A dump exceeds the room for it."""


class ImportFlow:
    """The steps of an import; ``held`` are the sources of running imports, by operation."""

    def __init__(self, settings: Settings, store: ControlStore, clusters: ClusterPools) -> None:
        self._settings = settings
        self._store = store
        self._clusters = clusters
        self.held: dict[object, Examined] = {}

    def folder(self, run_id: object) -> Path:
        """Return the folder for the files of a running import."""
        return Home(self._settings.home).scratch / str(run_id)

    @property
    def uploads(self) -> Path:
        """The folder of received dumps, until their import begins."""
        return Home(self._settings.home).scratch / "uploads"

    def upload(self, upload_id: object) -> Path:
        """Return the path of a received dump."""
        return self.uploads / str(upload_id)

    # ── the steps ────────────────────────────────────────────────────────────

    async def copy(self, run: ImportRun) -> Outcome:
        """Take the uploaded dump; or dump the source from one snapshot, and count its rows."""
        folder = self.folder(run.row.id)
        upload = run.params.upload
        if upload is not None:
            files.ensure_folder(folder)
            with contextlib.suppress(FileNotFoundError):
                self.upload(upload).rename(folder / "dump")
            if not (folder / "dump").exists():
                raise _started_again()
            most = (await self._place(run)).row.disk_quota_bytes
            await asyncio.to_thread(dump_formats.unpack, folder / "dump", most)
            return Next()
        held = self.held.get(run.row.id)
        if held is None:
            raise _started_again()
        place = await self._place(run)
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
        files.ensure_folder(folder)
        try:
            with _alone():
                run.state.there = await self._copy(run, held, place, folder / "dump")
                run.state.settings = held.contents.settings
        except CommandFailed as error:
            raise held.source.refusal(_error_in(str(error))) from None
        except TimeoutError:
            raise held.source.refusal("it sent nothing for too long") from None
        except _TooLarge:
            raise _no_room(place.row) from None
        emit(StepDone("import", "copied", place.row.database_name))
        return Next()

    async def load(self, run: ImportRun) -> Outcome:
        """Load the dump into the database as the visitor."""
        place = await self._place(run)
        failure: CommandFailed | Conflict | None = None
        try:
            async with self._visitor(run, place, []) as visitor:
                await visitors.wipe(visitor, place.row.database_name)
                emit(StepDone("import", "wiped", place.row.database_name))
                try:
                    run.state.left_out = await self._load(run, place, visitor)
                    emit(StepDone("import", "loaded", place.row.database_name))
                except (CommandFailed, Conflict) as error:
                    failure = error
                    raise
        except StatementTooLong:
            raise
        except Exception:
            # An error in the cleanup, which a hostile dump can cause, must not make the load be
            # retried.
            if failure is None:
                raise
        if isinstance(failure, CommandFailed):
            raise await self._why(run, place, failure)
        if failure is not None:
            raise failure
        return Next()

    async def compare(self, run: ImportRun) -> Outcome:
        """Count the loaded rows, as the visitor with a password that the dump's SQL cannot know."""
        place = await self._place(run)
        async with (
            self._visitor(run, place, []) as visitor,
            tenant_settings.reading(
                visitor, place.row.database_name, tenant_settings.USUAL
            ) as session,
        ):
            await session.execute("SET statement_timeout = 0")
            run.state.here = await row_counts(session, imported=True)
        return Next()

    async def hand_over(self, run: ImportRun) -> Outcome:
        """Give everything to the owner role, and the additional roles their access."""
        place = await self._place(run)
        row = place.row
        async with self._visitor(run, place, [row.username]) as visitor:
            await visitors.leave(visitor, row.database_name, row.username)
            emit(StepDone("import", "given", row.database_name))
        additional = await active_roles(self._store, row)
        await grant_access(additional, place.address, row.database_name, tenant=row.username)
        await self._let_api_in(place)
        logins_ = [row.username, *(each.username for each in additional)]
        run.state.left_out += await _bring_settings(run, place, logins_)
        await self._forget(run)
        return Done(_result(run))

    async def undo(self, run: ImportRun) -> None:
        """Empty the database again, and remove what is left of the import."""
        self.held.pop(run.row.id, None)
        async with self._store.transaction(audit.PLATFORM) as tx:
            row = await rows.find(tx, run.row.resource_id, customer_id=None)
        if row is not None:
            await self._take_back(run, row)
        await self._forget(run)

    # ── parts of them ────────────────────────────────────────────────────────

    async def _place(self, run: ImportRun) -> Place:
        async with self._store.transaction(audit.PLATFORM) as tx:
            row = await rows.find(tx, run.row.resource_id, customer_id=None)
        if row is None or row.status != "active":
            raise Conflict("The database was deleted while it was imported into.")
        return await self._place_of(row)

    async def _place_of(self, row: DatabaseRow) -> Place:
        cluster = await self._clusters.cluster(row.cluster_id)
        engines = self._settings.engines_dir
        return Place(row, cluster.address, find_postgres(engines, cluster.version), engines)

    async def _let_api_in(self, place: Place) -> None:
        """Give ``service_role`` what it has in a database whose data API was enabled before."""
        row = place.row
        async with self._store.transaction(audit.PLATFORM) as tx:
            api = await data_apis.find(tx, row.id)
        if api is not None and api.status == "active":
            await logins.grant(
                place.address,
                row.database_name,
                tenant=row.username,
                role=api_roles.SERVICE,
                access="read_write",
            )

    async def _take_back(self, run: ImportRun, row: DatabaseRow) -> None:
        place = await self._place_of(row)
        async with self._clusters.connection(row.cluster_id) as server:
            is_there = await objects.database_exists(server, row.database_name)
        if is_there and row.status == "active":
            async with self._visitor(run, place, []) as visitor:
                await visitors.wipe(visitor, row.database_name)
                emit(StepDone("import", "taken_back", row.database_name))
        else:
            await visitors.drop(place.address, run.row.id.hex)

    async def _forget(self, run: ImportRun) -> None:
        self.held.pop(run.row.id, None)
        if run.params.upload is not None:
            await asyncio.to_thread(dump_formats.remove, self.upload(run.params.upload))
        folder = self.folder(run.row.id)
        # Programs of an API that was killed keep running, and one may hold the source's password.
        for pid in processes.started_on(folder):
            await processes.stop(pid, signal_number=signal.SIGKILL)
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)

    async def _copy(
        self, run: ImportRun, held: Examined, place: Place, target: Path
    ) -> dict[str, int]:
        # In the folder, since processes whose command line names it are ended with the import.
        selection = target.with_name("selection")
        files.write_atomically(selection, json.dumps(held.selection.as_json()))
        async with sources.hold(
            held.source, held.address, selection, deadline=loading.DEADLINE
        ) as snapshot:
            async with asyncio.TaskGroup() as tasks:
                watch = tasks.create_task(_watch_size(target, place.row.disk_quota_bytes))
                await dumps.dump(
                    place.engine.bindir,
                    held,
                    held.source.database,
                    target,
                    form="directory",
                    options=[
                        f"--jobs={held.selection.jobs}",
                        "--compress=1",
                        f"--snapshot={snapshot.name}",
                        "--no-owner",
                        *loading.NEVER,
                        *held.selection.options(),
                    ],
                    report=lambda done, _: run.report(
                        done / (done + max(1, held.size_bytes)), done_bytes=done
                    ),
                    deadline=loading.DEADLINE,
                    memory=_SOURCE_BYTES // (held.selection.jobs + 1),
                )
                watch.cancel()
            await snapshot.counted(within=run.params.statement_seconds)
        there = zip(snapshot.tables, snapshot.counts, strict=True)
        return {".".join(table): rows for table, rows in there}

    @asynccontextmanager
    async def _visitor(
        self, run: ImportRun, place: Place, roles: Sequence[str]
    ) -> AsyncIterator[visitors.Visitor]:
        """Create the import's role, which may create objects in the one database, for the block."""
        folder = self.folder(run.row.id)
        files.ensure_folder(folder)
        async with visitors.visitor(
            place.address, run.row.id.hex, roles, database=place.row.database_name, folder=folder
        ) as visitor:
            await _let_in(place, visitor, sql.SQL("GRANT"), sql.SQL("TO"))
            try:
                async with bounded(place.address, visitor.name, run.params.statement_seconds):
                    yield visitor
            finally:
                await _let_in(place, visitor, sql.SQL("REVOKE"), sql.SQL("FROM"))

    async def _load(self, run: ImportRun, place: Place, visitor: visitors.Visitor) -> list[str]:
        dump = self.folder(run.row.id) / "dump"
        with _alone():
            async with asyncio.TaskGroup() as tasks:
                watch = tasks.create_task(self._watch_room(place, visitor))
                left_out = await loading.load(run, place, visitor, dump)
                watch.cancel()
        run.state.objects = await self._check_room(place, visitor)
        return [sources.readable(each, _LONGEST_REPORTED) for each in left_out[:_MOST_REPORTED]]

    async def _watch_room(self, place: Place, visitor: visitors.Visitor) -> None:
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            await self._check_room(place, visitor)

    async def _check_room(self, place: Place, visitor: visitors.Visitor) -> int:
        """Return how many objects have been loaded. Raises Conflict for too many, or too large."""
        async with self._clusters.connection(place.row.cluster_id) as server:
            objects_ = await owned_objects.count(server, visitor.name)
            sizes = await catalog.sizes(server, place.row.database_names)
        if objects_ > _MOST_OBJECTS:
            raise Conflict(
                f"It has more than {_MOST_OBJECTS:,} tables, functions and other objects.",
                hint="Import it in parts, by its schemas, into several databases.",
            )
        if sum(sizes.values()) > place.row.disk_quota_bytes:
            raise _no_room(place.row)
        return objects_

    async def _why(self, run: ImportRun, place: Place, error: CommandFailed) -> Conflict:
        """Return why loading a dump failed, in words that its owner can use."""
        async with self._store.transaction(audit.PLATFORM) as tx:
            row = await rows.find(tx, place.row.id, customer_id=None)
        if row is not None and row.quota_state in RESTRICTED:
            return _no_room(row)
        said = _error_in(str(error))
        if (held := self.held.get(run.row.id)) is not None:
            said = held.source.without_password(said)
        return Conflict(
            f"PostgreSQL does not take the dump: {said}",
            hint="Nothing is left of it here. Change it at the source; or go on without what"
            " PostgreSQL does not build, by accept_losses (--accept-losses).",
        )


async def _let_in(place: Place, visitor: visitors.Visitor, give: sql.SQL, to: sql.SQL) -> None:
    """Grant or revoke the visitor's rights in the tenant's schemas ``public`` and ``auth``.

    In the latter are the functions and the users of a data API, to which what is imported refers.
    """
    row, who = place.row, sql.Identifier(visitor.name)
    async with logins.inside(place.address, row.database_name, [row.username]) as session:
        own = await api_roles.schemas_of(session, row.username)
        # The tenant may have dropped either.
        if "public" in own:
            await session.execute(
                sql.SQL("{} USAGE, CREATE ON SCHEMA public {} {}").format(give, to, who)
            )
        if "auth" in own:
            await session.execute(sql.SQL("{} USAGE ON SCHEMA auth {} {}").format(give, to, who))
            if await application_users.are_owned(session):
                await session.execute(
                    sql.SQL("{} REFERENCES ON TABLE auth.users {} {}").format(give, to, who)
                )


async def _bring_settings(run: ImportRun, place: Place, logins_: Sequence[str]) -> list[str]:
    """Apply the source's settings to all of the database's roles. Returns those that failed."""
    row = place.row
    here = await role_settings.of_login(place.address, row.username, row.database_name)
    brought, left = plan.settings(run.state.settings or {}, here)
    failed: dict[str, str] = {}
    for login in logins_:
        failed |= await role_settings.apply(place.address, login, row.database_name, brought)
    return [
        *(
            f"setting {name}: the limits of this database apply instead"
            if name in catalog.MANAGED
            else f"setting {name}, which tenants cannot bring"
            for name in left
        ),
        *(f"setting {name} ({why})" for name, why in failed.items()),
    ]


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """Raise the first error of a group of tasks instead of the group."""
    try:
        yield
    except ExceptionGroup as group:
        error: Exception = group
        while isinstance(error, ExceptionGroup):
            error = error.exceptions[0]
        raise error from None


async def _watch_size(target: Path, most: int) -> None:
    """Watch a dump until cancelled.

    Raises _TooLarge once it takes more than ``most`` bytes or the disk is nearly full, TimeoutError
    if it does not grow for 10 minutes.
    """
    clock = asyncio.get_running_loop().time
    size, since = 0, clock()
    while True:
        await asyncio.sleep(_LOOK_SECONDS)
        before, size = size, dumps.size_of(target)
        if size > most or files.free_bytes(target.parent) < SPARE_BYTES:
            raise _TooLarge
        if size != before:
            since = clock()
        if clock() - since > _SILENT_SECONDS:
            raise TimeoutError(f"nothing came for {_SILENT_SECONDS:.0f} s")


def _result(run: ImportRun) -> dict[str, object]:
    here, there = run.state.here, run.state.there
    reported: dict[str, object] = {
        "tables": [
            {"name": name, "rows": rows_, "source_rows": None if there is None else there.get(name)}
            for name, rows_ in here.items()
        ],
        "rows": sum(here.values()),
        "left_out": run.state.left_out,
        "warnings": plan.warnings(
            run.params.source or "the dump", tables=len(here), objects=run.state.objects
        ),
    }
    if there is not None:
        reported["differences"] = plan.differences(there, here)
    return reported


def _error_in(said: str) -> str:
    """Return the error in a program's output without the noise, preferably the server's own."""
    for pattern in _SAID:
        if (found := pattern.search(said)) is not None:
            return sources.readable(found[0])
    return sources.readable(said)


def _no_room(row: DatabaseRow) -> Conflict:
    return Conflict(
        f"It does not fit into the disk quota of {row.disk_quota_bytes:,} bytes,"
        " or the server's disk is nearly full.",
        hint="Raise the database's disk_quota_bytes, or leave tables out.",
    )


def _started_again() -> Conflict:
    return Conflict(
        "Tenantry was started again meanwhile, and keeps no connection string and no upload.",
        hint="Nothing is left of the import. Send it again.",
    )
