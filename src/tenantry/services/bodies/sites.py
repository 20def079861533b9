"""Bodies of the AI cache's sites."""

import uuid
from typing import Annotated, Self

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from tenantry.base.errors import InvalidInput
from tenantry.base.networks import parse_network
from tenantry.control.sites import Eviction, Isolation, Mode, Persistence
from tenantry.services.bodies.fields import Body, Slug
from tenantry.services.sites.model import (
    MAX_CLIENTS,
    MEMORY_MB,
    MOST_CLIENTS,
    SHARED_MAX_CLIENTS,
    SHARED_MEMORY_MB,
    Changes,
    Wanted,
    Which,
)


def _network(text: str) -> str:
    try:
        return str(parse_network(text))
    except InvalidInput as error:
        raise ValueError(error.fields[0].message) from None


Memory = Annotated[
    int, Field(ge=1, le=1_048_576, description="The most that its keys and clients may take.")
]
Clients = Annotated[int, Field(ge=1, le=MOST_CLIENTS, description="The most connections at once.")]
Networks = Annotated[
    list[Annotated[str, StringConstraints(max_length=64), AfterValidator(_network)]],
    Field(
        max_length=100,
        description="The addresses and CIDR ranges that may reach its Redis, beside the platform's"
        " machine; none: all. They replace its allowlist: reached_from says whether it is obeyed.",
        examples=[["203.0.113.7"]],
    ),
]
_EVICTION = "What Redis deletes once the memory is full: its maxmemory-policy."
_PERSISTENCE = "Whether its keys survive a restart: aof writes each change, at most a second late."
_ISOLATION = (
    "Whether it has a Redis of its own. The shared one is for tiny sites: they have their own users"
    " and keys, and share its memory, eviction and processor."
)
_SEMANTIC = "How the cache answers; on and shadow compare prompts by meaning."


class CreateSite(Body):
    """A new site."""

    name: Slug
    isolation: Isolation = Field(default="dedicated", description=_ISOLATION)
    memory_mb: Memory | None = Field(
        default=None,
        description="By default what the customer's plan has, at most"
        f" {SHARED_MEMORY_MB} if shared; without a customer {MEMORY_MB}.",
    )
    max_clients: Clients | None = Field(
        default=None,
        description="By default what the customer's plan has, at most"
        f" {SHARED_MAX_CLIENTS} if shared; without a customer {MAX_CLIENTS}.",
    )
    eviction: Eviction = Field(default="volatile-lru", description=_EVICTION)
    persistence: Persistence = Field(default="none", description=_PERSISTENCE)
    semantic: Mode = Field(default="exact", description=_SEMANTIC)
    networks: Networks = Field(default=[])

    def wanted(self) -> Wanted:
        return Wanted(
            **self.model_dump(exclude={"networks"}),
            networks=[parse_network(each) for each in dict.fromkeys(self.networks)],
        )


class UpdateSite(Body):
    """Changes to a site; omitted fields stay unchanged."""

    name: Slug | None = None
    memory_mb: Memory | None = None
    max_clients: Clients | None = None
    eviction: Eviction | None = Field(default=None, description=_EVICTION)
    persistence: Persistence | None = Field(default=None, description=_PERSISTENCE)
    semantic: Mode | None = Field(default=None, description=_SEMANTIC)
    networks: Networks | None = None

    @model_validator(mode="after")
    def _something(self) -> Self:
        if not self.model_fields_set:
            raise ValueError("names nothing to change")
        return self

    def changes(self) -> Changes:
        networks = self.networks
        return Changes(
            **self.model_dump(exclude={"networks"}),
            networks=None if networks is None else [parse_network(each) for each in networks],
        )


class RestoreSite(Body):
    """The backup to restore."""

    backup_id: uuid.UUID | None = Field(default=None, description="By default the newest one.")


class RotateSite(Body):
    """The secrets to replace."""

    secrets: Which = Field(default="all", description="The Redis password, the API key, or both.")
