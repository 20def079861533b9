"""Somebody else's PostgreSQL server, to copy a database from: how it is reached, what it says.

It may be hostile, and so may whoever names it. So its connection string is taken apart into
typed parts, of which an allowlist goes to libpq: nothing in it names a file, a socket, or a
second server. Its host's name is resolved once, and that address is connected to. Whatever it
answers is text to be shown, cut and cleaned; and answers come row by row, so that there is an
end to how much of them is taken.
"""

import asyncio
import ipaddress
import re
import socket
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, LiteralString
from urllib.parse import unquote_to_bytes, urlsplit

import psycopg
from psycopg import AsyncConnection, sql
from psycopg.rows import TupleRow

from tenantry.base.errors import FieldError, InvalidInput, TenantryError
from tenantry.base.secrets import Secret
from tenantry.pg.connections import answering_within

Connection = AsyncConnection[TupleRow]
Query = LiteralString | sql.Composed
IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

# Debian's and Ubuntu's bundle of the authorities that browsers trust, too.
_AUTHORITIES = "/etc/ssl/certs/ca-certificates.crt"
_NO_FILE = "/nonexistent/tenantry"
_SSL_MODES = ("disable", "prefer", "require", "verify-ca", "verify-full")
_CHANNEL_BINDINGS = ("disable", "prefer", "require")
_LONGEST_URL = 2000
_LONGEST_NAME = 63
_MOST_CONNECT_SECONDS = 15
_LOOK_SECONDS = 20
_MOST_TABLES = 20_000
_MOST_EXTENSIONS = 500
_LONGEST_MESSAGE = 600
_PORT = 5432
_LAST_PORT = 65_535

# Threads of their own: a name server that does not answer holds each of them for a while.
_resolvers = ThreadPoolExecutor(16, thread_name_prefix="resolve")

_AUTHORITY = re.compile(
    r"(?P<user>[^:@/?#]+)(?::(?P<password>[^:@/?#]*))?@"
    r"(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_.])?)(?::(?P<port>\d{1,5}))?"
)
_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")


class SourceError(TenantryError):
    """The server to import from does not answer, or not as it has to."""

    code = "source_error"
    status = 422
    title = "The database to import from cannot be read"

    def __init__(self, detail: str, *, hint: str | None = None) -> None:
        super().__init__(
            detail, hint=hint, fields=(FieldError("from", "cannot be read", self.code),)
        )


@dataclass(frozen=True, slots=True)
class Source:
    """A database elsewhere, as its connection string names it."""

    host: str
    port: int
    user: str
    database: str
    password: Secret = field(repr=False)
    sslmode: str = "require"
    channel_binding: str = "prefer"
    connect_timeout: int = 10
    application_name: str = "tenantry"

    def _parameters(self, address: IPAddress) -> dict[str, str]:
        verifies = self.sslmode.startswith("verify")
        return {
            "host": self.host,
            "hostaddr": str(address),
            "port": str(self.port),
            "user": self.user,
            "dbname": self.database,
            "password": self.password.reveal(),
            "sslmode": self.sslmode,
            "sslrootcert": _AUTHORITIES if verifies else _NO_FILE,
            "sslcert": _NO_FILE,
            "sslkey": _NO_FILE,
            "passfile": _NO_FILE,
            "gssencmode": "disable",
            "channel_binding": self.channel_binding,
            "connect_timeout": str(self.connect_timeout),
            "application_name": self.application_name,
            "options": "",
        }

    def environment(self, address: IPAddress) -> dict[str, str]:
        """What has a program of PostgreSQL's log in there (manual, section 34.15).

        Only that program and its user can read it, as long as it runs: it is in no file.
        """
        names = {
            "dbname": "PGDATABASE",
            "application_name": "PGAPPNAME",
            "connect_timeout": "PGCONNECT_TIMEOUT",
        }
        return {
            names.get(name, f"PG{name.replace('_', '').upper()}"): value
            for name, value in self._parameters(address).items()
        }

    def without_password(self, text: str) -> str:
        """A message, in which a server may have repeated what it was told."""
        password = self.password.reveal()
        return text.replace(password, "***") if password else text

    @asynccontextmanager
    async def connect(self, address: IPAddress) -> AsyncIterator[Connection]:
        """A session there, in autocommit mode. Raises SourceError."""
        try:
            # libpq counts the time for a host only up to the first answer.
            async with asyncio.timeout(self.connect_timeout + 5):
                connection = await AsyncConnection.connect(
                    autocommit=True, **self._any_parameters(address)
                )
        except TimeoutError:
            raise self.refusal("it did not answer in time") from None
        except psycopg.Error as error:
            raise self.refusal(error) from None
        # Not the cause: what it says may hold whatever the server has sent.
        async with connection:
            yield connection

    def _any_parameters(self, address: IPAddress) -> dict[str, Any]:
        return dict(self._parameters(address))

    def refusal(self, why: object) -> SourceError:
        """What the server said, as its caller may read it."""
        said = readable(self.without_password(str(why)))
        hint = "Look at the connection string: host, port, user, password, database."
        if "SSL" in said and self.sslmode == "require":
            hint = "If it has no TLS, say sslmode=disable; what is copied is readable on the way."
        return SourceError(f"{self.host}:{self.port} cannot be read: {said}", hint=hint)


