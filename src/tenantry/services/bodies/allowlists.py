"""Bodies of allowlists."""

from typing import Annotated

from pydantic import AfterValidator, AwareDatetime, Field, StringConstraints

from tenantry.base.networks import parse_network
from tenantry.control.whitelist import NewEntry
from tenantry.services.bodies.fields import Body, Label, expiry
from tenantry.services.network.model import MOST_ENTRIES


class WhitelistEntry(Body):
    """An address or a CIDR range to allow; host bits of a range are cut off."""

    ip_address: Annotated[
        str, StringConstraints(min_length=2, max_length=50), Field(examples=["203.0.113.0/24"])
    ]
    description: Label | None = None
    expires_at: Annotated[AwareDatetime, AfterValidator(expiry)] | None = None

    def wanted(self) -> NewEntry:
        """Return the entry to add. Raises InvalidInput if it is not an address or a range."""
        return NewEntry(
            parse_network(self.ip_address),
            self.description,
            self.expires_at,
            unsaid=frozenset({"description", "expires_at"} - self.model_fields_set),
        )


class PreviewWhitelist(Body):
    """A whole allowlist; an empty one allows connections from everywhere."""

    entries: Annotated[list[WhitelistEntry], Field(max_length=MOST_ENTRIES)]

    def wanted(self) -> list[NewEntry]:
        """Return the entries. Raises InvalidInput if one is not an address or a range."""
        return [entry.wanted() for entry in self.entries]


class Whitelist(PreviewWhitelist):
    """A whole allowlist; an empty one allows connections from everywhere."""

    version: Annotated[str, StringConstraints(max_length=32)] | None = Field(
        default=None,
        description="That of a preview: if the list has changed since, nothing is done.",
        examples=["9f86d081884c7d65"],
    )
