"""The difference between the desired and the actual databases. Pure.

What the control database does not know is never dropped if it can hold data: the control database
may have been restored from a backup older than that database.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from uuid import UUID

from tenantry.base.errors import InvalidInput
from tenantry.control import plans
from tenantry.control.databases import DatabaseRow
from tenantry.control.log_settings import LogSettings
from tenantry.control.plans import PlanRow
from tenantry.pg import names
from tenantry.pg.catalog import DatabaseState, RoleState


def labelled(row: DatabaseRow, changes: Mapping[str, object]) -> dict[str, object]:
    """Return changes of attributes, with a friendly name that only repeats the name following it.

    A database that is created without a friendly name has its name as one.
    """
    follows = row.name is not None and row.friendly_name == row.name
    if "name" not in changes or "friendly_name" in changes or not follows:
        return dict(changes)
    return {**changes, "friendly_name": changes["name"]}


@dataclass(frozen=True, slots=True)
class Prepare:
    """Finish creating a database that has no owner yet, or create it again."""

    database_id: UUID


@dataclass(frozen=True, slots=True)
class Close:
    """Close the role of a warm database, which an interrupted creation has opened."""

    database_id: UUID


@dataclass(frozen=True, slots=True)
class Restore:
    """Create what an owned database lacks: its shadow, or its role."""

    database_id: UUID


@dataclass(frozen=True, slots=True)
class Miss:
    """Record that an owned database is missing. A new one in its place would hide the loss."""

    database_id: UUID


@dataclass(frozen=True, slots=True)
class FindAgain:
    """Record that a missing database exists again."""

    database_id: UUID


@dataclass(frozen=True, slots=True)
class Limit:
    """Correct a database's limits."""

    database_id: UUID


@dataclass(frozen=True, slots=True)
class DropShadow:
    """Drop the shadow of a database that is to have none."""

    database_id: UUID


@dataclass(frozen=True, slots=True)
class Drop:
    """Finish deleting a database, or a scratch database that was left behind."""

    database_id: UUID


@dataclass(frozen=True, slots=True)
class DropOrphanRole:
    """Drop a role that belongs to no database, desired or existing."""

    username: str


Action = Prepare | Close | Restore | Miss | FindAgain | Limit | DropShadow | Drop | DropOrphanRole


def statement_seconds(
    databases: Sequence[DatabaseRow], wanted: float | None, *, usual: float
) -> float:
    """Return how many seconds each statement of an operation may run in these databases.

    ``wanted`` is the requested time; if None, ``usual`` or the least that a pricing plan grants.
    Raises InvalidInput for more than a plan grants.
    """
    least = min(databases, key=lambda row: row.longest_statement_seconds)
    if wanted is not None and wanted > least.longest_statement_seconds:
        raise InvalidInput.of(
            "statement_timeout_seconds",
            f"is more than the plan {least.plan} grants: {least.longest_statement_seconds:,}",
        )
    return min(usual, least.longest_statement_seconds) if wanted is None else wanted


def require_granted(
    before: DatabaseRow,
    after: DatabaseRow,
    of_customer: PlanRow,
    known: Iterable[PlanRow],
    *,
    is_new: bool,
) -> None:
    """Raise Forbidden if a customer gives a database more than is granted, by limits or by plan.

    Granted is what the customer's plan does; unless the database ``is_new``, also what it has, and
    what the plan that it has grants: an administrator may have given it these. ``known`` are all
    pricing plans.
    """
    by_name = {each.name: each for each in known}
    asked = by_name[after.plan]
    granting = [of_customer] if is_new else [of_customer, by_name[before.plan]]
    for name in plans.GRANTED:
        larger = max(granting, key=attrgetter(name))
        most = getattr(larger, name)
        had = 0 if is_new else getattr(before, name)
        plans.require_granted(larger, name, getattr(after, name), most, had=had)
        # Its own limits may be lower for now; without them it has the plan's.
        by_plan = f"{name} by the plan {asked.name}"
        plans.require_granted(larger, by_plan, getattr(asked, name), most)


def limits_of_copy(
    row: DatabaseRow, own: Mapping[str, int | None], its: PlanRow, of_customer: PlanRow | None
) -> tuple[str, dict[str, int | None]]:
    """Return the pricing plan and the own limits of a copy of a database.

    They are those of the database, ``its`` plan and ``own``. Where a customer asks for the copy, no
    limit is higher than in the customer's plan, which is the copy's if the other one grants more.
    """
    if of_customer is None:
        return its.name, {**own}
    exceeds = any(getattr(its, name) > getattr(of_customer, name) for name in plans.GRANTED)
    granting = of_customer if exceeds else its
    most = {name: min(getattr(row, name), getattr(of_customer, name)) for name in plans.ENFORCED}
    lowered = {
        name: value
        for name, value in most.items()
        if name in own or value != getattr(granting, name)
    }
    return granting.name, {**own, **lowered}


