"""``tenantry db url`` and ``tenantry db psql``: the way to a database."""

import os
import sys
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Annotated, NoReturn
from urllib.parse import unquote, urlsplit

import typer

from tenantry.base.errors import MachineError, NotFound
from tenantry.cli import output
from tenantry.cli.client import Api, Row, connect
from tenantry.cli.door import Json
from tenantry.cli.finding import In, Named, find
from tenantry.host import files

Pooled = Annotated[bool, typer.Option("--pooled", help="Through PgBouncer.")]
Shadow = Annotated[bool, typer.Option("--shadow", help="The shadow database.")]


def url(
    database: Named,
    *,
    env: In = None,
    pooled: Pooled = False,
    shadow: Shadow = False,
    as_json: Json = False,
) -> None:
    """Print a connection string, its password hidden: that was shown once, when it was made.

    Example:

        tenantry db url shop --pooled
    """
    with connect() as api:
        strings = strings_of(api, find(api, database, env))
    if as_json:
        output.as_json(strings)
        return
    output.line(_pick(strings, pooled=pooled, shadow=shadow))
    output.note(
        "The password was shown once, when it was made. "
        "Lost? `tenantry db rotate-password` makes a new one."
    )


def psql(
    database: Named,
    arguments: Annotated[
        list[str] | None, typer.Argument(metavar="PSQL_ARGUMENTS", show_default=False)
    ] = None,
    *,
    env: In = None,
    pooled: Pooled = False,
    shadow: Shadow = False,
) -> None:
    """Open psql on a database; the server's certificate is verified.

    Tenantry keeps no password: psql takes it from PGPASSWORD or ~/.pgpass, or asks.

    Tenantry's own options stand before the name, psql's after it.

    Examples:

        tenantry db psql shop

        tenantry db psql --env staging --pooled shop -c 'select now()'
    """
    with connect() as api:
        strings = strings_of(api, find(api, database, env))
        address = _pick(strings, pooled=pooled, shadow=shadow)
        _become_psql(api, address, arguments or [])


def strings_of(api: Api, row: Row) -> Row:
    """A database's connection strings, their passwords hidden."""
    strings: Row = api.get(f"/api/databases/{row['id']}/connection-strings")
    return strings


def _pick(strings: Row, *, pooled: bool, shadow: bool) -> str:
    field = "shadow_database_url" if shadow else "connection_string"
    picked = strings.get(f"{field}_pooled" if pooled else field)
    if not picked:
        raise NotFound(
            f"{strings['database_name']} has no {'shadow database' if shadow else 'pooled door'}."
        )
    return str(picked)


def labelled(strings: Row) -> list[tuple[str, object]]:
    """The four connection strings under the names that people read."""
    return [
        ("direct", strings.get("connection_string")),
        ("pooled", strings.get("connection_string_pooled")),
        ("shadow", strings.get("shadow_database_url")),
        ("shadow pooled", strings.get("shadow_database_url_pooled")),
    ]


def parameters(url: str) -> dict[str, str]:
    """A connection string as libpq's environment variables, its password left out."""
    parts = urlsplit(url)
    return {
        "PGHOST": parts.hostname or "",
        "PGPORT": str(parts.port or 5432),
        "PGUSER": unquote(parts.username or ""),
        "PGDATABASE": unquote(parts.path.removeprefix("/")),
        "PGSSLMODE": "verify-full",
    }


def _become_psql(api: Api, url: str, arguments: Sequence[str]) -> NoReturn:
    """Become psql on the database of ``url``.

    The server has to prove who it is (``verify-full``) by the platform's
    authority, or by ``PGSSLROOTCERT`` where that is set. psql finds the password
    as ever: ``PGPASSWORD``, ``~/.pgpass``, or it asks.
    """
    env = {**os.environ, **parameters(url)}
    # A service file would override the host that was asked for.
    env.pop("PGSERVICE", None)
    if not env.get("PGSSLROOTCERT"):
        env["PGSSLROOTCERT"] = str(_authority(api))
    sys.stdout.flush()
    try:
        os.execvpe("psql", ["psql", *arguments], env)  # noqa: S606, S607 (the user's own psql)
    except FileNotFoundError:
        raise MachineError(
            "psql is not installed here.", hint="Install it: apt install postgresql-client."
        ) from None


def _authority(api: Api) -> Path:
    """The platform's CA certificate, asked for anew: a new installation has a new authority."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tenantry"
    files.ensure_folder(cache)
    file = cache / f"ca-{sha256(api.url.encode()).hexdigest()[:12]}.crt"
    files.ensure_file(file, api.text("/ca.crt"), mode=0o644)
    return file
