"""Bodies of the routes of application users, as Supabase's clients send them."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, StringConstraints

from tenantry.services.bodies.fields import email

SHORTEST_PASSWORD = 8
_LONGEST_PASSWORD = 256
_PROOF = r"^[A-Za-z0-9._~-]{43,128}$"  # RFC 7636, section 4

Email = Annotated[str, StringConstraints(max_length=320), AfterValidator(email)]
OneTime = Annotated[str, StringConstraints(max_length=1500)]  # with the longest address
Password = Annotated[SecretStr, Field(max_length=_LONGEST_PASSWORD)]


class AuthBody(BaseModel):
    """A body; what it does not know is ignored, as clients send more with each version."""

    model_config = ConfigDict(extra="ignore", hide_input_in_errors=True)


class Challenged(AuthBody):
    """What asks for an e-mail; who follows its link has to prove that it was them (PKCE)."""

    code_challenge: Annotated[str, StringConstraints(pattern=_PROOF)] | None = None
    code_challenge_method: Literal["plain", "s256", "S256"] | None = None


class Credentials(Challenged):
    """An address and a password, and metadata of a new user."""

    email: Email
    password: Password
    data: dict[str, Any] | None = None


class RefreshBody(AuthBody):
    """A refresh token."""

    refresh_token: Annotated[str, StringConstraints(max_length=500)]


class CodeBody(AuthBody):
    """A code, and the proof that its client is the one that asked for it."""

    auth_code: OneTime
    code_verifier: Annotated[str, StringConstraints(pattern=_PROOF)]


class ChangeUser(Challenged):
    """What is changed about the user of a token."""

    email: Email | None = None
    password: Password | None = None
    data: dict[str, Any] | None = None


class Address(Challenged):
    """An address to which a link is sent."""

    email: Email


class Resend(Address):
    """A link that is sent once more."""

    type: Literal["signup"]


class Verify(AuthBody):
    """A token of a link; clients call it ``token_hash`` too."""

    type: Literal["signup", "recovery", "email", "email_change"]
    token: OneTime | None = None
    token_hash: OneTime | None = None