def readable(text: str, longest: int = _LONGEST_MESSAGE) -> str:
    """Somebody else's text, in one line without control characters, cut."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return line if len(line) <= longest else f"{line[:longest]}…"


# ── connection strings ───────────────────────────────────────────────────────


def parse(text: Secret, *, name: str = "from") -> Source:
    """What a connection string says. Raises InvalidInput, which never repeats it."""

    def wrong(why: str) -> InvalidInput:
        return InvalidInput.of(name, why)

    url = text.reveal()
    if len(url) > _LONGEST_URL or not url.isascii() or not url.isprintable() or " " in url:
        raise wrong(f"must be a URL of at most {_LONGEST_URL} visible ASCII characters")
    scheme, _, rest = url.partition("://")
    if scheme not in {"postgresql", "postgres"} or not rest:
        raise wrong("must look like postgresql://user:password@host:5432/database")
    if "#" in rest or _PERCENT.search(rest):
        raise wrong("has a # or % in it; in a password write # as %23 and % as %25")
    authority, _, path = rest.partition("?")[0].partition("/")
    found = _AUTHORITY.fullmatch(authority)
    if found is None:
        raise wrong(
            "must name one user and one host: postgresql://user:password@host:5432/database;"
            " in a password write @ as %40, : as %3A and / as %2F"
        )
    port = int(found["port"] or _PORT)
    if not 1 <= port <= _LAST_PORT:
        raise wrong("has a port that there is not")
    parts = {part: _decoded(found[part] or "", wrong) for part in ("user", "password")}
    database = _decoded(path, wrong)
    for what, value in (("user", parts["user"]), ("database", database)):
        if not value or len(value.encode()) > _LONGEST_NAME or "/" in path:
            raise wrong(f"must name a {what} of at most {_LONGEST_NAME} bytes")
    return Source(
        host=found["host"].strip("[]").lower(),
        port=port,
        user=parts["user"],
        password=Secret(parts["password"]),
        database=database,
        **_options(urlsplit(url).query, wrong),
    )


def _decoded(text: str, wrong: Any) -> str:
    try:
        value = unquote_to_bytes(text).decode()
    except UnicodeDecodeError:
        raise wrong("has something in it that is no UTF-8") from None
    if not value.isprintable():
        raise wrong("must not hold control characters")
    return value


def _options(query: str, wrong: Any) -> dict[str, Any]:
    """The parameters of libpq's that are taken; any other might read a file, or another server."""
    options: dict[str, Any] = {}
    for pair in filter(None, query.split("&")):
        name, _, value = pair.partition("=")
        value = _decoded(value, wrong)
        if name in options:
            raise wrong(f"says {name} twice")
        match name:
            case "sslmode" if value in _SSL_MODES:
                options[name] = value
            case "sslmode":
                raise wrong(f"has an sslmode that is none of {', '.join(_SSL_MODES)}")
            case "channel_binding" if value in _CHANNEL_BINDINGS:
                options[name] = value
            case "connect_timeout" if re.fullmatch(r"\d{1,6}", value):
                options[name] = max(2, min(_MOST_CONNECT_SECONDS, int(value)))
            case "application_name" if value.isascii() and len(value) <= _LONGEST_NAME:
                options[name] = value
            case _:
                known = "sslmode, channel_binding, connect_timeout, application_name"
                raise wrong(
                    f"has a parameter that is not taken here: {readable(name, 40)};"
                    f" leave it out (there may be {known})"
                )
    return options


# ── addresses ────────────────────────────────────────────────────────────────


