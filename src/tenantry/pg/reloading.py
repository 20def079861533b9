"""Load a dump into an empty database so that whatever worked in the original works there.

PostgreSQL is stricter with a load than with a database that runs. It resolves names with another
search path, checks all rows against constraints that saw each of them once, and computes again what
was computed with the functions and rows of that time. So here each session has the tenant's own
search path, and what fails is tried again, by itself, in ways that need less:

- after the others, since it may need what was not there yet;
- with the schemas that are not on the path at its end;
- without the checks, which are restored NOT VALID unless all rows satisfy them;
- with functions taken for IMMUTABLE, which they were when they were used;
- a partition as a table of its own, a generated column as an ordinary one.

What was loaded in another form is reported as ``changed``, what cannot be built as ``lost``, with
PostgreSQL's reason. All of it is done as a visitor, with the rights of one tenant.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

import psycopg
from psycopg import AsyncConnection, sql
from psycopg.rows import TupleRow

from tenantry.pg import archives, constraints, loosening, preloading, visitors
from tenantry.pg.archives import Archive, Item, Section
from tenantry.pg.connections import ADMIN
from tenantry.pg.constraints import Constraint, SetAside
from tenantry.pg.sources import readable
from tenantry.pg.tenant_settings import Settings, with_all_schemas
from tenantry.pg.visitors import Visitor

Connection = AsyncConnection[TupleRow]
ReportProgress = Callable[[int, int | None], Awaitable[None]]

DEADLINE = 12 * 3600.0
_LONGEST_REASON = 300
_MOST_REPORTED = 200
_MOST_NAMED = 5
_AS_DUMPED = {"search_path": "pg_catalog"}
# Classes of errors of the server or the session, which say nothing about what is loaded.
_CLASSES_OF_THE_SERVER = {"08", "40", "53", "57", "58"}
_OF_THE_SERVER = {"25006", "55P03"}  # read only, lock not available
_THERE_ALREADY = (
    psycopg.errors.DuplicateTable,
    psycopg.errors.DuplicateObject,
    psycopg.errors.DuplicateFunction,
    psycopg.errors.DuplicateSchema,
)
_VALIDATABLE = ("FK CONSTRAINT", "CHECK CONSTRAINT")


@dataclass(frozen=True, slots=True)
class Remark:
    """An object that was changed or lost, as ``pg_restore --list`` names it, and the reason."""

    object: str
    reason: str


@dataclass(slots=True)
class Reloaded:
    """The objects of a dump that were loaded in another form, or not at all."""

    changed: list[Remark] = field(default_factory=list)
    lost: list[Remark] = field(default_factory=list)

    def change(self, what: object, reason: str) -> None:
        """Note an object that was loaded in another form."""
        self.changed.append(Remark(str(what), readable(reason, _LONGEST_REASON)))

    def lose(self, what: object, reason: str) -> None:
        """Note an object that could not be loaded."""
        self.lost.append(Remark(str(what), readable(reason, _LONGEST_REASON)))

    def as_json(self) -> dict[str, list[dict[str, str]]]:
        """Return the same as JSON; of very many the first."""
        return {
            name: [asdict(each) for each in remarks[:_MOST_REPORTED]]
            for name, remarks in (("changed", self.changed), ("lost", self.lost))
        }


def named(lost: Sequence[Mapping[str, str]]) -> str:
    """Return the first of the lost objects (of ``Reloaded.as_json``) with reasons, as text."""
    words = [f"{each['object']} ({each['reason']})" for each in lost[:_MOST_NAMED]]
    more = len(lost) - _MOST_NAMED
    return "; ".join([*words, *([f"and {more} more"] if more > 0 else [])])


async def load(
    bindir: Path,
    visitor: Visitor,
    database: str,
    source: Path,
    *,
    settings: Settings,
    contents: Sequence[str] | None = None,
    jobs: int = 1,
    options: Sequence[str] = (),
    report: ReportProgress | None = None,
    deadline: float = DEADLINE,
) -> Reloaded:
    """Load a dump (not a script) into an empty database.

    ``source`` is written to (see ``archives.keep_search_path``). ``contents`` are the lines of its
    list to read, or all; ``settings`` those of the tenant's sessions. ``report`` is called about
    twice a second with the number of items done, and of all.

    Raises CommandFailed if pg_restore fails, or if the server cannot continue; psycopg.Error if
    that ends a session.
    """
    if contents is None:
        contents = await archives.contents(bindir, source)
    contents = [line for line in contents if not is_platforms(Item.of(line))]
    archives.keep_search_path(source)
    archive = Archive(bindir, source, visitor, database, options, deadline)
    loading = _Loading(archive, [Item.of(line) for line in contents], settings, jobs, report)
    await loading.definitions("pre-data", _AS_DUMPED)
    await loading.rows()
    await loading.definitions("post-data", settings)
    await loading.finish()
    return loading.done


def is_platforms(item: Item) -> bool:
    """Whether an item is no part of the tenant's data: what goes with a preloaded extension.

    The extension itself is an item to load: without it on the target, it is reported as lost. With
    it, nothing is done, and its schema, rights and comment are there.
    """
    if item.kind == "COMMENT":
        return item.name.removeprefix("- EXTENSION ") in preloading.ALLOWED
    # A tenant may have a schema of that name: then it is the owner.
    return item.line.endswith(f" {ADMIN}") and (
        (item.kind == "SCHEMA" and item.name == f"- {preloading.SCHEMA}")
        or (item.kind == "ACL" and item.name == f"- SCHEMA {preloading.SCHEMA}")
        or (item.kind == "ACL" and item.name.startswith(f"{preloading.SCHEMA} "))
    )


class _Loading:
    """One load: the items that failed, and how each ended."""

    def __init__(
        self,
        archive: Archive,
        items: Sequence[Item],
        settings: Settings,
        jobs: int,
        report: ReportProgress | None,
    ) -> None:
        self.done = Reloaded()
        self._archive = archive
        self._items = items
        self._settings = settings
        self._jobs = jobs
        self._report = report
        self._count = 0
        self._aside = SetAside()
        self._not_valid: set[Constraint] = set()  # those that were valid in the original

    async def _all(self, section: Section, settings: Settings) -> list[Item]:
        """Read the items of a section. Returns those that failed."""

        def count() -> None:
            self._count += 1

        async def report() -> None:
            if self._report is not None:
                await self._report(min(self._count, len(self._items)), len(self._items))

        failed = await self._archive.load(
            section, self._items, settings, jobs=self._jobs, heard=count, while_running=report
        )
        return [each for each in self._items if each.number in failed]

    @asynccontextmanager
    async def _sessions(self) -> AsyncIterator[tuple[Connection, Connection]]:
        """Open a session that resolves names in pg_catalog, and one with the tenant's settings."""
        visitor, database = self._archive.visitor, self._archive.database
        async with (
            visitors.connect_as(visitor, database) as plain,
            visitors.connect_as(
                visitor, database, await with_all_schemas(plain, self._settings)
            ) as tenant,
        ):
            for session in (plain, tenant):
                await session.execute(
                    "SELECT pg_catalog.set_config('statement_timeout', '0', false)"
                )
            yield plain, tenant

    # ── definitions ──────────────────────────────────────────────────────────

    async def definitions(self, section: Section, settings: Settings) -> None:
        """Load the definitions before or after the rows."""
        failed = await self._all(section, settings)
        if not failed:
            return
        scripts = {each: await self._archive.statements(each) for each in failed}
        async with self._sessions() as (plain, tenant):

            async def again(item: Item) -> str | None:
                return _reason(await _execute(tenant, scripts[item]))

            async def otherwise(item: Item) -> str | None:
                return _reason(await self._otherwise(plain, tenant, item, scripts[item]))

            left = await _retry(failed, again)
            left = await _retry(left, otherwise)
        for item, reason in left.items():
            self.done.lose(item, reason)

    async def _otherwise(
        self, plain: Connection, tenant: Connection, item: Item, statements: str
    ) -> psycopg.Error | None:
        """Create an item, in another way if needed. Returns the error if it cannot be created."""
        error = await _execute(tenant, statements)
        if error is None:
            return None
        if item.kind.startswith(_VALIDATABLE):
            before = await constraints.not_valid(plain)
            head, end, rest = statements.rpartition(";")
            if await _execute(tenant, f"{head} NOT VALID{end}{rest}") is None:
                self._not_valid |= await constraints.not_valid(plain) - before
                return None
        if not loosening.helps(error, version=tenant.info.server_version):
            return error
        try:
            await loosening.execute_as_once(plain, tenant, statements)
        except psycopg.Error as other:
            _require_server(tenant, other)
            return error
        return None

    # ── rows ─────────────────────────────────────────────────────────────────

    async def rows(self) -> None:
        """Load the rows of all tables, and all other data."""
        failed = await self._all("data", self._settings)
        if not failed:
            return
        async with self._sessions() as (plain, _):
            settings = await with_all_schemas(plain, self._settings)

            async def again(item: Item) -> str | None:
                return (await self._archive.load("data", [item], settings)).get(item.number)

            async def with_less(item: Item) -> str | None:
                while (reason := await again(item)) is not None:
                    try:
                        lost = await loosening.loosen(plain, item, reason)
                    except psycopg.Error as error:
                        _require_server(plain, error)
                        break
                    if lost is None:
                        break
                    self.done.lose(*lost)
                return reason

            left = await _retry(failed, again)
            if left:
                await self._aside.drop_of_tables(plain)
                left = await _retry(left, again)
            if left:
                await self._aside.drop_of_domains(plain, [each.name for each in left])
                left = await _retry(left, again)
            left = await _retry(left, with_less)
        for item, reason in left.items():
            self.done.lose(item, reason)

    # ── the end ──────────────────────────────────────────────────────────────

    async def finish(self) -> None:
        """Restore the checks that were dropped, and collect statistics, which a dump lacks."""
        async with self._sessions() as (plain, tenant):

            def lose(what: object, error: psycopg.Error) -> None:
                self.done.lose(what, _reason(error) or "")

            def change(what: object, error: psycopg.Error) -> None:
                self.done.change(what, f"It is NOT VALID: {_reason(error)}")

            self._not_valid |= await self._aside.put_back(plain, lose)
            await constraints.validate(tenant, self._not_valid, change)
            await _analyze(plain, tenant)


