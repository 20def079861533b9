"""The REST API of a database as its owner and as the service that answers see it. Values only."""

import datetime as dt
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field

from tenantry.base.networks import Network, contain
from tenantry.base.secrets import Secret
from tenantry.control.data_apis import DataApiRow
from tenantry.control.databases import DatabaseRow
from tenantry.pg.api_roles import ANONYMOUS, SERVICE
from tenantry.services.data_api import tokens


@dataclass(frozen=True, slots=True)
class ServedDatabase:
    """What the service needs to answer requests for one database.

    ``marker`` differs from that of ``markers()`` once this copy is out of date. ``anonymous_role``
    is None if requests without a token are refused; unless ``open``, they may not write.
    ``jwt_secrets`` are valid now, the current one first, and ``jwks_url`` has further keys.
    ``roles`` are PostgreSQL's names of the roles that a token can select, by the role claim: no
    other one is possible. An empty ``allowed_origins`` admits all origins; ``networks`` is None if
    there is no allowlist. ``statement_timeout_ms`` None leaves the database's own.

    Any tenant's code can set parameters for the shared roles, also in a neighbour's database
    (``pg/api_roles.py``): the settings of these roles must not be applied.

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


@dataclass(frozen=True, slots=True)
class Configuration:
    """What the owner of a database decides about its API; see ``DataApiRow``."""

    schemas: tuple[str, ...]
    anonymous: bool
    open: bool
    max_rows: int | None
    statement_timeout_ms: int | None
    jwks_url: str | None
    allowed_origins: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class NewDataApi:
    """A wanted API; ``jwt_secret`` is one that the caller's tokens are signed with already."""

    configuration: Configuration
    jwt_secret: Secret | None


@dataclass(frozen=True, slots=True)
class DataApi:
    """A database's API without its secrets.

    Tokens signed with the secret before the present one are valid until ``previous_until``.
    """

    database: DatabaseRow
    configuration: Configuration
    keys_issued_at: dt.datetime
    previous_until: dt.datetime | None
    created_at: dt.datetime
    updated_at: dt.datetime

    @classmethod
    def of(cls, database: DatabaseRow, row: DataApiRow) -> "DataApi":
        return cls(
            database,
            Configuration(
                schemas=tuple(row.schemas),
                anonymous=row.anonymous,
                open=row.open,
                max_rows=row.max_rows,
                statement_timeout_ms=row.statement_timeout_ms,
                jwks_url=row.jwks_url,
                allowed_origins=tuple(row.allowed_origins),
            ),
            keys_issued_at=row.keys_issued_at,
            previous_until=row.previous_until,
            created_at=row.created_at,
            updated_at=row.updated_at,
        )


@dataclass(frozen=True, slots=True)
class OpenedDataApi:
    """An API, and its secret if that is new and was made here: it is shown once."""

    api: DataApi
    jwt_secret: Secret | None

    def keys(self) -> dict[str, Secret]:
        """Return the keys for clients and for the owner's own servers; none without a secret."""
        if self.jwt_secret is None:
            return {}
        issued = self.api.keys_issued_at
        name = self.api.database.database_name
        return {
            role: tokens.issue(
                self.jwt_secret,
                tokens.Claims(name, role, None, issued, issued + tokens.KEYS_LAST),
            )
            for role in (ANONYMOUS, SERVICE)
        }


@dataclass(frozen=True, slots=True)
class NewToken:
    """A token to be made: the role that it selects, who it is for, and how long it is valid."""

    role: str
    subject: str | None
    lasts: dt.timedelta


@dataclass(frozen=True, slots=True)
class Token:
    """A token, and when it expires."""

    token: Secret
    role: str
    subject: str | None
    expires_at: dt.datetime
