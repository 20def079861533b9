"""The differences between the wanted logins of data APIs and those that exist. Pure.

A login that is not wanted belongs to an API that is being enabled, and whose database's row is
locked then, or is disabled; both are looked at again under that lock.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from uuid import UUID

from tenantry.control.data_apis import DataApiRow
from tenantry.control.databases import DatabaseRow
from tenantry.control.roles import RoleRow
from tenantry.pg import names
from tenantry.pg.api_roles import SHARED, Authenticator


@dataclass(frozen=True, slots=True)
class Actual:
    """The authenticators on a cluster, and by database the roles that may connect to it."""

    authenticators: Mapping[str, Authenticator]
    connectable: Mapping[str, Collection[str]]


@dataclass(frozen=True, slots=True)
class Wanted:
    """The rows of one cluster: the APIs and the additional roles, by database."""

    apis: Mapping[UUID, DataApiRow]
    roles: Mapping[UUID, Collection[RoleRow]]


@dataclass(frozen=True, slots=True)
class RestoreLogin:
    """Create a missing login again, or restore its rights."""

    database_id: UUID


@dataclass(frozen=True, slots=True)
class LimitLogin:
    """Correct a login's connection limit, which is the database's."""

    database_id: UUID


@dataclass(frozen=True, slots=True)
class DropLogin:
    """Finish disabling an API, or drop a login that is not wanted."""

    database_id: UUID


@dataclass(frozen=True, slots=True)
class GiveAway:
    """Give what shared roles own in a database to its tenant."""

    database_id: UUID


Action = RestoreLogin | LimitLogin | DropLogin


def wanted_login(database: DatabaseRow, api: DataApiRow, roles: Iterable[RoleRow]) -> Authenticator:
    """Return the login that a database's API has to have."""
    additional = {role.username for role in roles if role.status == "active"}
    return Authenticator(
        api.verifier, database.max_connections, frozenset(additional.union(SHARED))
    )


def _differ_by_limit(there: Authenticator, wanted: Authenticator) -> bool:
    """Whether two logins differ by their connection limits at most."""
    return replace(there, max_connections=wanted.max_connections) == wanted


def differences(databases: Iterable[DatabaseRow], wanted: Wanted, actual: Actual) -> list[Action]:
    """Return the actions for the active databases that exist, in order."""
    actions: list[Action] = []
    for database in databases:
        if database.status != "active" or database.missing_since is not None:
            continue
        username = names.authenticator(database.username)
        there = actual.authenticators.get(username)
        api = wanted.apis.get(database.id)
        if api is None or api.status == "disabling":
            if api is not None or there is not None:
                actions.append(DropLogin(database.id))
            continue
        login = wanted_login(database, api, wanted.roles.get(database.id, ()))
        admitted = username in actual.connectable.get(database.database_name, ())
        if there is None or not admitted or not _differ_by_limit(there, login):
            actions.append(RestoreLogin(database.id))
        elif there != login:
            actions.append(LimitLogin(database.id))
    return actions
