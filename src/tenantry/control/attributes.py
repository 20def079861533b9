"""A database's attributes, defined once: what its owner sets besides its limits.

A field here is a column of ``databases`` of the same name, and a field of the API's requests and
answers. The statements that create, change and copy a row, and the differences in the audit, are
generated from this definition.
"""

import dataclasses
import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from tenantry.control import plans

Environment = Literal["production", "staging", "development"]
PoolMode = Literal["transaction", "session"]
SuspendedDirect = Literal["wake", "refuse"]


@dataclass(frozen=True, kw_only=True)
class Attributes:
    """The attributes that an owner sets on a database.

    ``timezone`` is the IANA time zone with which its sessions begin. ``rotate_password_days`` is
    after how many days its passwords are replaced, ``expires_at`` when a branch is deleted, and
    ``auto_suspend_seconds`` after how long without a session its instance is suspended; None means
    never. ``auto_suspend_direct`` is what a direct connection to it then does. ``tags`` are words,
    in order, by which lists are filtered.
    """

    name: str | None = None
    friendly_name: str | None = None
    environment: Environment = "production"
    plan: str = plans.DEFAULT
    has_shadow: bool = True
    pool_mode: PoolMode = "transaction"
    timezone: str = "UTC"
    rotate_password_days: int | None = None
    expires_at: dt.datetime | None = None
    auto_suspend_seconds: int | None = None
    auto_suspend_direct: SuspendedDirect = "wake"
    tags: list[str] = field(default_factory=list, hash=False)

    @property
    def attributes(self) -> "Attributes":
        """The attributes alone, of a row that has more."""
        return Attributes(**self.values())

    def values(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in NAMES}

    def changed(self, changes: Mapping[str, Any]) -> "Attributes":
        """Return a copy with ``changes``, which are values by name."""
        return dataclasses.replace(self.attributes, **changes)

    def copied(self) -> "Attributes":
        """Return the attributes of a new branch or restored copy of this database."""
        return dataclasses.replace(
            self.attributes, rotate_password_days=None, expires_at=None, auto_suspend_seconds=None
        )


NAMES = tuple(each.name for each in dataclasses.fields(Attributes))
# For all other attributes null means unchanged.
CLEARABLE = ("rotate_password_days", "expires_at", "auto_suspend_seconds")
