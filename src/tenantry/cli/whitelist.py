"""``tenantry whitelist``: the allowlist of a database."""

import contextlib
import datetime as dt
import ipaddress
import sys
from pathlib import Path
from typing import Annotated
from urllib.parse import quote

import typer

from tenantry.base import allowlist_text
from tenantry.base.errors import InvalidInput, NotFound
from tenantry.base.networks import parse_network
from tenantry.cli import output, streams, times
from tenantry.cli.asking import confirm, require_terminal
from tenantry.cli.client import Page, Row, connect
from tenantry.cli.entry_point import Json
from tenantry.cli.finding import In, Named, find, title

app = typer.Typer(
    help="Allowlists: the addresses that may reach a database, at both ports.",
    no_args_is_help=True,
)

_COLUMNS: dict[str, output.Cell] = {
    "ADDRESS": "ip_address",
    "DESCRIPTION": "description",
    "EXPIRES": lambda row: times.distance(row["expires_at"]),
    "ID": "id",
}
_CHANGES: dict[str, output.Cell] = {
    "CHANGE": "action",
    "ADDRESS": "ip_address",
    "DESCRIPTION": "description",
    "EXPIRES": lambda row: times.distance(row["expires_at"]),
}
_ENDING: dict[str, output.Cell] = {
    "LOGIN": "username",
    "FROM": "address",
    "AT": "endpoint",
    "SESSIONS THAT END": lambda row: f"{row['sessions']:,}",
}


@app.command("list")
def list_entries(database: Named, env: In = None, as_json: Json = False) -> None:
    """List the addresses that may reach a database; an empty list allows all.

    Example:

        tenantry whitelist list shop
    """
    with connect() as api:
        row = find(api, database, env)
        page = api.rows(f"/api/databases/{row['id']}/whitelist")
    everywhere = f"{title(row)} may be reached from everywhere."
    output.listing(page, _COLUMNS, empty=everywhere, in_json=as_json)


@app.command()
def add(
    database: Named,
    address: Annotated[str, typer.Argument(help="An address or a CIDR range.")],
    *,
    description: Annotated[str | None, typer.Option(help="Whose it is.")] = None,
    expires: Annotated[
        str | None,
        typer.Option(metavar="WHEN", help="In 30d, 12h, 2w, on a date, or never."),
    ] = None,
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Do not ask, even if your own address is refused.")
    ] = False,
    env: In = None,
    as_json: Json = False,
) -> None:
    """Allow an address; the first entry closes the database to all other addresses.

    If the address is already listed, an omitted description or expiry stays unchanged. On a
    terminal it asks before a first entry that would refuse your own address.

    Example:

        tenantry whitelist add shop 203.0.113.0/24 --description office
    """
    wanted: dict[str, object] = {"ip_address": address}
    if description:
        wanted["description"] = description
    if expires:
        wanted["expires_at"] = None if expires == "never" else times.future(expires).isoformat()
    with connect() as api:
        row = find(api, database, env)
        path = f"/api/databases/{row['id']}/whitelist"
        if not yes and sys.stdin.isatty():
            _require_consent(api.rows(path), address, title(row))
        entry = api.post(path, wanted)
    if as_json:
        output.as_json(entry)
        return
    end = f" until {times.local(entry['expires_at'])}" if entry["expires_at"] else ""
    output.done(f"{entry['ip_address']} may reach {title(row)}{end}")
    if "/" in address and entry["ip_address"] != address:
        output.note(f"{address} was taken for all of {entry['ip_address']}.", style="yellow")
    if entry["closes"]:
        output.note(
            f"It is the first entry: from now on {title(row)} refuses everybody else, at both "
            "ports, until there is no entry any more.",
            style="yellow",
        )
    _report_ended(entry)


