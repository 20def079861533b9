"""What can be asked of a restore, and what is kept of the databases that one has replaced."""

import datetime as dt
import uuid
from dataclasses import dataclass
from typing import Literal

from tenantry.control.replaced import ReplacedRow

Into = Literal["new", "in_place"]


@dataclass(frozen=True, slots=True)
class NewRestore:
    """What a caller wants back, and where.

    ``to`` is a moment, now ("latest"), what the last restore in place has replaced ("previous"),
    or the id of a logical backup or of a database that was replaced. Left out, ``into`` is a new
    database, but for what was replaced, which only goes in place.
    """

    to: dt.datetime | uuid.UUID | Literal["latest", "previous"]
    into: Into | None
    friendly_name: str | None


@dataclass(frozen=True, slots=True)
class Replaced:
    """A database that was replaced, and what it takes on disk; 0 if it is not there."""

    row: ReplacedRow
    size_bytes: int
