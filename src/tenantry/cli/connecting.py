"""``tenantry db url`` and ``tenantry db psql``: connect to a database."""

import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from tenantry.base import local_api
from tenantry.base.connection_strings import MASK, Format, Login, Style
from tenantry.base.errors import InvalidInput, MachineError, NotFound
from tenantry.base.home import Home
from tenantry.cli import output
from tenantry.cli.client import Api, Row, connect
from tenantry.cli.entry_point import Json
from tenantry.cli.finding import In, Named, find, find_role
from tenantry.host import files

Pooled = Annotated[bool, typer.Option("--pooled", help="Through PgBouncer.")]
Shadow = Annotated[bool, typer.Option("--shadow", help="The shadow database.")]
AsRole = Annotated[
    str | None,
    typer.Option(
        "--role",
        metavar="ROLE",
        help="For this additional role: its name, its username or its id.",
        show_default=False,
    ),
]
PasswordStdin = Annotated[
    bool,
    typer.Option("--password-stdin", help="Put the password of standard input in place of ***."),
]
CaFile = Annotated[
    str | None,
    typer.Option(
        "--ca-file", help="Where ca.crt is on the client's machine; by default, its path here."
    ),
]

_POOLED = ("connection_string_pooled", "shadow_database_url_pooled")
_OF_ROLES = ("connection_string", "connection_string_pooled")
_STRINGS = ("connection_string", "shadow_database_url", *_POOLED)


def url(
    database: Named,
    *,
    form: Annotated[Format, typer.Option("--format", help="The client it is for.")] = "psql",
    verify_full: Annotated[
        bool,
        typer.Option("--verify-full", help="Verify the server's certificate; for Node always."),
    ] = False,
    ca_file: CaFile = None,
    password_stdin: PasswordStdin = False,
    role: AsRole = None,
    env: In = None,
    pooled: Pooled = False,
    shadow: Shadow = False,
    as_json: Json = False,
) -> None:
    """Print a connection string. The password is hidden: it was shown only at creation.

    Examples:

        tenantry db url shop --pooled

        tenantry db url shop --role reporting

        tenantry db url shop --format node --password-stdin < password

        tenantry db url shop --format jdbc --verify-full --ca-file /etc/shop/ca.crt
    """
    style = Style(form, verify_full=verify_full)
    with connect() as api:
        strings = strings_of(api, find(api, database, env), role)
        if style.verifies or as_json:
            style = replace(style, ca_file=ca_file or str(authority(api)))
    password = read_password() if password_stdin else MASK
    strings = _written(strings, style, password)
    if as_json:
        output.as_json(strings)
        return
    for line in pick(strings, pooled=pooled, shadow=shadow).splitlines():
        output.line(line)
    if form == "pgadmin":
        output.note("pgAdmin imports no password: it asks for it.")
    elif not password_stdin:
        output.note(
            "The password was shown once, when it was made; --password-stdin puts it in. "
            f"Lost? `tenantry {'db' if role is None else 'role'} rotate-password` makes a new one."
        )


def psql(
    database: Named,
    arguments: Annotated[
        list[str] | None, typer.Argument(metavar="PSQL_ARGUMENTS", show_default=False)
    ] = None,
    *,
    role: AsRole = None,
    env: In = None,
    pooled: Pooled = False,
    shadow: Shadow = False,
) -> None:
    """Open psql on a database and verify the server's certificate.

    Tenantry stores no passwords: psql takes it from PGPASSWORD or ~/.pgpass, or asks.

    Put Tenantry's own options before the name, and psql's after it.

    Examples:

        tenantry db psql shop

        tenantry db psql --role reporting shop

        tenantry db psql --env staging --pooled shop -c 'select now()'
    """
    with connect() as api:
        strings = strings_of(api, find(api, database, env), role)
        address = pick(strings, pooled=pooled, shadow=shadow)
        _become_psql(api, address, arguments or [])


