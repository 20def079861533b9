"""A request as services see it."""

import uuid
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

from tenantry.base.secrets import Secret
from tenantry.control.audit import Actor
from tenantry.services.requests.limits import Use


@dataclass(slots=True, kw_only=True)
class Call:
    """One request, independent of its transport. The entry point creates it.

    ``action`` names what is requested of which resource, such as a method and a path. ``target`` is
    the database or the cluster that the request is about, if any: requests of one customer change
    it one at a time. ``content`` is everything else that distinguishes it from other requests; only
    one with an ``idempotency_key`` needs it.

    ``uses`` are the rate limits that were charged, ``held`` holds the places to release once the
    request is answered, and ``replayed`` is whether it was carried out before.
    """

    action: str
    request_id: str
    address: str | None = None
    credential: Secret | None = None
    idempotency_key: str | None = None
    target: uuid.UUID | None = None
    content: bytes = b""
    uses: list[Use] = field(default_factory=list)
    held: AsyncExitStack = field(default_factory=AsyncExitStack)
    replayed: bool = False

    def charge(self, use: Use) -> None:
        """Record the use of a rate limit, which the caller is shown. Raises TooManyRequests."""
        self.uses.append(use)
        use.check()

    @property
    def anonymous_actor(self) -> Actor:
        """The actor of a request that is not authenticated."""
        return Actor("anonymous", "anonymous", address=self.address, request_id=self.request_id)
