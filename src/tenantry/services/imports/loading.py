"""Loading a dump into a database as a visitor, and what is left out of it."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from tenantry.base.errors import Conflict
from tenantry.control.databases import DatabaseRow
from tenantry.host import children
from tenantry.host.commands import CommandFailed
from tenantry.host.packages import PostgresEngine
from tenantry.pg import (
    archives,
    dump_formats,
    dumps,
    extensions,
    reloading,
    script_survey,
    sources,
    tenant_settings,
    visitors,
)
from tenantry.pg.connections import Address
from tenantry.services.imports import plan
from tenantry.services.imports.model import ImportRun, WouldLose
from tenantry.services.imports.plan import Offered

DEADLINE = 12 * 3600.0  # seconds
_SURVEY_SECONDS = 900.0
# These belong to the platform, or to the machine that the dump is from.
NEVER = ("--no-security-labels", "--no-tablespaces")
_AS_OURS = ("--no-owner", *NEVER)
# Loaded statement by statement afterwards (``_load_archive``), or never.
_NOT_BY_PG_RESTORE = ("--no-acl", "--no-publications", "--no-subscriptions")


@dataclass(frozen=True, slots=True)
class Place:
    """A database to import into, its cluster's address, and the cluster's programs.

    Those of other releases may be in ``engines_dir``.
    """

    row: DatabaseRow
    address: Address
    engine: PostgresEngine
    engines_dir: Path


async def load(
    run: ImportRun, place: Place, visitor: visitors.Visitor, dump: Path
) -> Sequence[str]:
    """Load a dump into a database. Returns what was left out.

    Afterwards the run's state has the settings of the dump for its database, unless it has those of
    a source already.

    Raises CommandFailed with the message of the server or of pg_restore; Conflict if the dump is
    not supported; WouldLose.
    """
    head = await asyncio.to_thread(dump_formats.head_of, dump)
    if dump_formats.form_of(head) == "script":
        return await _load_whole_script(run, place, visitor, dump)
    header = dump_formats.header_of(head)
    engine = place.engine  # whose pg_restore reports what is wrong if there is no header
    if header is not None:
        engine = dump_formats.reader(header, place.engine.version, place.engines_dir)
    if engine.version == place.engine.version:
        return await _load_archive(run, place, visitor, dump)
    # A newer pg_restore sends commands that an older server does not know; in its script they can
    # be left out.
    script = dump.with_name("script")
    await dumps.as_script(engine.bindir, dump, script, options=[*_AS_OURS, "--create"])
    return await _load_whole_script(run, place, visitor, script)


async def survey(
    dump: Path, engine: PostgresEngine, engines_dir: Path, *, most: int, room: int
) -> dict[str, Any]:
    """Unpack a dump, to at most ``most`` bytes, and return its contents (see ``script_survey``).

    ``engine`` is that of the target's cluster, ``room`` how many bytes the database may take.
    Raises Conflict if the dump is not supported, NewerDump.
    """
    await asyncio.to_thread(dump_formats.unpack, dump, most)
    head = await asyncio.to_thread(dump_formats.head_of, dump)
    script = dump
    try:
        if dump_formats.form_of(head) != "script":
            if (header := dump_formats.header_of(head)) is not None:
                engine = dump_formats.reader(header, engine.version, engines_dir)
            script = dump.with_name(f"{dump.name}.script")
            await dumps.as_script(engine.bindir, dump, script, options=["--schema-only"])
        reported = await children.run(
            script_survey, script, str(room), env={}, deadline=_SURVEY_SECONDS
        )
    except CommandFailed as error:
        raise Conflict(f"The dump cannot be read: {sources.readable(str(error))}") from None
    finally:
        if script != dump:
            script.unlink(missing_ok=True)
    if "refused" in reported:
        raise Conflict(reported["refused"], hint=reported["hint"])
    return reported


async def _load_archive(
    run: ImportRun, place: Place, visitor: visitors.Visitor, dump: Path
) -> Sequence[str]:
    bindir, database = place.engine.bindir, place.row.database_name
    not_set = await _read_settings(run, place, visitor, dump)
    async with visitors.connect_as(visitor, database) as session:
        every = await extensions.every(session)
        brought, _ = plan.settings(run.state.settings or {}, {})
        deciding = await _usable(session, tenant_settings.deciding(brought))
    chosen = plan.choose(
        await archives.contents(bindir, dump),
        [Offered(each.name, each.installable) for each in every],
        place.engine.version,
    )
    loaded = await reloading.load(
        bindir,
        visitor,
        database,
        dump,
        settings={**tenant_settings.USUAL} | deciding,
        contents=chosen.restored,
        jobs=1 if await asyncio.to_thread(dump_formats.is_tar, dump) else run.params.jobs,
        options=[*_AS_OURS, *_NOT_BY_PG_RESTORE],
        report=lambda done, items: run.report(done / max(1, items or 1)),
        deadline=DEADLINE,
    )
    gone: list[reloading.Remark] = []
    if chosen.lacks_extensions:
        gone, loaded.lost = plan.dispensable(loaded.lost)
    if loaded.lost and not run.params.accept_losses:
        raise WouldLose.of(loaded.as_json()["lost"])
    exceptions = [*gone, *loaded.changed, *loaded.lost]
    left_out = [
        *not_set,
        *chosen.left_out,
        *(f"{each.object}: {each.reason}" for each in exceptions),
    ]
    if not chosen.one_by_one:
        return left_out
    script = dump.with_name("script")
    options = [archives.only(dump.with_name("contents"), chosen.one_by_one), *_AS_OURS]
    await dumps.as_script(bindir, dump, script, options=options)
    loaded_script = await _load_script(run, place, visitor, script)
    return [*left_out, *loaded_script.left_out]


async def _read_settings(
    run: ImportRun, place: Place, visitor: visitors.Visitor, dump: Path
) -> Sequence[str]:
    """Read the settings of an archive for its database into the run's state, unless it has some.

    Returns the settings that the database cannot have.
    """
    if run.state.settings is not None:
        return []
    script = dump.with_name("settings")
    nothing_else = archives.only(dump.with_name("contents"), [])
    await dumps.as_script(
        place.engine.bindir, dump, script, options=[nothing_else, "--create", *_AS_OURS]
    )
    return await _load_whole_script(run, place, visitor, script)


async def _usable(
    session: AsyncConnection[TupleRow], settings: tenant_settings.Settings
) -> dict[str, str]:
    """Return the settings that a session here accepts: the server may lack a locale of theirs."""
    usable = {}
    for name, value in settings.items():
        with suppress(psycopg.Error):
            await session.execute(
                "SELECT pg_catalog.set_config(%s, %s, false)", (name, value), prepare=False
            )
            usable[name] = value
    return usable


async def _load_whole_script(
    run: ImportRun, place: Place, visitor: visitors.Visitor, script: Path
) -> Sequence[str]:
    loaded = await _load_script(run, place, visitor, script)
    if run.state.settings is None:
        run.state.settings = loaded.settings
    return loaded.left_out


async def _load_script(
    run: ImportRun, place: Place, visitor: visitors.Visitor, script: Path
) -> dumps.LoadedScript:
    return await dumps.load_script(
        visitor,
        place.row.database_name,
        script,
        room=place.row.disk_quota_bytes,
        roles=run.params.roles,
        accepts_losses=run.params.accept_losses,
        report=lambda done, size: run.report(
            done / max(1, size or 1), done_bytes=done, total_bytes=size
        ),
        deadline=DEADLINE,
    )
