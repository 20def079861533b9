"""The body of a site's proxy."""

from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr, StringConstraints, model_validator

from tenantry.base.secrets import Secret
from tenantry.services.bodies.fields import Body, LongToken, secret
from tenantry.services.caching.upstreams import PROVIDERS

_MOST = 2**31 - 1


def _provider_url(text: str) -> str:
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError:
        raise ValueError("is not a URL") from None
    visible = text.isascii() and text.isprintable() and " " not in text
    if parts.scheme not in {"https", "http"} or not parts.hostname or not visible:
        raise ValueError("is not a URL such as https://api.example.com")
    if parts.username is not None or parts.query or parts.fragment:
        raise ValueError("may not have a user, a query or a fragment")
    return text.rstrip("/")


def _in_a_header(key: SecretStr) -> SecretStr:
    if not key.get_secret_value().isascii():
        raise ValueError("must consist of ASCII characters")
    if key.get_secret_value().strip() != key.get_secret_value():
        raise ValueError("must not begin or end with white space")
    return key


Key = Annotated[LongToken, AfterValidator(_in_a_header)]
Url = Annotated[str, StringConstraints(max_length=2000), AfterValidator(_provider_url)]
Count = Annotated[int, Field(ge=1, le=_MOST)]


class UpdateSiteProxy(Body):
    """What to change. null: the default."""

    openai_url: Url | None = Field(
        default=None,
        description="In front of /v1/chat/completions; default: https://api.openai.com. Another "
        "one without its key removes the key.",
        examples=["https://api.openai.com"],
    )
    openai_key: Key | None = Field(
        default=None, description="null: each request brings its own, as X-Upstream-Key."
    )
    anthropic_url: Url | None = Field(
        default=None,
        description="In front of /v1/messages; default: https://api.anthropic.com. As openai_url.",
    )
    anthropic_key: Key | None = Field(default=None, description="As openai_key.")
    requests_per_minute: Count | None = Field(
        default=None, description="To providers; hits do not count. null: no limit."
    )
    tokens_per_day: Count | None = Field(
        default=None,
        description="Of a day in UTC, as the providers count them. null: no limit.",
    )
    most_temperature: Annotated[float, Field(ge=0, le=2)] | None = Field(
        default=None, description="Requests with a higher one are not cached; default: 1."
    )

    @model_validator(mode="after")
    def _has_something(self) -> "UpdateSiteProxy":
        if not self.model_fields_set:
            raise ValueError("must have a field to change")
        return self

    def values(self) -> dict[str, object]:
        """Return the settings to change, by their names, without keys."""
        names = self.model_fields_set - {f"{provider}_key" for provider in PROVIDERS}
        return {name: getattr(self, name) for name in sorted(names)}

    def keys(self) -> dict[str, Secret | None]:
        """Return the keys to change, by their providers."""
        found: dict[str, Secret | None] = {}
        for provider in PROVIDERS:
            if f"{provider}_key" in self.model_fields_set:
                given: SecretStr | None = getattr(self, f"{provider}_key")
                found[provider] = None if given is None else secret(given)
        return found
