"""Which backups a recovery begins with, and what two clusters of two moments make of it. Pure."""

import datetime as dt
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from tenantry.base.errors import MachineError
from tenantry.control.databases import DatabaseRow
from tenantry.pg.archiving import SEGMENT_BYTES
from tenantry.pg.pgbackrest import Backup, Contents
from tenantry.services.databases.plan import strangers
from tenantry.services.recovery.model import Differences
from tenantry.services.repository.plan import number
from tenantry.services.side_instances.model import OutsideWindow
from tenantry.services.side_instances.plan import reachable_from

_SEGMENTS_A_LOG = 2**32 // SEGMENT_BYTES
_NAME = 24  # letters of a segment's name: timeline, log, segment


def candidates(contents: Contents, to: dt.datetime | None) -> list[Backup]:
    """The backups from which ``to`` (None: the end of the log) can be reached, the best first.

    Raises MachineError if there is no backup, OutsideWindow if all of them are later.
    """
    usable = [backup for backup in contents.backups if not backup.damaged]
    if not usable:
        raise MachineError(
            f"The repository holds no backup of {contents.stanza}.",
            hint="Without one, nothing can be brought back. Is it the right repository?",
        )
    earlier = [each for each in usable if to is None or reachable_from(each) <= to]
    if not earlier:
        first = min(map(reachable_from, usable))
        raise OutsideWindow(
            f"The oldest backup of {contents.stanza} ends after that moment.",
            hint=f"The first one that can be restored is {first:%F %T} UTC.",
        )
    return sorted(earlier, key=lambda each: each.stopped, reverse=True)


def unread(last_segment: str | None, history: str) -> str | None:
    """The last segment of the log that a recovery could not use, if it ended before that one.

    ``history`` is the file in which PostgreSQL has written where the new timeline begins
    (manual, section 26.3.6): the timeline before it, and how far it went.
    """
    lines = [line.split("\t") for line in history.splitlines() if line and line[0].isdigit()]
    if last_segment is None or not lines:
        return None
    timeline, end = int(lines[-1][0]), lines[-1][1]
    log, _, offset = end.partition("/")
    reached = int(log, 16) * _SEGMENTS_A_LOG + int(offset, 16) // SEGMENT_BYTES
    name = last_segment[:_NAME]
    there = number(name, _SEGMENTS_A_LOG)
    return name if int(name[:8], 16) == timeline and there > reached else None


@dataclass(frozen=True, slots=True)
class Reconciliation:
    """What to do so that neither side loses anything, and what to tell.

    ``forget`` are rows of databases that wait for an owner and have one already; ``discard``
    are those that nobody has been given.
    """

    forget: list[DatabaseRow]
    discard: list[DatabaseRow]
    missing: list[DatabaseRow]
    differences: Differences


def reconcile(
    rows: Iterable[DatabaseRow],
    databases: Collection[str],
    with_password: Collection[str],
    beside: Collection[str] = (),
) -> Reconciliation:
    """Compare the rows with the databases that are there, and the roles that have a password.

    ``beside`` are databases that are known and of which there is no row: what was replaced.

    If the control database is the older, a database that it has waiting for an owner may have
    been given away: to give it away again would show somebody's data to a stranger. One that
    nobody can log in to was never given away, or its owner has deleted it; a new one is safer.
    """
    wanted = list(rows)
    waiting = [row for row in wanted if row.status in {"creating", "warm"}]
    owned = [row for row in wanted if row.status == "active"]
    forget = [row for row in waiting if row.username in with_password]
    missing = [row for row in owned if row.database_name not in databases]
    return Reconciliation(
        forget=forget,
        discard=[row for row in waiting if row.username not in with_password],
        missing=missing,
        differences=Differences(
            missing=sorted(row.database_name for row in missing),
            strangers=strangers([row for row in wanted if row not in forget], databases, beside),
            closed=sorted(
                row.database_name
                for row in owned
                if row.database_name in databases and row.username not in with_password
            ),
        ),
    )
