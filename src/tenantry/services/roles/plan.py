"""The difference between the roles that should be and those that are. Pure.

A role that nobody wants belongs to a creation that was not finished, or that is under
way: then its database's row is locked, and whoever would drop the role has to wait.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from uuid import UUID

from tenantry.control.databases import DatabaseRow
from tenantry.control.roles import RoleRow
from tenantry.pg import names
from tenantry.pg.catalog import RoleState


@dataclass(frozen=True, slots=True)
class World:
    """The tenants' roles on a cluster, and by database who may connect to it."""

    roles: Mapping[str, RoleState]
    connectable: Mapping[str, Collection[str]]


@dataclass(frozen=True, slots=True)
class Restore:
    """Make a role that is missing, or let it in and give it its rights again."""

    database_id: UUID
    username: str


@dataclass(frozen=True, slots=True)
class Limit:
    """Put a role's connection limit right."""

    database_id: UUID
    username: str


@dataclass(frozen=True, slots=True)
class UndoRotation:
    """Bring back the password from before a change that was not finished."""

    database_id: UUID
    username: str


@dataclass(frozen=True, slots=True)
class Drop:
    """Finish deleting a role."""

    database_id: UUID
    username: str


@dataclass(frozen=True, slots=True)
class DropStranger:
    """Remove a role that nobody wants."""

    database_id: UUID
    username: str


Action = Restore | Limit | UndoRotation | Drop | DropStranger


def _of_role(database: DatabaseRow, role: RoleRow, world: World) -> Iterable[Action]:
    state = world.roles.get(role.username)
    if role.status == "deleting":
        yield Drop(database.id, role.username)
        return
    if state is None or role.username not in world.connectable.get(database.database_name, ()):
        yield Restore(database.id, role.username)
    if state is not None and state.can_login and state.max_connections != role.max_connections:
        yield Limit(database.id, role.username)
    if role.verifier_before is not None:
        yield UndoRotation(database.id, role.username)


def differences(
    databases: Iterable[DatabaseRow], wanted: Mapping[UUID, Iterable[RoleRow]], world: World
) -> list[Action]:
    """What to do, in order, about the roles of databases that somebody owns or waits for.

    One that waits has none: they are of a creation that was not finished.
    """
    further: dict[str, list[str]] = {}
    for username in sorted(world.roles):
        if names.is_additional(username):
            further.setdefault(names.owner_role(username), []).append(username)
    actions: list[Action] = []
    for database in databases:
        if database.status not in {"active", "warm"}:
            continue
        roles = list(wanted.get(database.id, ()))
        for role in roles:
            actions += _of_role(database, role, world)
        known = {role.username for role in roles}
        actions += [
            DropStranger(database.id, username)
            for username in further.get(database.username, ())
            if username not in known
        ]
    return actions
