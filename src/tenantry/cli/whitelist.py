"""``tenantry whitelist``: from where a database may be reached."""

import datetime as dt
from typing import Annotated
from urllib.parse import quote

import typer

from tenantry.base.errors import InvalidInput, NotFound
from tenantry.cli import output, times
from tenantry.cli.client import connect
from tenantry.cli.door import Json
from tenantry.cli.finding import In, Named, find, title
from tenantry.services.network.plan import parse_network

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


@app.command("list")
def list_entries(database: Named, env: In = None, as_json: Json = False) -> None:
    """List who may reach a database; no entry means everybody.

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
        dt.datetime | None,
        typer.Option(parser=times.future, metavar="WHEN", help="In 30d, 12h, 2w, or on a date."),
    ] = None,
    env: In = None,
    as_json: Json = False,
) -> None:
    """Admit an address; the first one closes the database to all others.

    Example:

        tenantry whitelist add shop 203.0.113.0/24 --description office
    """
    wanted: dict[str, object] = {"ip_address": address}
    if description:
        wanted["description"] = description
    if expires:
        wanted["expires_at"] = expires.isoformat()
    with connect() as api:
        row = find(api, database, env)
        entry = api.post(f"/api/databases/{row['id']}/whitelist", wanted)
    if as_json:
        output.as_json(entry)
        return
    output.done(f"{entry['ip_address']} may reach {title(row)}")
    if "/" in address and entry["ip_address"] != address:
        output.note(f"{address} was taken for all of {entry['ip_address']}.", style="yellow")


def _network(address: str) -> str:
    """An address or range as it is listed; as it is if it is none."""
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
    """No longer admit an address, and end its sessions; without the last one, all may come.

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
    output.done(f"{found[0]['ip_address']} may no longer reach {title(row)}")
