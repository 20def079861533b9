"""The requests for migrations of tenants' databases, and the error of one over many.

TenantryError
└── Conflict
    └── FleetStopped         409  databases failed, and the others were not migrated
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from tenantry.base.errors import Conflict
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
class Fleet:
    """The databases to migrate to the last file, and how.

    ``canary`` databases go first, and all of them must succeed. After more than ``max_failures`` no
    other one is started. ``parallel`` are migrated at a time.
    """

    files: Files
    environment: str | None = None
    owner: str | None = None
    parallel: int = 4
    canary: int = 1
    max_failures: int = 0
    blueprint: str | None = None


class FleetStopped(Conflict):
    code = "fleet_stopped"
    title = "The migration of many databases was stopped"
