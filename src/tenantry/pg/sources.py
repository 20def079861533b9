"""A foreign PostgreSQL server to copy a database from: how to connect, and what it contains.

It may be hostile, and so may the user who names it. So its connection string is parsed into typed
parts, of which an allowlist goes to libpq: nothing in it names a file, a socket, or a second
server. Its host's name is resolved once, and that address is connected to. All that it answers is
read by a child with a memory limit (``source_reading``), and shown cut and cleaned.
"""

import asyncio
import ipaddress
import json
import re
import socket
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal
from urllib.parse import unquote_to_bytes, urlsplit

from tenantry.base.errors import FieldError, InvalidInput, TenantryError
from tenantry.base.secrets import Secret
from tenantry.host import children
from tenantry.host.commands import CommandFailed
from tenantry.pg import source_reading

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

# Debian's and Ubuntu's bundle of the authorities that browsers trust.
_AUTHORITIES = "/etc/ssl/certs/ca-certificates.crt"
_NO_FILE = "/nonexistent/tenantry"
_SSL_MODES = ("disable", "prefer", "require", "verify-ca", "verify-full")
_CHANNEL_BINDINGS = ("disable", "prefer", "require")
_LONGEST_URL = 2000
_LONGEST_NAME = 63
_MOST_CONNECT_SECONDS = 15
_LOOK_SECONDS = 20
_READER_BYTES = 512 * 1024 * 1024  # Python, libpq and OpenSSL are 200 MiB of address space
_LONGEST_MESSAGE = 600
_PORT = 5432
_LAST_PORT = 65_535

# Threads of their own: a name server that does not answer blocks each of them for a while.
_resolvers = ThreadPoolExecutor(16, thread_name_prefix="resolve")

_AUTHORITY = re.compile(
    r"(?P<user>[^:@/?#]+)(?::(?P<password>[^:@/?#]*))?@"
    r"(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_.])?)(?::(?P<port>\d{1,5}))?"
)
_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")


class SourceError(TenantryError):
    """The server to import from does not answer, or not as PostgreSQL does."""

    code = "source_error"
    status = 422
    title = "The database to import from cannot be read"

    def __init__(self, detail: str, *, hint: str | None = None) -> None:
        super().__init__(
            detail, hint=hint, fields=(FieldError("from", "cannot be read", self.code),)
        )


@dataclass(frozen=True, slots=True)
class Source:
    """A database of a foreign server, as its connection string names it."""

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
        """Return the variables that connect a PostgreSQL client program (manual, section 34.15).

        Only that program and its user can read them, as long as it runs: they are in no file.
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
        """Remove the password from a message, in which a server may have repeated it."""
        password = self.password.reveal()
        return text.replace(password, "***") if password else text

    def refusal(self, why: object) -> SourceError:
        """Return the error for a server's message, cleaned for the caller."""
        said = readable(self.without_password(str(why)))
        hint = "Look at the connection string: host, port, user, password, database."
        if "SSL" in said and self.sslmode == "require":
            hint = "If it has no TLS, say sslmode=disable; what is copied is readable on the way."
        return SourceError(f"{self.host}:{self.port} cannot be read: {said}", hint=hint)


def readable(text: str, longest: int = _LONGEST_MESSAGE) -> str:
    """Return foreign text in one line without control characters, cut."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return line if len(line) <= longest else f"{line[:longest]}…"


# ── connection strings ───────────────────────────────────────────────────────


def parse(text: Secret, *, name: str = "from") -> Source:
    """Parse a connection string. Raises InvalidInput, which never repeats it."""

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
    """Return the allowed libpq parameters; others might read a file, or another server."""
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
    """Return the addresses of a source's host, in the order to try. Raises SourceError."""
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
    # A zone (fe80::1%eth0) only distinguishes link-local addresses.
    return [ipaddress.ip_address(str(info[4][0]).partition("%")[0]) for info in found]


# ── what it has ──────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Table:
    """An ordinary table of the source, or a partition; ``size_bytes`` with its indexes."""

    schema: str
    name: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class ExtensionUse:
    """An object that depends on an extension, in PostgreSQL's words: ``view stats``.

    ``schema`` and ``table`` say what it is a part of, if it is part of a table. With ``holds_rows``
    rows could not be loaded without it.
    """

    extension: str
    schema: str | None
    table: str | None
    what: str
    holds_rows: bool


