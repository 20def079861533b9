"""A database's attributes, defined once: what its owner decides about it besides its limits.

A field here is a column of ``databases`` of the same name, and a field of the API's requests and
answers. The statements that create, change and copy a row, and the differences in the audit, are
made of this definition.
"""

import dataclasses
import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from tenantry.control import plans

Environment = Literal["production", "staging", "development"]
PoolMode = Literal["transaction", "session"]


@dataclass(frozen=True, kw_only=True)
class Attributes:
    """What an owner decides about a database.

    ``timezone`` is the IANA name of the one that its sessions begin with.
    ``rotate_password_days`` is after how many days its passwords are replaced, ``expires_at`` when
    a branch is deleted; None is never.
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

    @property
    def attributes(self) -> "Attributes":
        """Only these, of a row that has more."""
        return Attributes(**self.values())

    def values(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in NAMES}

    def changed(self, changes: Mapping[str, Any]) -> "Attributes":
        """The same but for ``changes``, which are values by name."""
        return dataclasses.replace(self.attributes, **changes)

    def copied(self) -> "Attributes":
        """Those that a branch, or a restored copy, of this database begins with."""
        return dataclasses.replace(self.attributes, rotate_password_days=None, expires_at=None)


NAMES = tuple(field.name for field in dataclasses.fields(Attributes))
# To set one of the others to null is to leave it as it is.
CLEARABLE = ("rotate_password_days", "expires_at")