async def resolve(source: Source) -> list[IPAddress]:
    """The addresses of a source's host, in the order to try. Raises SourceError."""
    loop = asyncio.get_running_loop()
    ask = partial(socket.getaddrinfo, source.host, source.port, type=socket.SOCK_STREAM)
    try:
        async with asyncio.timeout(_MOST_CONNECT_SECONDS):
            found = await loop.run_in_executor(_resolvers, ask)
    except (OSError, TimeoutError, UnicodeError):
        raise SourceError(
            f"There is no address for {source.host}.",
            hint="Write the host's full name, as the server here can find it.",
        ) from None
    # A zone (fe80::1%eth0) only tells link-local addresses apart.
    return [ipaddress.ip_address(str(info[4][0]).partition("%")[0]) for info in found]


# ── what it has ──────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Table:
    """An ordinary table there, partitions included; ``size_bytes`` with its indexes."""

    schema: str
    name: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Contents:
    """What there is to copy. ``version`` as PostgreSQL numbers it: 150004 for 15.4."""

    version: int
    extensions: list[str]
    tables: list[Table]

    @property
    def major(self) -> int:
        return self.version // 10_000


_TABLES: LiteralString = """
    SELECT c.oid, n.nspname::text AS schema, c.relname::text AS name
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind = 'r' AND c.relpersistence <> 't'
      AND n.nspname NOT IN ('pg_catalog', 'information_schema')
      AND n.nspname NOT LIKE 'pg\\_toast%'
      AND NOT EXISTS (
          SELECT FROM pg_depend d
          WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
    ORDER BY 2, 3
"""


async def look(connection: Connection) -> Contents:
    """What a database has, within seconds. Raises psycopg.Error, TimeoutError, SourceError."""
    with answering_within(connection, _LOOK_SECONDS):
        for statement in (
            "SET search_path = pg_catalog",
            "SET statement_timeout = '10s'",
            "SET lock_timeout = '5s'",  # a size is read under a lock
        ):
            await connection.execute(statement)
        extensions = await _rows(
            connection,
            "SELECT extname::text FROM pg_extension WHERE extname <> 'plpgsql' ORDER BY 1",
            most=_MOST_EXTENSIONS,
        )
        found = await _rows(
            connection,
            sql.SQL("SELECT schema, name, pg_total_relation_size(oid) FROM ({}) t").format(
                sql.SQL(_TABLES)
            ),
            most=_MOST_TABLES,
        )
    return Contents(
        version=connection.info.server_version,
        extensions=[str(name) for (name,) in extensions],
        tables=[Table(str(s), str(n), max(0, int(size or 0))) for s, n, size in found],
    )


async def tables(connection: Connection) -> list[Table]:
    """The tables that a database has, without their sizes. Raises as ``look``."""
    with answering_within(connection, _LOOK_SECONDS):
        found = await _rows(
            connection,
            sql.SQL("SELECT schema, name FROM ({}) t").format(sql.SQL(_TABLES)),
            most=_MOST_TABLES,
        )
    return [Table(str(schema), str(name), 0) for schema, name in found]


async def _rows(connection: Connection, query: Query, *, most: int) -> list[TupleRow]:
    found: list[TupleRow] = []
    async with connection.cursor() as cursor:
        async for row in cursor.stream(query):
            found.append(row)
            if len(found) > most:
                raise SourceError(f"It has more than {most:,} tables, or as many extensions.")
    return found


async def begin_snapshot(connection: Connection) -> str:
    """Begin a transaction that sees one moment. Returns how others can see the same one.

    Raises as ``look``.
    """
    with answering_within(connection, _LOOK_SECONDS):
        await connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        await connection.execute("SET search_path = pg_catalog")
        await connection.execute("SET statement_timeout = 0")
        row = await (await connection.execute("SELECT pg_export_snapshot()::text")).fetchone()
    name = str(row[0]) if row else ""
    if not re.fullmatch(r"[0-9A-Fa-f-]{3,64}", name):
        raise SourceError("It gives its snapshots names that no PostgreSQL gives.")
    return name


async def count(
    connection: Connection, tables: Sequence[tuple[str, str]], *, within: float
) -> AsyncIterator[int]:
    """How many rows each of these tables has. Raises TimeoutError if one takes longer."""
    for schema, name in tables:
        with answering_within(connection, within):
            row = await (
                await connection.execute(
                    sql.SQL("SELECT count(*) FROM ONLY {}").format(sql.Identifier(schema, name))
                )
            ).fetchone()
        yield int(row[0]) if row else 0
