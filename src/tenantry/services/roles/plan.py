"""The differences between the wanted roles and those that exist. Pure.

A role that is not wanted belongs to a creation that was not finished, or that is in progress: then
its database's row is locked, and dropping the role has to wait.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from uuid import UUID

from tenantry.control.databases import DatabaseRow
from tenantry.control.roles import RoleRow
from tenantry.pg import names
from tenantry.pg.catalog import RoleState


@dataclass(frozen=True, slots=True)
class Actual:
    """The tenants' roles on a cluster, and by database the roles that may connect to it."""

    roles: Mapping[str, RoleState]
    connectable: Mapping[str, Collection[str]]


@dataclass(frozen=True, slots=True)
class Restore:
    """Create a missing role, or admit it and grant its rights again."""

    database_id: UUID
    username: str


@dataclass(frozen=True, slots=True)
class Limit:
    """Correct a role's connection limit."""

    database_id: UUID
    username: str


@dataclass(frozen=True, slots=True)
class UndoRotation:
    """Restore the password from before a change that was not finished."""

    database_id: UUID
    username: str


@dataclass(frozen=True, slots=True)
class Drop:
    """Finish deleting a role."""

    database_id: UUID
    username: str


@dataclass(frozen=True, slots=True)
class DropOrphanRole:
    """Drop a role that is not wanted."""

    database_id: UUID
    username: str


Action = Restore | Limit | UndoRotation | Drop | DropOrphanRole


def _of_role(database: DatabaseRow, role: RoleRow, actual: Actual) -> Iterable[Action]:
    state = actual.roles.get(role.username)
    if role.status == "deleting":
        yield Drop(database.id, role.username)
        return
    if state is None or role.username not in actual.connectable.get(database.database_name, ()):
        yield Restore(database.id, role.username)
    if state is not None and state.can_login and state.max_connections != role.max_connections:
        yield Limit(database.id, role.username)
    if role.verifier_before is not None:
        yield UndoRotation(database.id, role.username)


def differences(
    databases: Iterable[DatabaseRow], wanted: Mapping[UUID, Iterable[RoleRow]], actual: Actual
) -> list[Action]:
    """Return the actions, in order, for the roles of active and warm databases.

    A warm database has none: its roles are of a creation that was not finished.
    """
    additional: dict[str, list[str]] = {}
    for username in sorted(actual.roles):
        if names.is_additional(username) and not names.is_authenticator(username):
            additional.setdefault(names.owner_role(username), []).append(username)
    actions: list[Action] = []
    for database in databases:
        if database.status not in {"active", "warm"}:
            continue
        roles = list(wanted.get(database.id, ()))
        for role in roles:
            actions += _of_role(database, role, actual)
        known = {role.username for role in roles}
        actions += [
            DropOrphanRole(database.id, username)
            for username in additional.get(database.username, ())
            if username not in known
        ]
    return actions
