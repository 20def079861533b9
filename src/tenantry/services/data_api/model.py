"""The REST API of a database as its owner and as the service that answers see it. Values only."""

import datetime as dt
import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field

from tenantry.base.networks import Network, contain
from tenantry.base.secrets import Secret
from tenantry.control.data_apis import DataApiRow
from tenantry.control.databases import DatabaseRow
from tenantry.pg.api_roles import ANONYMOUS, SERVICE
from tenantry.services.application_users.model import AuthSettings
from tenantry.services.data_api import tokens

MAX_ROWS, STATEMENT_TIMEOUT_MS = 1000, 15_000  # unless the owner decides otherwise
_REQUEST_SECONDS = 60.0  # for a request, unless the API has a longer statement timeout
_BEYOND_STATEMENT = 5.0
LONGEST_NAME = 63  # of PostgreSQL's, in bytes
_HIDDEN = re.compile(r"pg_.*|information_schema|auth")


def check_schema(name: str) -> str:
    """Return the name of a schema that an API may expose. Raises ValueError for any other."""
    if len(name.encode()) > LONGEST_NAME:
        raise ValueError(f"is longer than {LONGEST_NAME} bytes")
    if _HIDDEN.fullmatch(name):
        raise ValueError("cannot be exposed")
    return name


def request_seconds(statement_timeout_ms: int | None) -> float:
    """Return how long a request of an API with this statement timeout may take."""
    return max(_REQUEST_SECONDS, (statement_timeout_ms or 0) / 1000 + _BEYOND_STATEMENT)


@dataclass(frozen=True, slots=True)
class ServedDatabase:
    """What the service needs to answer requests for one database.

    ``marker`` differs from that of ``markers()`` once this copy is out of date. ``anonymous_role``
    is None if requests without a token are refused; unless ``open``, they may not write.
    ``jwt_secrets`` are valid now, the current one first, and ``jwks_url`` has further keys.
    ``roles`` are PostgreSQL's names of the roles that a token can select, by the role claim: no
    other one is possible. An empty ``allowed_origins`` admits all origins; ``networks`` is None if
    there is no allowlist. ``auth`` is None without application users. ``statement_timeout_ms`` None
    leaves the database's own.

    Any tenant's code can set parameters for the shared roles, also in a neighbour's database
    (``pg/api_roles.py``): the settings of these roles must not be applied.

    ``stopped``: it accepts no connections at present, because of its quota or writes.
    ``read_only``: its quota or the disk is used up, and no transaction may be READ WRITE.
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
    auth: AuthSettings | None

    def admits(self, address: str) -> bool:
        """Whether the allowlist admits a client's address."""
        return self.networks is None or contain(self.networks, address)


@dataclass(frozen=True, slots=True)
class Configuration:
    """What the owner of a database decides about its API; see ``DataApiRow``."""

    schemas: tuple[str, ...]
    anonymous: bool = True
    open: bool = False
    max_rows: int | None = MAX_ROWS
    statement_timeout_ms: int | None = STATEMENT_TIMEOUT_MS
    jwks_url: str | None = None
    allowed_origins: tuple[str, ...] = ()
    auth: AuthSettings | None = None


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
                auth=AuthSettings.of(row.auth),
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
