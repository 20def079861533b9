"""The contents of a new database, and the answers to its owner. Values only."""

import uuid
from dataclasses import dataclass, field

from tenantry.control.databases import DatabaseRow
from tenantry.control.operations import OperationRow
from tenantry.pg.sources import Source
from tenantry.services.data_api.model import OpenedDataApi
from tenantry.services.databases.model import Opened
from tenantry.services.roles.model import OpenedRole


@dataclass(frozen=True, slots=True)
class FromBlueprint:
    """A blueprint's schema and logins, by its reference: ``hosting`` or ``hosting@2``."""

    reference: str
    seeds: str | None = None


@dataclass(frozen=True, slots=True)
class FromSource:
    """A copy of a database on another server."""

    source: Source


Contents = FromBlueprint | FromSource


@dataclass(frozen=True, slots=True)
class Provisioned:
    """A new database with its password, and the operation that fills it.

    ``roles`` and ``data_api`` are those of its blueprint.
    """

    opened: Opened
    roles: list[OpenedRole] = field(default_factory=list)
    operation: OperationRow | None = None
    data_api: OpenedDataApi | None = None


@dataclass(frozen=True, slots=True)
class Updated:
    """A changed database. Of an instance with another size: what waits for its restart.

    ``pending_restart`` are parameters, by name; ``operation`` is the restart, if it has begun.
    """

    row: DatabaseRow
    pending_restart: list[str] | None = None
    operation: OperationRow | None = None


@dataclass(frozen=True, slots=True)
class Deleted:
    """A database to which nobody can connect any more. ``gone``: it is completely removed."""

    id: uuid.UUID
    operation_id: uuid.UUID
    gone: bool
