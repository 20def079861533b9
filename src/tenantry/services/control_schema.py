"""The schema of the control database, and which releases work with it.

Migrations only add at first, so that the code that still runs during an upgrade, and the former
release after a rollback, work with the new schema; what that code uses is removed by a later
release (docs/decisions/0107). Which code works with a schema is recorded with it, in the comment on
the record of migrations: the schema's version, and the oldest version that code has to know.
"""

import json
import re
from contextlib import AbstractAsyncContextManager
from importlib import resources
from importlib.resources.abc import Traversable

from psycopg import AsyncConnection, sql
from psycopg.rows import TupleRow

from tenantry import __version__
from tenantry.base.errors import MachineError
from tenantry.control import jobs
from tenantry.control.store import DATABASE, MIGRATIONS
from tenantry.pg.connections import ADMIN, connect, fetch_value
from tenantry.services.clusters.fleet import Fleet
from tenantry.services.migrations import plan
from tenantry.services.migrations import service as migrations
from tenantry.services.migrations.model import Acceptance, State

# The oldest version that code has to know to work with the schema of this release. The release that
# removes what earlier code uses raises it to its own newest migration.
COMPATIBLE_FROM = 67
_COMMENTED = "SELECT obj_description(to_regclass(%s), 'pg_class')"
_DIGITS = re.compile(r"[0-9]+")


async def ensure_control_schema(fleet: Fleet) -> None:
    """Create or migrate the tables of the control database and of the job queue.

    A schema that a newer release has migrated, and that this code works with, stays as it is.
    Raises MachineError if this code does not work with it.
    """
    async with _admin(fleet) as admin:
        state = await migrations.version(admin)
        if (state.version or 0) > newest():
            await _require_works(admin, state, newest())
            return
        # A released migration file cannot be reverted here: an edited comment must not prevent the
        # start.
        await migrations.up(admin, resources.files(MIGRATIONS), accept=Acceptance(edited=True))
        await jobs.ensure_schema(admin)
        await _record(admin)


async def ensure_known(fleet: Fleet) -> None:
    """Migrate a schema that is older than this code, as ``ensure_control_schema`` does.

    For a process that starts: its code may have been replaced while the platform runs. It costs two
    queries where there is nothing to do.
    """
    async with _admin(fleet) as admin:
        state = await migrations.version(admin)
        recorded = _read(await fetch_value(admin, _COMMENTED, (plan.TABLE,)))
    if state != State(newest()) or recorded is None:
        await ensure_control_schema(fleet)


async def require_works(fleet: Fleet, known: int, *, reads_record: bool) -> None:
    """Raise MachineError unless code whose newest migration is ``known`` works with the schema.

    Releases before 0.12 do not read the record, and accept no schema that they do not know.
    """
    async with _admin(fleet) as admin:
        state = await migrations.version(admin)
        if (state.version or 0) <= known:
            return
        if not reads_record:
            raise _too_new(state, known)
        await _require_works(admin, state, known)


def newest(files: Traversable | None = None) -> int:
    """Return the version of the newest migration of a folder, of this code's by default."""
    folder = files or resources.files(MIGRATIONS)
    names = (plan.parse_name(each.name) for each in folder.iterdir())
    return max((name[0] for name in names if name is not None), default=0)


def _admin(fleet: Fleet) -> AbstractAsyncContextManager[AsyncConnection[TupleRow]]:
    return connect(fleet.control.address, user=ADMIN, dbname=DATABASE, search_path="public")


async def _require_works(admin: AsyncConnection[TupleRow], state: State, known: int) -> None:
    recorded = _read(await fetch_value(admin, _COMMENTED, (plan.TABLE,)))
    is_whole = recorded is not None and State(recorded[0]) == state
    if recorded is None or not is_whole or recorded[1] > known:
        raise _too_new(state, known)


def _too_new(state: State, known: int) -> MachineError:
    return MachineError(
        f"The control database has the schema {state.version}, which a newer release has made; "
        f"a release that knows schemas up to {known} does not work with it.",
        hint="Use that release or a newer one (docs/how-to/upgrade.md).",
    )


def _read(comment: object) -> tuple[int, int] | None:
    """Return the schema and the oldest code in a record; None if it is none."""
    try:
        found = json.loads(str(comment))
        return int(found["schema"]), int(found["works_from"])
    except (ValueError, TypeError, KeyError):
        return None


async def _record(admin: AsyncConnection[TupleRow]) -> None:
    """Record which code works with the schema that was just ensured."""
    text = json.dumps({"schema": newest(), "works_from": COMPATIBLE_FROM, "release": __version__})
    if await fetch_value(admin, _COMMENTED, (plan.TABLE,)) != text:
        await admin.execute(
            sql.SQL("COMMENT ON TABLE {} IS {}").format(
                sql.Identifier(plan.TABLE), sql.Literal(text)
            )
        )