def wanted_state(row: DatabaseRow) -> DatabaseState:
    """Return the desired state of a database and its shadow, by its limits and its use of disk.

    A database over its quota is read-only by default, so that its tenant can still make room; one
    that keeps growing nevertheless accepts no connections, nor does one that is paused because of
    writes that no quota counts. The connection limit is that of its owner role, and limits all its
    roles together.
    """
    defaults = {
        "temp_file_limit": str(row.temp_file_limit_bytes // 1024),
        "statement_timeout": str(row.statement_timeout_ms),
        "lock_timeout": str(row.lock_timeout_ms),
        "idle_in_transaction_session_timeout": str(row.idle_in_transaction_session_timeout_ms),
    }
    if row.timezone != "UTC":  # the cluster's default
        defaults["TimeZone"] = row.timezone
    if row.quota_state in {"read_only", "stopped"}:
        defaults["default_transaction_read_only"] = "on"
    if row.log_paused_until is None:
        defaults |= _logged(row.log_settings)
    shut = row.quota_state == "stopped" or row.paused_until is not None
    return DatabaseState(defaults, 0 if shut else row.max_connections)


def _logged(wanted: LogSettings) -> dict[str, str]:
    """Return the parameters that log a database's sessions; pg/server_log.py reads the log.

    Only ``verbose`` shows which function logs: RAISE LOG can forge the rest. Values that a client
    binds are never logged.
    """
    if not wanted.is_on:
        return {}
    least = wanted.min_duration_ms
    found = {
        "log_error_verbosity": "verbose",
        "log_min_duration_statement": "-1" if least is None else str(least),
        "log_min_messages": "error" if wanted.errors else "log",
        "log_parameter_max_length": "0",
        "log_statement": wanted.statements,
    }
    return found | ({"log_min_error_statement": "error"} if wanted.errors else {})


def _is_limited(
    row: DatabaseRow, role: RoleState | None, databases: Mapping[str, DatabaseState]
) -> bool:
    if role is not None and row.status == "active" and role.max_connections != row.max_connections:
        return False
    wanted = wanted_state(row)
    return all(databases[name] == wanted for name in row.database_names)


def _of_row(
    row: DatabaseRow,
    roles: Mapping[str, RoleState],
    databases: Mapping[str, DatabaseState],
    beside: Collection[str],
) -> Iterable[Action]:
    if row.status == "branching":
        return  # an operation is working on it
    role = roles.get(row.username)
    missing = role is None or any(name not in databases for name in row.database_names)
    if row.status in {"deleting", "scratch"}:
        yield Drop(row.id)
    elif row.status == "creating" or (row.status == "warm" and missing):
        yield Prepare(row.id)
    elif row.status == "warm":
        if role is not None and role.can_login:
            yield Close(row.id)
        if not _is_limited(row, role, databases):
            yield Limit(row.id)
    else:
        yield from _of_owned(row, role, databases, beside)


def _of_owned(
    row: DatabaseRow,
    role: RoleState | None,
    databases: Mapping[str, DatabaseState],
    beside: Collection[str],
) -> Iterable[Action]:
    if row.database_name not in databases:
        moving = any(names.is_moving(each, row.database_name) for each in beside)
        if row.missing_since is None and not moving:
            yield Miss(row.id)
        return
    if row.missing_since is not None:
        yield FindAgain(row.id)
    if role is None or any(name not in databases for name in row.database_names):
        yield Restore(row.id)
    elif not _is_limited(row, role, databases):
        yield Limit(row.id)
    if not row.has_shadow and row.shadow_name in databases:
        yield DropShadow(row.id)


def differences(
    rows: Iterable[DatabaseRow],
    roles: Mapping[str, RoleState],
    databases: Mapping[str, DatabaseState],
    beside: Collection[str] = (),
) -> list[Action]:
    """Return the actions to take, in order.

    ``beside`` are databases that are retained or being made. It and ``rows`` must be read after
    ``roles`` and ``databases``: a role's row is written before the role, so that a role without a
    row is an orphan.
    """
    wanted = list(rows)
    actions = [action for row in wanted for action in _of_row(row, roles, databases, beside)]
    known = {row.username for row in wanted} | {
        names.owner_of(name) for name in (*databases, *beside)
    }
    actions += [
        DropOrphanRole(name) for name in sorted(roles) if names.owner_role(name) not in known
    ]
    return actions


def unmanaged(
    rows: Iterable[DatabaseRow], databases: Collection[str], beside: Collection[str] = ()
) -> list[str]:
    """Return the unmanaged databases. They are reported, never touched."""
    known = {name for row in rows for name in (row.database_name, row.shadow_name)}
    known |= {each for name in beside for each in (name, names.shadow(name))}
    return sorted(set(databases) - known)
