"""The choice of backups for a recovery, and the reconciliation of its result. Pure."""

import datetime as dt
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from tenantry.base.errors import MachineError
from tenantry.control.databases import DatabaseRow
from tenantry.pg import timelines
from tenantry.pg.archiving import SEGMENT_BYTES
from tenantry.pg.catalog import Login
from tenantry.pg.pgbackrest_output import Backup, Contents
from tenantry.services.cluster_restores.model import Differences, Reached
from tenantry.services.databases.plan import unmanaged
from tenantry.services.repository.plan import reaching
from tenantry.services.side_clusters.model import OutsideWindow

_NAME = 24  # letters of a segment's name: timeline, log, segment


def candidates(contents: Contents, to: dt.datetime | None) -> list[Backup]:
    """Return the backups from which ``to`` (None: the log's end) can be reached, the best first.

    Raises MachineError if there is no backup, OutsideWindow if all of them are later.
    """
    usable = reaching(contents.backups, None)
    if not usable:
        raise MachineError(
            f"The repository holds no backup of {contents.stanza}.",
            hint="Without one, nothing can be brought back. Is it the right repository?",
        )
    found = reaching(usable, to)
    if not found:
        first = min(each.reachable_from for each in usable)
        raise OutsideWindow(
            f"The oldest backup of {contents.stanza} ends after that moment.",
            hint=f"The first one that can be restored is {first:%F %T} UTC.",
        )
    return found


def unread(last_segment: str | None, history: str) -> str | None:
    """Return the last segment of the log if the recovery ended before it; else None.

    ``history`` is the content of the new timeline's history file (manual, section 26.3.6), which
    says at which segment it left its parent timeline.
    """
    left_at = timelines.forks(history)
    if last_segment is None or not left_at:
        return None
    parent = max(left_at)
    name = last_segment[:_NAME]
    end = timelines.segment_of(left_at[parent], SEGMENT_BYTES)
    return name if int(name[:8], 16) == parent and name[8:] > end else None


@dataclass(frozen=True, slots=True)
class Reconciliation:
    """What to change so that neither side loses anything, and the differences to report.

    ``forget`` are rows of databases that wait for an owner but have one already; ``discard`` are
    rows of databases that were never given to an owner.
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
    """Compare the rows with the existing databases and the roles that have a password.

    ``beside`` are known databases without a row: retained ones.

    If the control database is the older one, a database that waits for an owner in it may have got
    one since: to give it away again would show its data to another customer. One that nobody can
    log in to never had an owner, or its owner has deleted it; a new one is safer.
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
            unmanaged=unmanaged([row for row in wanted if row not in forget], databases, beside),
            closed=sorted(
                row.database_name
                for row in owned
                if row.database_name in databases and row.username not in with_password
            ),
        ),
    )


@dataclass(frozen=True, slots=True)
class Logins:
    """The changes to the logins of a restored cluster, and the names of those that are locked."""

    changes: dict[str, Login]
    locked: list[str]


def agree(
    then: Mapping[str, Login],
    now: Mapping[str, Login] | None,
    *,
    known: Collection[str],
    rotated: Collection[str],
) -> Logins:
    """Return the changes that keep passwords invalid that were valid ``then`` and are not ``now``.

    ``now`` are the logins of the cluster that is replaced: each role gets its current one, so that
    passwords that were changed since stay valid, too. If it could not be read (None), every login
    is locked that the control database does not know any more, or knows to have been ``rotated``
    since.
    """
    changes: dict[str, Login] = {}
    for name, login in then.items():
        if now is None:
            current = None if name in rotated or name not in known else login
        else:
            current = now.get(name)
        if current is None:
            current = Login(can_login=False, max_connections=0, verifier=None)
        if current != login and (login.opens or current.opens):
            changes[name] = current
    locked = [name for name, login in changes.items() if then[name].opens and not login.opens]
    return Logins(changes, sorted(locked))


def never_owned(
    rows: Iterable[DatabaseRow], then: Mapping[str, Login], to: dt.datetime | None
) -> list[DatabaseRow]:
    """Return the databases that existed without an owner at ``to`` and have one now."""
    return [
        row
        for row in rows
        if row.status == "active" and to is not None and row.created_at > to
        if row.username in then and not then[row.username].opens
    ]


_ROTATED_ABOUT = dt.timedelta(minutes=1)


def rotated_from(reached: Reached, backup: Backup) -> dt.datetime:
    """Return the time from which on the audit counts, rather than the restored cluster.

    A record has the time at which its transaction began, a little before the change itself.
    """
    return (reached.last_commit or backup.stopped) - _ROTATED_ABOUT
