"""The parameters of a restore, and what is known of retained databases."""

import datetime as dt
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, Field

from tenantry.base.errors import Conflict
from tenantry.control.replaced import ReplacedRow
from tenantry.pg import reloading
from tenantry.services.operations.model import Kind, Params, Run, State
from tenantry.services.side_clusters.model import Window

Into = Literal["new", "in_place"]


class Exceptions(BaseModel):
    """The objects that a copy has in another form, and those that it lacks, with the reasons."""

    changed: list[dict[str, str]] = Field(default_factory=list)
    lost: list[dict[str, str]] = Field(default_factory=list)

    @classmethod
    def of(cls, reloaded: reloading.Reloaded) -> "Exceptions":
        """Return those of a load."""
        return cls.model_validate(reloaded.as_json())


class RestoreParams(Params):
    """``to`` is a moment, "latest", or the id of a logical backup. See ``NewRestore``."""

    to: dt.datetime | uuid.UUID | Literal["latest"]
    into: Into
    name: str | None = None
    friendly_name: str | None = None
    accept_losses: bool = False

    @property
    def is_new(self) -> bool:
        return self.into == "new"


class RestoreState(State):
    """The state of a restore.

    ``staging_name`` is the database that is loaded before it is put in service, and ``target_role``
    the role that will own its contents; ``file`` is a logical backup's.
    """

    moment: dt.datetime | None = None
    size: int = 0
    file: str | None = None
    staging_name: str | None = None
    target_role: str = ""
    database_id: uuid.UUID | None = None
    unreadable: list[str] = Field(default_factory=list)
    exceptions: Exceptions = Field(default_factory=Exceptions)
    refreshed: list[dict[str, str]] = Field(default_factory=list)
    tables: int = 0
    rows: int = 0


class PutBackParams(Params):
    """The retained database that is put back in service."""

    replaced: str
    replaced_at: dt.datetime


RESTORE = Kind("database.restore", RestoreParams, RestoreState)
PUT_BACK = Kind("database.put_back", PutBackParams, State)
RestoreRun = Run[RestoreParams, RestoreState]
PutBackRun = Run[PutBackParams, State]


class WouldLose(Conflict):
    """A copy lacks objects of the original, and was to replace a database."""

    code = "restore_would_lose"
    title = "The restore would lose something"

    @classmethod
    def require_nothing(cls, database: str, lost: Sequence[Mapping[str, str]]) -> None:
        """Raise this error if anything is ``lost``: the objects, each with its reason."""
        if not lost:
            return
        raise cls(
            f"PostgreSQL does not build all of {database} again: {reloading.named(lost)}.",
            hint="Nothing was replaced. Have a new database made of it, which lists all of them; or"
            " accept that with accept_losses (--accept-losses): what is replaced is kept for a"
            " while.",
        )


@dataclass(frozen=True, slots=True)
class NewRestore:
    """A request for a restore: from what, and as what.

    ``to`` is a moment, now ("latest"), the database that the last restore in place has replaced
    ("previous"), or the id of a logical backup or of a replaced database. ``into`` defaults to a
    new database: one in service is replaced only on request. A replaced database can only be put
    back in place. In place, a restore fails if objects cannot be built again, unless
    ``accept_losses``.
    """

    to: dt.datetime | uuid.UUID | Literal["latest", "previous"]
    into: Into | None
    friendly_name: str | None
    name: str | None = None
    accept_losses: bool = False


@dataclass(frozen=True, slots=True)
class Replaced:
    """A database that was replaced, and its size on disk; 0 if it does not exist.

    One that a move has left is on another cluster: it cannot be put back, and has no size here.
    """

    row: ReplacedRow
    size_bytes: int
    can_be_put_back: bool


@dataclass(frozen=True, slots=True)
class Restorable:
    """Whether, and to which moments, a database can be restored.

    ``off``: nothing is backed up. ``none``: no backup reaches any moment. ``unknown``: the
    repository cannot be read. Only ``ok`` has a window.
    """

    state: Literal["ok", "none", "unknown", "off"]
    window: Window | None = None
