"""The context of a transaction: values, checked before they reach the database."""

from dataclasses import dataclass
from typing import Final, Literal, get_args
from uuid import UUID

CUSTOMER_SETTING: Final = "app.current_customer_id"
ROLE_SETTING: Final = "app.current_user_role"

UserRole = Literal["customer", "administrator"]

LONGEST_ID = 128  # characters


class TenantError(Exception):
    """Any refusal of this library."""


class InvalidContext(TenantError, ValueError):
    """A context without a customer, or with a role that no policy has."""


class NestedContext(TenantError):
    """A context inside another that cannot be restored afterwards."""


@dataclass(frozen=True, slots=True)
class TenantContext:
    """A customer, or an administrator, who sees all customers' rows.

    Raises InvalidContext for a customer without an id, an id that is empty, too long or has
    control characters, and any other role.
    """

    customer_id: int | str | UUID | None = None
    user_role: UserRole = "customer"

    def __post_init__(self) -> None:
        if self.user_role not in get_args(UserRole):
            allowed = " or ".join(get_args(UserRole))
            raise InvalidContext(f"user_role is {self.user_role!r}; it must be {allowed}.")
        if self.customer_id is None:
            if self.user_role == "customer":
                raise InvalidContext("A customer's context needs customer_id.")
            return
        # True is an int, and would be customer 1.
        if isinstance(self.customer_id, bool) or not isinstance(self.customer_id, int | str | UUID):
            kind = type(self.customer_id).__name__
            raise InvalidContext(f"customer_id is a {kind}; it must be an int, a str or a UUID.")
        text = str(self.customer_id)
        if not text.strip() or len(text) > LONGEST_ID or not text.isprintable():
            raise InvalidContext(
                f"customer_id must be 1 to {LONGEST_ID} printable characters, not {text[:40]!r}."
            )

    @property
    def settings(self) -> tuple[str, str]:
        """Return the values of ``app.current_customer_id`` and ``app.current_user_role``."""
        customer = "" if self.customer_id is None else str(self.customer_id)
        return customer, self.user_role