def _require_consent(page: Page, address: str, name: str) -> None:
    """Ask before the first entry of a list refuses the caller's own address."""
    caller = page.about.get("caller_address")
    if page.rows or caller is None:
        return
    with contextlib.suppress(InvalidInput, ValueError):
        if ipaddress.ip_address(caller) in parse_network(address):
            return
    output.note(
        f"It would be the first entry of {name}: everybody else is refused from then on. You come "
        f"from {output.plain(caller)}, and are refused as well.",
        style="bold",
    )
    typer.confirm("Go on?", abort=True, err=True)


def _report_ended(entry: Row) -> None:
    if count := entry["ended_sessions"]:
        sessions = "session was" if count == 1 else "sessions were"
        output.note(f"{count} open {sessions} ended.", style="yellow")


def _network(address: str) -> str:
    """Return an address or range in its listed form; anything else unchanged."""
    try:
        return str(parse_network(address))
    except InvalidInput:
        return address


@app.command()
def remove(
    database: Named,
    address: Annotated[str, typer.Argument(help="The address or range, or its id.")],
    env: In = None,
    as_json: Json = False,
) -> None:
    """Remove an address and end its sessions; without entries all addresses are allowed.

    Example:

        tenantry whitelist remove shop 203.0.113.0/24
    """
    with connect() as api:
        row = find(api, database, env)
        path = f"/api/databases/{row['id']}/whitelist"
        wanted = {address, _network(address)}
        found = [each for each in api.rows(path).rows if wanted & {each["ip_address"], each["id"]}]
        if not found:
            raise NotFound(
                f"{address} is not on the allowlist of {title(row)}.",
                hint=f"`tenantry whitelist list {database}` shows it.",
            )
        entry = api.delete(f"{path}/{quote(str(found[0]['id']), safe='')}")
    if as_json:
        output.as_json(entry)
        return
    output.done(f"{found[0]['ip_address']} is off the allowlist of {title(row)}")
    if entry["opens"]:
        output.note(
            f"It was the last entry: {title(row)} may be reached from everywhere now.",
            style="yellow",
        )
    _report_ended(entry)


@app.command()
def replace(
    database: Named,
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="The list, in lines; -: standard input.")
    ],
    *,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would change, and change nothing.")
    ] = False,
    may_open: Annotated[
        bool, typer.Option("--open", help="Accept an empty list, which allows all addresses.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
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
    wanted = _wanted(file, may_open=may_open)
    if not (yes or dry_run):
        require_terminal(as_json=as_json)
    with connect() as api:
        row = find(api, database, env)
        path = f"/api/databases/{row['id']}/whitelist"
        found = api.post(f"{path}/preview", wanted)
        if dry_run and as_json:
            output.as_json(found)
            return
        if not as_json:
            _show_preview(found, title(row))
        if dry_run:
            return
        if not yes:
            confirm("Replace the allowlist?")
        entries = api.put(path, wanted | {"version": found["version"]})
    if as_json:
        output.as_json(entries)
        return
    output.done(f"The allowlist of {title(row)} is replaced")


def _wanted(file: Path, *, may_open: bool) -> Row:
    """Return the list of a file. Raises InvalidInput; also for none, unless it may open."""
    text = streams.text(
        file, "The list", hint="Name a file with an address in each line, or - for standard input."
    )
    lines = allowlist_text.parse(text, now=dt.datetime.now(dt.UTC))
    if not (lines or may_open):
        raise InvalidInput(
            "The list has no entry: the database would be reached from everywhere.",
            hint="Add --open if it shall.",
        )
    return {"entries": [each.body() for each in lines]}


def _show_preview(found: Row, name: str) -> None:
    output.table(found["changes"], _CHANGES, empty="Nothing would change.")
    if found["closes"]:
        output.note(f"It closes {name} to all other addresses.", style="yellow")
    if found["opens"]:
        output.note(f"No entry is left: {name} is reached from everywhere.", style="yellow")
    if found["ending_sessions"]:
        output.line("")
        output.table(found["ending_sessions"], _ENDING, empty="")
