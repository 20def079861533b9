"""``tenantry cache whitelist``: the allowlist of a site."""

from collections.abc import Iterator
from contextlib import contextmanager

import typer

from tenantry.cli import allowlists, output
from tenantry.cli.allowlists import Allowlist
from tenantry.cli.client import Row, connect
from tenantry.cli.entry_point import Json
from tenantry.cli.finding_sites import Named, find

app = typer.Typer(
    help="Allowlists: the addresses that may reach the Redis of a site.", no_args_is_help=True
)


@contextmanager
def _of(site: str, *, changes: bool = False, quiet: bool = False) -> Iterator[Allowlist]:
    """Yield the allowlist of a site; afterwards note if a changed one cannot be obeyed."""
    with connect() as api:
        row = find(api, site)
        path = f"/api/sites/{row['id']}"
        command = f"tenantry cache whitelist list {site}"
        refuses = "everybody else, but programs on the platform's machine,"
        yield Allowlist(api, f"{path}/whitelist", str(row["name"]), command, refuses)
        if changes and not quiet:
            note_closed(api.get(path))


def note_closed(row: Row) -> None:
    """Note if a site is reached from the platform's machine only, despite its allowlist."""
    if row["reached_why"]:
        output.note(
            f"{row['name']} is reached from the platform's machine only: {row['reached_why']}.",
            style="yellow",
        )


@app.command("list")
def list_entries(site: Named, as_json: Json = False) -> None:
    """List the addresses that may reach a site; an empty list allows all.

    Example:

        tenantry cache whitelist list shop
    """
    with _of(site) as listed:
        listed.show(as_json=as_json)


@app.command()
def add(
    site: Named,
    address: allowlists.Address,
    *,
    description: allowlists.Description = None,
    expires: allowlists.Expires = None,
    yes: allowlists.Refusing = False,
    as_json: Json = False,
) -> None:
    """Allow an address; the first entry closes the site to all other addresses.

    If the address is already listed, an omitted description or expiry stays unchanged. On a
    terminal it asks before a first entry that would refuse your own address.

    Example:

        tenantry cache whitelist add shop 203.0.113.0/24 --description office
    """
    with _of(site, changes=True, quiet=as_json) as listed:
        listed.add(address, description=description, expires=expires, yes=yes, as_json=as_json)


@app.command()
def remove(site: Named, address: allowlists.Listed, as_json: Json = False) -> None:
    """Remove an address and end its connections; without entries all addresses are allowed.

    Example:

        tenantry cache whitelist remove shop 203.0.113.0/24
    """
    with _of(site, changes=True, quiet=as_json) as listed:
        listed.remove(address, as_json=as_json)


@app.command()
def replace(
    site: Named,
    file: allowlists.File,
    *,
    dry_run: allowlists.DryRun = False,
    may_open: allowlists.Open = False,
    yes: allowlists.Yes = False,
    as_json: Json = False,
) -> None:
    """Replace the whole allowlist by that of a file.

    Each line has an address or a range, until when if it ends, and a description after #. Shows
    what changes and whose connections end. Asks on a terminal; otherwise --yes is required.

    Examples:

        tenantry cache whitelist replace shop allowed.txt --dry-run

        echo "203.0.113.0/24 # office" | tenantry cache whitelist replace shop - --yes
    """
    wanted = allowlists.wanted_list(
        file, may_open=may_open, asks=not (yes or dry_run), as_json=as_json
    )
    with _of(site, changes=not dry_run, quiet=as_json) as listed:
        listed.replace(wanted, dry_run=dry_run, yes=yes, as_json=as_json)
