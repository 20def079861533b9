"""The REST API of a database as its owner and as the service that answers see it. Values only."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field

from tenantry.base.networks import Network, contain
from tenantry.base.secrets import Secret

ANONYMOUS = "anon"
AUTHENTICATED = "authenticated"
SERVICE = "service_role"
SHARED_ROLES = (ANONYMOUS, AUTHENTICATED, SERVICE)


@dataclass(frozen=True, slots=True)
class ServedDatabase:
    """What the service needs to answer requests for one database.

    ``marker`` differs from that of ``markers()`` once this copy is out of date. ``anonymous_role``
    is None if requests without a token are refused; unless ``open``, they may not write.
    ``jwt_secrets`` are valid now, the current one first, and ``jwks_url`` has further keys.
    ``roles`` are PostgreSQL's names of the roles that a token can select, by the role claim: no
    other one is possible. An empty ``allowed_origins`` admits all origins; ``networks`` is None if
    there is no allowlist. ``statement_timeout_ms`` None leaves the database's own.

    ``stopped``: it accepts no connections at present, because of its quota or writes.
    ``read_only``: it is over its quota, and no transaction may be READ WRITE.
    """

    database_id: uuid.UUID
    database_name: str
    marker: str
    schemas: tuple[str, ...]
    anonymous_role: str | None
    open: bool
    max_rows: int | None
    statement_timeout_ms: int | None
    jwt_secrets: tuple[bytes, ...] = field(repr=False)
    jwks_url: str | None
    allowed_origins: tuple[str, ...]
    authenticator: str
    password: Secret
    max_connections: int
    roles: Mapping[str, str]
    networks: tuple[Network, ...] | None
    stopped: bool
    read_only: bool

    def admits(self, address: str) -> bool:
        """Whether the allowlist admits a client's address."""
        return self.networks is None or contain(self.networks, address)