Use = Literal["policies", "grants", "owns"]


@dataclass(frozen=True, slots=True)
class RoleUse:
    """How often policies or grants of a schema name a role, or how many objects it owns there."""

    schema: str
    role: str
    use: Use
    count: int


@dataclass(frozen=True, slots=True)
class Contents:
    """What can be copied. ``version`` as PostgreSQL numbers it: 150004 for 15.4.

    ``settings`` are the initial ones of the login's sessions there.
    """

    version: int
    extensions: list[str]
    uses: list[ExtensionUse]
    tables: list[Table]
    roles: list[RoleUse]
    settings: dict[str, str]

    @property
    def major(self) -> int:
        return self.version // 10_000


async def look(source: Source, address: IPAddress) -> Contents:
    """Return the contents of a database, within seconds. Raises SourceError."""
    reported = await _read(
        source, address, "look", deadline=source.connect_timeout + 5 + _LOOK_SECONDS
    )
    return Contents(
        version=reported["version"],
        extensions=reported["extensions"],
        uses=[ExtensionUse(*each) for each in reported["uses"]],
        tables=[Table(*each) for each in reported["tables"]],
        roles=[RoleUse(*each) for each in reported["roles"]],
        settings=dict(reported["settings"]),
    )


class Snapshot:
    """A source at one moment, for as long as ``hold`` lasts.

    ``name`` is that of the snapshot, for other sessions; ``counts`` grows to the rows of each of
    ``tables``.
    """

    def __init__(self) -> None:
        self.name = ""
        self.tables: list[tuple[str, str]] = []
        self.counts: list[int] = []
        self._started = asyncio.Event()
        self._counted = asyncio.Event()

    def hear(self, line: str) -> None:
        """Parse a line of the reader. Any other output is left to the error."""
        with suppress(ValueError, TypeError, KeyError):
            reported = json.loads(line)
            if "table" in reported:
                schema, name = reported["table"]
                self.tables.append((schema, name))
            elif "count" in reported:
                self.counts.append(int(reported["count"]))
            elif "snapshot" in reported:
                self.name = str(reported["snapshot"])
                self._started.set()
            elif "counted" in reported:
                self._counted.set()

    async def started(self) -> None:
        """Return when ``name`` and ``tables`` are known."""
        await self._started.wait()

    async def counted(self, *, within: float) -> None:
        """Return when all of ``counts`` are known.

        Raises TimeoutError if none of them comes for longer than ``within`` seconds.
        """
        while not self._counted.is_set():
            known = len(self.counts)
            try:
                async with asyncio.timeout(within):
                    await self._counted.wait()
            except TimeoutError:
                if len(self.counts) == known:
                    raise


@asynccontextmanager
async def hold(
    source: Source, address: IPAddress, selection: Path, *, deadline: float
) -> AsyncIterator[Snapshot]:
    """Hold one moment of a source, and count the rows of its tables meanwhile.

    ``selection`` is a file for ``source_reading``, with the tables to count. Raises SourceError,
    also in the block.
    """
    snapshot = Snapshot()

    async def read() -> None:
        await _read(
            source, address, "hold", selection, deadline=deadline, on_error_line=snapshot.hear
        )

    async with asyncio.TaskGroup() as tasks:
        reading = tasks.create_task(read())
        try:
            async with asyncio.timeout(source.connect_timeout + 5 + _LOOK_SECONDS):
                await snapshot.started()
        except TimeoutError:
            raise source.refusal("it did not answer in time") from None
        yield snapshot
        reading.cancel()


async def _read(
    source: Source, address: IPAddress, *arguments: str | Path, deadline: float, **more: Any
) -> dict[str, Any]:
    try:
        reported = await children.run(
            source_reading,
            *arguments,
            env=source.environment(address),
            memory=_READER_BYTES,
            deadline=deadline,
            **more,
        )
    except CommandFailed as error:
        raise source.refusal(
            "it did not answer in time"
            if "did not end within" in error.detail
            else "what it answers is more than is read"
        ) from None
    if "refused" in reported:
        raise source.refusal(reported["refused"])
    return reported
