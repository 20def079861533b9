"""Bodies of logins, users and API keys."""

from typing import Annotated, Self

from pydantic import (
    AfterValidator,
    Field,
    model_validator,
)

from tenantry.control.keys import SCOPES
from tenantry.control.users import Role
from tenantry.services.access.service import NewKey
from tenantry.services.bodies.fields import (
    Body,
    Code,
    Email,
    Label,
    LongToken,
    Moment,
    NewCustomer,
    Password,
    PlanName,
    Scope,
    Token,
    expiry,
    secret,
)
from tenantry.services.users.service import NewUser


class CreateKey(Body):
    """A new API key. It cannot have more scopes than the key that creates it."""

    name: Label
    scopes: Annotated[list[Scope], Field(min_length=1, max_length=len(SCOPES))]
    customer_email: Email | None = Field(
        default=None, description="Bind the key to this customer: it sees nothing else."
    )
    new_customer: NewCustomer = True
    expires_at: Annotated[Moment, AfterValidator(expiry)] | None = None

    def wanted(self) -> NewKey:
        return NewKey(
            name=self.name,
            scopes=sorted(set(self.scopes)),
            customer_email=self.customer_email,
            new_customer=self.new_customer,
            expires_at=self.expires_at,
        )


_DeviceToken = Annotated[
    LongToken | None,
    Field(description="What an earlier login from this device was answered, if there was one."),
]


class Login(Body):
    """Credentials for a login."""

    email: Email
    password: Password
    device_token: _DeviceToken = None


class LoginCode(Body):
    """The second step of a login: a code of the authenticator, or a recovery code."""

    challenge: Token
    code: Code
    device_token: _DeviceToken = None


class ChangePassword(Body):
    """A new password: at least 16 characters or four words, and not easy to guess."""

    current_password: Password
    new_password: Password


class Proof(Body):
    """The password again, so that access to an open session alone does not suffice."""

    password: Password


class TotpCode(Body):
    """The authenticator's current code."""

    code: Code


class RemoveTotp(Body):
    """The password and a code of the authenticator."""

    password: Password
    code: Code


class CreateUser(Body):
    """A new user. All but administrators belong to ``customer_email``, by default their address.

    A viewer sees what a customer's user sees, but no rows and no backups, and changes nothing.
    """

    email: Email
    name: Label | None = None
    role: Role = "customer"
    customer_email: Email | None = None
    new_customer: NewCustomer = True
    password: Password | None = Field(
        default=None, description="Left out, a random one is made, and shown this once."
    )

    @model_validator(mode="after")
    def _fitting(self) -> Self:
        if self.role == "administrator" and self.customer_email is not None:
            raise ValueError("an administrator belongs to no customer")
        return self

    def wanted(self) -> NewUser:
        return NewUser(
            email=self.email,
            name=self.name,
            role=self.role,
            customer_email=self.customer_email,
            password=None if self.password is None else secret(self.password),
            new_customer=self.new_customer,
        )


class UpdateUser(Body):
    """Changes to a user; omitted fields stay unchanged."""

    name: Label | None = None
    disabled: bool | None = None

    @model_validator(mode="after")
    def _something(self) -> Self:
        if not self.model_fields_set:
            raise ValueError("names nothing to change")
        return self


class UpdateCustomer(Body):
    """Changes to a customer."""

    plan: PlanName
