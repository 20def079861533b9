"""Allowlists of databases and sites: what their commands have in common."""

import contextlib
import datetime as dt
import ipaddress
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated
from urllib.parse import quote

import typer

from tenantry.base import allowlist_text
from tenantry.base.errors import InvalidInput, NotFound
from tenantry.base.networks import parse_network
from tenantry.cli import output, streams, times
from tenantry.cli.asking import confirm, require_terminal
from tenantry.cli.client import Api, Page, Row

Address = Annotated[str, typer.Argument(help="An address or a CIDR range.")]
Description = Annotated[str | None, typer.Option(help="Whose it is.")]
Expires = Annotated[
    str | None, typer.Option(metavar="WHEN", help="In 30d, 12h, 2w, on a date, or never.")
]
Refusing = Annotated[
    bool, typer.Option("--yes", "-y", help="Do not ask, even if your own address is refused.")
]
Listed = Annotated[str, typer.Argument(help="The address or range, or its id.")]
File = Annotated[
    Path, typer.Argument(metavar="FILE", help="The list, in lines; -: standard input.")
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Show what would change, and change nothing.")
]
Open = Annotated[
    bool, typer.Option("--open", help="Accept an empty list, which allows all addresses.")
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]

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


@dataclass(frozen=True, slots=True)
class Allowlist:
    """The allowlist of something: its route, the name of that, and how its list is shown.

    ``refuses`` is how the name is followed up about who is refused by a first entry.
    """

    api: Api
    path: str
    name: str
    command: str
    refuses: str

    def show(self, *, as_json: bool) -> None:
        """Show all entries."""
        everywhere = f"{self.name} may be reached from everywhere."
        output.listing(self.api.rows(self.path), _COLUMNS, empty=everywhere, in_json=as_json)

    def add(
        self,
        address: str,
        *,
        description: str | None,
        expires: str | None,
        yes: bool,
        as_json: bool,
    ) -> None:
        """Add an entry; on a terminal ask before a first one that refuses the caller."""
        wanted: dict[str, object] = {"ip_address": address}
        if description:
            wanted["description"] = description
        if expires:
            wanted["expires_at"] = None if expires == "never" else times.future(expires).isoformat()
        if not yes and sys.stdin.isatty():
            _require_consent(self.api.rows(self.path), address, self.name)
        entry = self.api.post(self.path, wanted)
        if as_json:
            output.as_json(entry)
            return
        end = f" until {times.local(entry['expires_at'])}" if entry["expires_at"] else ""
        output.done(f"{entry['ip_address']} may reach {self.name}{end}")
        if "/" in address and entry["ip_address"] != address:
            output.note(f"{address} was taken for all of {entry['ip_address']}.", style="yellow")
        if entry["closes"]:
            output.note(
                f"It is the first entry: from now on {self.name} refuses {self.refuses} until there"
                " is no entry any more.",
                style="yellow",
            )
        _report_ended(entry)

    def remove(self, address: str, *, as_json: bool) -> None:
        """Remove an entry, which is named by its address or its id."""
        wanted = {address, _network(address)}
        rows = self.api.rows(self.path).rows
        found = [each for each in rows if wanted & {each["ip_address"], each["id"]}]
        if not found:
            raise NotFound(
                f"{address} is not on the allowlist of {self.name}.",
                hint=f"`{self.command}` shows it.",
            )
        entry = self.api.delete(f"{self.path}/{quote(str(found[0]['id']), safe='')}")
        if as_json:
            output.as_json(entry)
            return
        output.done(f"{found[0]['ip_address']} is off the allowlist of {self.name}")
        if entry["opens"]:
            output.note(
                f"It was the last entry: {self.name} may be reached from everywhere now.",
                style="yellow",
            )
        _report_ended(entry)

    def replace(self, wanted: Row, *, dry_run: bool, yes: bool, as_json: bool) -> None:
        """Replace the whole list, after what changes was shown."""
        found = self.api.post(f"{self.path}/preview", wanted)
        if dry_run and as_json:
            output.as_json(found)
            return
        if not as_json:
            _show_preview(found, self.name)
        if dry_run:
            return
        if not yes:
            confirm("Replace the allowlist?")
        entries = self.api.put(self.path, wanted | {"version": found["version"]})
        if as_json:
            output.as_json(entries)
            return
        output.done(f"The allowlist of {self.name} is replaced")


def wanted_list(file: Path, *, may_open: bool, asks: bool, as_json: bool) -> Row:
    """Return the list of a file, before anything is connected to.

    Raises InvalidInput; also for an empty one, unless it may open; and, if the command ``asks``,
    without a terminal.
    """
    wanted = _wanted(file, may_open=may_open)
    if asks:
        require_terminal(as_json=as_json)
    return wanted


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
