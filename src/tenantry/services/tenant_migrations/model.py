"""The requests for migrations of tenants' databases, and the error of one over many.

TenantryError
└── Conflict
    └── FleetStopped         409  databases failed, and the others were not migrated
"""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from tenantry.base.errors import Conflict
from tenantry.control.migration_runs import TargetStatus
from tenantry.control.operations import OperationRow
from tenantry.services.migrations.model import Acceptance, Limits

STATEMENT_SECONDS = 600.0  # how long each statement of files may run by default

Action = Literal["up", "down", "goto", "force"]


@dataclass(frozen=True, slots=True)
class Files:
    """Migration files by name, and how to run them: see ``Limits``, ``Acceptance`` and ``How``."""

    texts: Mapping[str, str]
    limits: Limits
    accept: Acceptance
    beside: bool


@dataclass(frozen=True, slots=True)
class Wanted:
    """An action on one database: ``n`` steps, or to ``version``."""

    action: Action
    files: Files
    n: int | None = None
    version: int | None = None


@dataclass(frozen=True, slots=True)
class Selection:
    """The databases that fit all of this, of those that are in use; None means any.

    ``databases`` are the only ones, and ``excluded`` are left out. Those ``without_blueprint`` have
    none. They have all of ``tags``.
    """

    environment: str | None = None
    owner: str | None = None
    blueprint: str | None = None
    without_blueprint: bool = False
    databases: frozenset[uuid.UUID] | None = None
    excluded: frozenset[uuid.UUID] = frozenset()
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Fleet:
    """The databases to migrate to the last file, and how.

    ``canary`` databases go first, and all of them must succeed. After more than ``max_failures`` no
    other one is started. ``parallel`` are migrated at a time.
    """

    files: Files
    selection: Selection
    parallel: int = 4
    canary: int = 1
    max_failures: int = 0


@dataclass(frozen=True, slots=True)
class FleetSummary:
    """A run over many databases: its last file, what was selected, and how many have each status.

    Runs that began before these were recorded have no file and no selection.
    """

    operation: OperationRow
    last_file: str | None
    selection: str | None
    counts: Mapping[TargetStatus, int]


class FleetStopped(Conflict):
    code = "fleet_stopped"
    title = "The migration of many databases was stopped"