async def _retry(
    items: Iterable[Item], act: Callable[[Item], Awaitable[str | None]]
) -> dict[Item, str]:
    """Repeat an action on the failed items as long as more succeed. Returns the others' reasons."""
    left = list(items)
    while True:
        reasons = {item: reason for item in left if (reason := await act(item)) is not None}
        if not reasons or len(reasons) == len(left):
            return reasons
        left = list(reasons)


async def _execute(session: Connection, statements: str) -> psycopg.Error | None:
    """Run statements in one transaction. Returns the error if they are at fault."""
    try:
        # Several statements cannot be prepared, as psycopg does with repeated ones.
        await session.execute(statements.encode(), prepare=False)
    except _THERE_ALREADY:
        return None  # its owner did not exist yet, or had no rights
    except psycopg.Error as error:
        _require_server(session, error)
        return error
    return None


def _require_server(session: Connection, error: psycopg.Error) -> None:
    """Raise CommandFailed if an error is the server's and says nothing about what is loaded."""
    code = error.sqlstate
    if (
        session.broken
        or code is None
        or code[:2] in _CLASSES_OF_THE_SERVER
        or code in _OF_THE_SERVER
    ):
        raise archives.stopped(str(error)) from error


def _reason(error: psycopg.Error | None) -> str | None:
    return None if error is None else error.diag.message_primary or str(error)


async def _analyze(plain: Connection, tenant: Connection) -> None:
    """Collect statistics of all tables, except those whose indexes call functions that fail."""
    if await _execute(tenant, "ANALYZE") is None:
        return
    cursor = await plain.execute(
        """
        SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE c.relkind IN ('r', 'm', 'p') AND pg_has_role(c.relowner, 'USAGE')
        """
    )
    for schema, name in await cursor.fetchall():
        statement = sql.SQL("ANALYZE {}").format(sql.Identifier(schema, name))
        await _execute(tenant, statement.as_string())
