"""What a new database is to have in it, and what its owner is told. Values only."""

import uuid
from dataclasses import dataclass, field

from tenantry.control.operations import OperationRow
from tenantry.pg.sources import Source
from tenantry.services.databases.model import Opened
from tenantry.services.roles.model import OpenedRole


@dataclass(frozen=True, slots=True)
class FromBlueprint:
    """A schema, and the logins that belong to it: ``hosting`` or ``hosting@2``."""

    reference: str
    seeds: str | None = None


@dataclass(frozen=True, slots=True)
class FromSource:
    """A copy of a database elsewhere."""

    source: Source


Contents = FromBlueprint | FromSource


@dataclass(frozen=True, slots=True)
class Provisioned:
    """A new database with its password, the logins of its blueprint, and what fills it."""

    opened: Opened
    roles: list[OpenedRole] = field(default_factory=list)
    operation: OperationRow | None = None


@dataclass(frozen=True, slots=True)
class Deleted:
    """A database to which nobody can connect any more. ``gone`` is whether all is removed."""

    id: uuid.UUID
    operation_id: uuid.UUID
    gone: bool
