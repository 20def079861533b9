"""Bodies of alerts and their channels."""

from typing import Annotated
from urllib.parse import urlsplit

import httpx
from pydantic import AfterValidator, Field, SecretStr, model_validator

from tenantry.base.secrets import Secret
from tenantry.control.alert_channels import ChannelKind, Thresholds
from tenantry.services.alerts.channels import Wanted
from tenantry.services.alerts.model import EVENTS, Event
from tenantry.services.bodies.fields import Body, Label, Moment, email, typed

_Percent = Annotated[int, Field(ge=1, le=100)] | None


class Mute(Body):
    """Until when nothing is sent about an alert's rule and subject."""

    until: Moment = Field(examples=["2026-12-01T08:00:00Z"])


class CreateChannel(Body):
    """A channel: an e-mail address, or the URL of a webhook, of Slack or of Discord."""

    name: Label
    kind: ChannelKind
    target: Annotated[SecretStr, Field(min_length=3, max_length=2000), AfterValidator(typed)] = (
        Field(
            description="An address or a URL. Of a URL only the host is shown later.",
            examples=["https://hooks.example.com/tenantry"],
        )
    )
    events: Annotated[list[Event], Field(min_length=1, max_length=len(EVENTS))] | None = Field(
        default=None, description="What is sent; default: alerts."
    )

    @model_validator(mode="after")
    def _fits(self) -> "CreateChannel":
        target = self.target.get_secret_value()
        if self.kind == "email":
            email(target)
            return self
        try:
            parts = urlsplit(target)
            _ = parts.port, httpx.URL(target).host  # as it is read when a message is sent
        except (ValueError, httpx.InvalidURL):
            raise ValueError("target is not a URL") from None
        visible = target.isascii() and target.isprintable() and " " not in target
        if parts.scheme not in {"http", "https"} or not parts.hostname or not visible:
            raise ValueError("target is not the https URL of a webhook")
        if parts.username is not None or parts.password is not None:
            raise ValueError("target has a user or a password in it, which is not supported")
        return self

    def wanted(self) -> Wanted:
        target = self.target.get_secret_value()
        events = None if self.events is None else tuple(dict.fromkeys(self.events))
        return Wanted(
            self.name,
            self.kind,
            Secret(email(target) if self.kind == "email" else target),
            events,
        )


class SetThresholds(Body):
    """A database's own thresholds; the platform's are in force for one that is left out."""

    disk_percent: _Percent = None
    connections_percent: _Percent = None
    transaction_minutes: Annotated[int, Field(ge=1, le=10_080)] | None = None
    deadlocks: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    rollback_percent: _Percent = None
    slower_percent: Annotated[int, Field(ge=101, le=100_000)] | None = None

    def wanted(self) -> Thresholds:
        return Thresholds(**self.model_dump())
