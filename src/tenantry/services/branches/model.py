"""The request for a branch, the state of its operation, and its result. Values only."""

import datetime as dt
import uuid
from dataclasses import dataclass, replace
from typing import Literal

from pydantic import Field

from tenantry.base.errors import TenantryError
from tenantry.control.attributes import Attributes, Environment
from tenantry.control.operations import OperationRow
from tenantry.services.databases.model import Opened
from tenantry.services.operations.model import Kind, Params, Run, State
from tenantry.services.restores.model import Exceptions

# How a database was copied: sharing its blocks on disk, by copying its blocks, by dump and load, or
# from the physical backups, at a past time.
Method = Literal["clone", "template", "dump", "restore"]


class BranchParams(Params):
    """The source of the copy, and the past time of it (None is now)."""

    source_id: uuid.UUID
    masked: bool = False
    at: dt.datetime | None = None
    accept_losses: bool = False


class BranchState(State):
    """The state between steps. ``staging_name`` is the database that is copied into.

    ``masking`` is whether masking has begun, after which it is unknown how much of it was done.
    """

    size: int = 0
    staging_name: str | None = None
    branched_at: dt.datetime | None = None
    method: Method | None = None
    unreadable: list[str] = Field(default_factory=list)
    exceptions: Exceptions = Field(default_factory=Exceptions)
    masking: bool = False


CREATE = Kind("branch.create", BranchParams, BranchState)
RESET = Kind("branch.reset", BranchParams, BranchState)
PROMOTE = Kind("branch.promote", BranchParams, BranchState)
BranchRun = Run[BranchParams, BranchState]


@dataclass(frozen=True, slots=True)
class NewBranch:
    """A request for a branch.

    Without ``plan`` it has its parent's limits, for a customer up to those of its own plan; if
    ``masked`` is None, it is masked if its parent has a masking; ``at`` of None is now.
    """

    name: str
    friendly_name: str
    environment: Environment
    plan: str | None
    shadow: bool
    masked: bool | None
    at: dt.datetime | None
    expires_at: dt.datetime | None

    def attributes_from(self, parent: Attributes, plan: str) -> Attributes:
        """Return the parent's attributes, with ``plan`` and the requested ones replaced."""
        return replace(
            parent.copied(),
            name=self.name,
            friendly_name=self.friendly_name,
            environment=self.environment,
            plan=plan,
            has_shadow=self.shadow,
            expires_at=self.expires_at,
        )


@dataclass(frozen=True, slots=True)
class OpenedBranch:
    """A branch, its future password, and the operation that creates it."""

    opened: Opened
    operation: OperationRow


@dataclass(frozen=True, slots=True)
class Masking:
    """SQL that is run in each branch of a database before it is opened."""

    sql: str | None
    updated_at: dt.datetime | None


class MaskingFailed(TenantryError):
    code = "masking_failed"
    status = 422
    title = "The masking of a branch failed"
