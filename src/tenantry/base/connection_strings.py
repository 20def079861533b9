"""Connection strings in the formats of several clients.

The names of parameters are those of libpq (PostgreSQL's manual, section 34.1.2) unless another
source is named. A string with ``sslmode=require`` encrypts and verifies nothing. Node's drivers
take ``require`` for ``verify-full``, so theirs always name the authority's certificate: without it
they trust public authorities only.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, get_args
from urllib.parse import quote, unquote, urlencode, urlsplit

from tenantry.base.networks import in_url

Format = Literal[
    "psql",
    "node",
    "prisma",
    "drizzle",
    "django",
    "sqlalchemy",
    "asyncpg",
    "jdbc",
    "go",
    "pgadmin",
]
FORMATS: tuple[Format, ...] = get_args(Format)

MASK = "***"  # in place of an unknown password
CA_FILE = "ca.crt"
_VERIFIED = {"node", "prisma", "drizzle"}


@dataclass(frozen=True, slots=True)
class Login:
    """A role's login to one database."""

    host: str
    port: int
    username: str
    password: str
    database: str
    pooled: bool = False

    @classmethod
    def parse(cls, url: str, *, pooled: bool = False) -> "Login":
        """Parse one of the platform's own URLs."""
        parts = urlsplit(url)
        return cls(
            host=parts.hostname or "",
            port=parts.port or 5432,
            username=unquote(parts.username or ""),
            password=unquote(parts.password or ""),
            database=unquote(parts.path.removeprefix("/")),
            pooled=pooled,
        )

    @property
    def address(self) -> str:
        """Host and port as in a URL."""
        return f"{in_url(self.host)}:{self.port}"


@dataclass(frozen=True, slots=True)
class Style:
    """The format of a string: for which client, and whether it verifies the server.

    ``ca_file`` is the path of the authority's certificate where the client runs.
    """

    format: Format = "psql"
    verify_full: bool = False
    ca_file: str = CA_FILE

    @property
    def verifies(self) -> bool:
        """Whether clients verify the server, and therefore need the file."""
        return self.verify_full or self.format in _VERIFIED

    def render(self, login: Login) -> str:
        """Return the string, in several lines for Django and pgAdmin. pgAdmin's has no password."""
        verified = {"sslmode": "verify-full", "sslrootcert": self.ca_file}
        tls = verified if self.verifies else _UNVERIFIED
        return _RENDERERS[self.format](login, tls)


Tls = Mapping[str, str]
Parameter = tuple[str, str]
_UNVERIFIED: Tls = MappingProxyType({"sslmode": "require"})


def _url(login: Login, tls: Tls) -> str:
    return _written(login, tls.items())


def _written(login: Login, parameters: Iterable[Parameter], scheme: str = "postgresql") -> str:
    user, password = _quote(login.username), _quote(login.password)
    name = _quote(login.database)
    return f"{scheme}://{user}:{password}@{login.address}/{name}?{_query(parameters)}"


def _quote(text: str) -> str:
    return quote(text, safe="*")


def _query(parameters: Iterable[Parameter]) -> str:
    return urlencode(list(parameters), safe="/*", quote_via=quote)


def _prisma(login: Login, tls: Tls) -> str:
    """Return a string for Prisma's own engine, and for node-postgres, which Prisma 7 uses.

    The engine does not know ``verify-full``, and would then connect without TLS if offered none: it
    takes ``require`` with ``sslaccept``, and ``sslcert`` for the authority's certificate.
    node-postgres takes the last of a repeated parameter. ``pgbouncer`` lets the engine cope with
    another session after each transaction.
    """
    engine = [("sslmode", "require"), ("sslaccept", "strict"), ("sslcert", tls["sslrootcert"])]
    pooled = [("pgbouncer", "true")] if login.pooled else []
    return _written(login, [*engine, *tls.items(), *pooled, ("schema", "public")])


def _django(login: Login, tls: Tls) -> str:
    """Return the setting DATABASES. A server-side cursor does not outlive a pooled transaction."""
    fields = {
        "ENGINE": "django.db.backends.postgresql",
        "HOST": login.host,
        "PORT": login.port,
        "NAME": login.database,
        "USER": login.username,
        "PASSWORD": login.password,
        "OPTIONS": dict(tls),
    } | ({"DISABLE_SERVER_SIDE_CURSORS": True} if login.pooled else {})
    lines = "\n".join(f"        {name!r}: {value!r}," for name, value in fields.items())
    return f"DATABASES = {{\n    'default': {{\n{lines}\n    }}\n}}"


def _sqlalchemy(login: Login, tls: Tls) -> str:
    return _written(login, tls.items(), "postgresql+psycopg")


def _jdbc(login: Login, tls: Tls) -> str:
    """Return a URL for PgJDBC, which has the login among the parameters."""
    parameters = [("user", login.username), ("password", login.password), *tls.items()]
    return f"jdbc:postgresql://{login.address}/{_quote(login.database)}?{_query(parameters)}"


def _pgadmin(login: Login, tls: Tls) -> str:
    """Return a servers.json of one server (pgAdmin's manual, "Import/Export Servers").

    pgAdmin imports no passwords. Releases before 7 have TLS outside of ConnectionParameters.
    """
    older = {"SSLMode": tls["sslmode"]}
    if "sslrootcert" in tls:
        older["SSLRootCert"] = tls["sslrootcert"]
    server = {
        "Name": f"{login.database} (pooled)" if login.pooled else login.database,
        "Group": "Tenantry",
        "Host": login.host,
        "Port": login.port,
        "Username": login.username,
        "MaintenanceDB": login.database,
        "DBRestriction": login.database,
        **older,
        "ConnectionParameters": dict(tls),
    }
    return json.dumps({"Servers": {"1": server}}, indent=4)


_RENDERERS: Mapping[Format, Callable[[Login, Tls], str]] = MappingProxyType(
    {
        "psql": _url,
        "node": _url,
        "prisma": _prisma,
        "drizzle": _url,
        "django": _django,
        "sqlalchemy": _sqlalchemy,
        "asyncpg": _url,
        "jdbc": _jdbc,
        "go": _url,
        "pgadmin": _pgadmin,
    }
)