def strings_of(api: Api, row: Row, role: str | None = None) -> Row:
    """Return the connection strings of a database's owner role, with the passwords hidden.

    Those of an additional role, if one is named, lack the shadow database. Raises NotFound.
    """
    if role is None:
        strings: Row = api.get(f"/api/databases/{row['id']}/connection-strings")
        return strings
    found = find_role(api, row, role)
    own = {name: found[name] for name in (*_OF_ROLES, "prisma", "connection")}
    return {"database_name": row["database_name"], "role": found["username"], **own}


def _written(strings: Row, style: Style, password: str) -> Row:
    """Return the API's connection strings in another client's format, with a password."""

    def render(url: str, style: Style, *, pooled: bool) -> str:
        return style.render(replace(Login.parse(url, pooled=pooled), password=password))

    written = {
        name: render(url, style, pooled=name in _POOLED)
        for name in _STRINGS
        if (url := strings.get(name))
    }
    prisma = {
        name: render(url, replace(style, format="prisma"), pooled="pgbouncer=true" in url)
        for name, url in strings.get("prisma", {}).items()
    }
    connection = strings.get("connection", {}) | {"password": password}
    return strings | written | {"prisma": prisma, "connection": connection}


def read_password() -> str:
    """Read the password from standard input. Raises InvalidInput if there is none."""
    if sys.stdin.isatty():
        return str(typer.prompt("Password", hide_input=True, err=True))
    if password := sys.stdin.readline().rstrip("\r\n"):
        return password
    raise InvalidInput.of("--password-stdin", "standard input has no password.")


def pick(strings: Row, *, pooled: bool, shadow: bool) -> str:
    field = "shadow_database_url" if shadow else "connection_string"
    picked = strings.get(f"{field}_pooled" if pooled else field)
    if not picked:
        who = strings.get("role") or strings["database_name"]
        raise NotFound(f"{who} has no {'shadow database' if shadow else 'pooled string'}.")
    return str(picked)


def labelled(strings: Row) -> list[tuple[str, object]]:
    """Return the four connection strings with their labels."""
    return [
        ("direct", strings.get("connection_string")),
        ("pooled", strings.get("connection_string_pooled")),
        ("shadow", strings.get("shadow_database_url")),
        ("shadow pooled", strings.get("shadow_database_url_pooled")),
    ]


def show_opened(row: Row) -> None:
    """Show the connection strings of a database, and its password on a line of its own."""
    output.facts(labelled(row))
    output.secret("password     ", row["password"], last=not row.get("roles"))


def parameters(login: Login) -> dict[str, str]:
    """Return libpq's environment variables for a login, without the password."""
    return {
        "PGHOST": login.host,
        "PGPORT": str(login.port),
        "PGUSER": login.username,
        "PGDATABASE": login.database,
        "PGSSLMODE": "verify-full",
    }


def _become_psql(api: Api, url: str, arguments: Sequence[str]) -> NoReturn:
    """Replace this process with psql on the database of ``url``.

    psql verifies the server (``verify-full``) by the platform's authority, or by
    ``PGSSLROOTCERT`` if that is set. It takes the password from ``PGPASSWORD`` or ``~/.pgpass``,
    or asks for it.
    """
    env = {**os.environ, **parameters(Login.parse(url))}
    # A service file would override the host.
    env.pop("PGSERVICE", None)
    if not env.get("PGSSLROOTCERT"):
        env["PGSSLROOTCERT"] = str(authority(api))
    sys.stdout.flush()
    try:
        os.execvpe("psql", ["psql", *arguments], env)  # noqa: S606, S607 (the user's own psql)
    except FileNotFoundError:
        raise MachineError(
            "psql is not installed here.", hint="Install it: apt install postgresql-client."
        ) from None


def authority(api: Api) -> Path:
    """Return the path of the platform's CA certificate on this machine.

    The certificate of a platform on another machine is requested each time: a new installation
    has a new authority.
    """
    here = local_api.load()
    own = Home(here.home).ca_certificate
    if api.url == here.url and os.access(own, os.R_OK):
        return own
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tenantry"
    files.ensure_folder(cache)
    file = cache / f"ca-{sha256(api.url.encode()).hexdigest()[:12]}.crt"
    files.ensure_file(file, api.text("/ca.crt"), mode=0o644)
    return file
