"""What is asked of a run of migrations, and what can go wrong with one over many databases.

TenantryError
└── Conflict
    └── FleetStopped         409  databases failed, and the others were left as they are
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from tenantry.base.errors import Conflict
from tenantry.services.migrations.model import Acceptance, Limits

STATEMENT_SECONDS = 600.0  # how long each statement of files may run if nothing is asked for

Action = Literal["up", "down", "goto", "force"]


@dataclass(frozen=True, slots=True)
class Files:
    """Migration files by name, how long a run of them may stand in others' way, what it takes for
    applied, and whether it may begin a record beside another tool's."""

    texts: Mapping[str, str]
    limits: Limits
    accept: Acceptance
    beside: bool


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to do with one database: ``n`` steps, or to ``version``."""

    action: Action
    files: Files
    n: int | None = None
    version: int | None = None


@dataclass(frozen=True, slots=True)
class Fleet:
    """Which databases to bring up to the last file, and how.

    ``canary`` databases go first, and all of them must succeed. After more than
    ``max_failures`` no further one is begun. ``parallel`` are migrated at a time.
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
