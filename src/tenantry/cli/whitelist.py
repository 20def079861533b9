"""``tenantry whitelist``: the allowlist of a database."""

from collections.abc import Iterator
from contextlib import contextmanager

import typer

from tenantry.cli import allowlists
from tenantry.cli.allowlists import Allowlist
from tenantry.cli.client import connect
from tenantry.cli.entry_point import Json
from tenantry.cli.finding import In, Named, find, title

app = typer.Typer(
    help="Allowlists: the addresses that may reach a database, at both ports.",
    no_args_is_help=True,
)


@contextmanager
def _of(database: str, env: str | None) -> Iterator[Allowlist]:
    with connect() as api:
        row = find(api, database, env)
        yield Allowlist(
            api,
            f"/api/databases/{row['id']}/whitelist",
            title(row),
            f"tenantry whitelist list {database}",
            "everybody else, at both ports,",
        )


@app.command("list")
def list_entries(database: Named, env: In = None, as_json: Json = False) -> None:
    """List the addresses that may reach a database; an empty list allows all.

    Example:

        tenantry whitelist list shop
    """
    with _of(database, env) as listed:
        listed.show(as_json=as_json)


@app.command()
def add(
    database: Named,
    address: allowlists.Address,
    *,
    description: allowlists.Description = None,
    expires: allowlists.Expires = None,
    yes: allowlists.Refusing = False,
    env: In = None,
    as_json: Json = False,
) -> None:
    """Allow an address; the first entry closes the database to all other addresses.

    If the address is already listed, an omitted description or expiry stays unchanged. On a
    terminal it asks before a first entry that would refuse your own address.

    Example:

        tenantry whitelist add shop 203.0.113.0/24 --description office
    """
    with _of(database, env) as listed:
        listed.add(address, description=description, expires=expires, yes=yes, as_json=as_json)


@app.command()
def remove(
    database: Named,
    address: allowlists.Listed,
    env: In = None,
    as_json: Json = False,
) -> None:
    """Remove an address and end its sessions; without entries all addresses are allowed.

    Example:

        tenantry whitelist remove shop 203.0.113.0/24
    """
    with _of(database, env) as listed:
        listed.remove(address, as_json=as_json)


@app.command()
def replace(
    database: Named,
    file: allowlists.File,
    *,
    dry_run: allowlists.DryRun = False,
    may_open: allowlists.Open = False,
    yes: allowlists.Yes = False,
    env: In = None,
    as_json: Json = False,
) -> None:
    """Replace the whole allowlist by that of a file.

    Each line has an address or a range, until when if it ends, and a description after #. Shows
    what changes and whose sessions end. Asks on a terminal; otherwise --yes is required.

    Examples:

        tenantry whitelist replace shop allowed.txt --dry-run

        echo "203.0.113.0/24 # office" | tenantry whitelist replace shop - --yes
    """
    wanted = allowlists.wanted_list(
        file, may_open=may_open, asks=not (yes or dry_run), as_json=as_json
    )
    with _of(database, env) as listed:
        listed.replace(wanted, dry_run=dry_run, yes=yes, as_json=as_json)
