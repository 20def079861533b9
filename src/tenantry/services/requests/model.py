"""A request as services see it."""

import uuid
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

from tenantry.base.secrets import Secret
from tenantry.control.audit import Actor
from tenantry.services.requests.limits import Use


@dataclass(slots=True, kw_only=True)
class Call:
    """One request, without how it came in. The entry point makes it.

    ``action`` names what is asked for and of what, such as a method and a path. ``target`` is the
    database or the cluster that the request is about, if it is about one: of a customer's
    requests one at a time changes it. ``content`` is everything else that tells it from other
    requests; only one with an ``idempotency_key`` needs it.

    ``uses`` are the rate limits that were charged, ``held`` has what is to be given back once the
    request is answered, and ``replayed`` tells that it was done before.
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
        """Count a use of a rate limit, and tell the caller of it. Raises TooManyRequests."""
        self.uses.append(use)
        use.check()

    @property
    def anonymous_actor(self) -> Actor:
        """Whoever asks, as long as nothing proves who that is."""
        return Actor("anonymous", "anonymous", address=self.address, request_id=self.request_id)
