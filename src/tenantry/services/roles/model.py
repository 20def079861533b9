"""Requests for additional roles, and the roles as their owner sees them. Values only."""

import re
from dataclasses import dataclass

from tenantry.base.secrets import Secret
from tenantry.control.databases import DatabaseRow
from tenantry.control.roles import RoleRow
from tenantry.pg import names
from tenantry.pg.logins import Access

DEFAULT_MAX_CONNECTIONS = 10
ROLE_NAME = re.compile(r"[a-z](?:[a-z0-9_]*[a-z0-9])?")
LONGEST_NAME = 30
MOST_ROLES = 20  # of one database: each is named in the rights of every table


@dataclass(frozen=True, slots=True)
class NewRole:
    """A role to create; ``max_connections`` defaults to a small number."""

    name: str
    access: Access
    max_connections: int | None

    def username_in(self, database: DatabaseRow) -> str:
        """Return the name that it logs in with."""
        return names.additional(database.username, self.name)


@dataclass(frozen=True, slots=True)
class Role:
    """A role and its database."""

    database: DatabaseRow
    row: RoleRow


@dataclass(frozen=True, slots=True)
class OpenedRole:
    """A role and its password, which is shown once."""

    role: Role
    password: Secret
