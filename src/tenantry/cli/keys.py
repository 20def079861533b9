"""``tenantry key``: API keys and their scopes."""

from typing import Annotated
from urllib.parse import quote

import typer

from tenantry.base.errors import Conflict, NotFound
from tenantry.base.ids import parse_id
from tenantry.base.suggestions import did_you_mean
from tenantry.cli import naming, output, times
from tenantry.cli.client import Api, Row, connect
from tenantry.cli.customers import NewCustomer, send
from tenantry.cli.entry_point import Json

app = typer.Typer(help="API keys: create, list, revoke.", no_args_is_help=True)


def _creator(row: Row) -> str | None:
    """Return the key that created a key, if any, and the user or platform behind it."""
    if "created_by" not in row:  # the API is of an earlier release
        return None
    creator = row["created_by"]
    who = "platform" if creator["kind"] == "platform" else creator["name"] or "a deleted user"
    return f"{row['parent']['name']} ({who})" if row["parent"] else who


def _ends(row: Row) -> str:
    status = row.get("status", "revoked" if row["revoked_at"] else "active")
    return times.distance(row["expires_at"]) if status == "active" else status


_COLUMNS: dict[str, output.Cell] = {
    "NAME": "name",
    "BEGINS WITH": "prefix",
    "SCOPES": "scopes",
    "CUSTOMER": "customer_email",
    "CREATED BY": _creator,
    "AGE": lambda row: times.distance(row["created_at"]),
    "USED": lambda row: times.distance(row["last_used_at"]),
    "EXPIRES": _ends,
    "ID": "id",
}


@app.command()
def create(
    called: naming.Argument = None,
    *,
    name: Annotated[str | None, typer.Option(help="What the key is for.")] = None,
    scope: Annotated[
        list[str],
        typer.Option(
            help="What it may do: admin, databases:read, databases:write, data:read, data:write, "
            "backups:read, backups:write, keys:read, keys:write, audit:read, metrics:read, "
            "platform:read. Once for each."
        ),
    ],
    customer: Annotated[
        str | None,
        typer.Option(metavar="EMAIL", help="Bind it to this customer: it sees only their own."),
    ] = None,
    new_customer: NewCustomer = False,
    expires: Annotated[
        str | None,
        typer.Option(
            parser=times.text_of(times.future, "never"),
            metavar="WHEN",
            help="In 30d, 12h, 2w, on a date, or never (the default).",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Create an API key, and show it once.

    Examples:

        tenantry key create --name ci --scope databases:read --scope databases:write --expires 90d

        tenantry key create --name ann --scope databases:write --customer ann@example.com
    """
    wanted: dict[str, object] = {"name": naming.required(called, name), "scopes": scope}
    if customer:
        wanted["customer_email"] = customer
    if expires and expires != "never":
        wanted["expires_at"] = expires
    with connect() as api:
        row = send(lambda body: api.post("/api/api-keys", body), wanted, new=new_customer)
    if as_json:
        output.as_json(row)
        return
    output.done(f"The key “{row['name']}” is made")
    output.facts(
        [
            ("id", row["id"]),
            ("scopes", row["scopes"]),
            ("customer", row.get("customer_email")),
            ("created by", _creator(row)),
            ("expires", row.get("expires_at")),
        ]
    )
    output.secret("key", row["key"])


@app.command("list")
def list_keys(as_json: Json = False) -> None:
    """List API keys, without their secrets.

    Example:

        tenantry key list
    """
    with connect() as api:
        page = api.rows("/api/api-keys")
    output.listing(
        page,
        _COLUMNS,
        empty="There is no API key.",
        in_json=as_json,
        spare=("CREATED BY", "USED", "BEGINS WITH", "ID", "AGE", "CUSTOMER"),
    )


@app.command()
def revoke(
    key: Annotated[str, typer.Argument(help="Its id, or its name.", show_default=False)],
    as_json: Json = False,
) -> None:
    """Revoke an API key, and those created with it, immediately.

    Example:

        tenantry key revoke ci
    """
    with connect() as api:
        answer = api.delete(f"/api/api-keys/{quote(_find(api, key), safe='')}")
    if as_json:
        output.as_json(answer)
        return
    output.done(f"The key {key} is revoked")


def _find(api: Api, text: str) -> str:
    if parse_id(text):
        return text
    there = [row for row in api.rows("/api/api-keys").rows if not row["revoked_at"]]
    found = [str(row["id"]) for row in there if row["name"] == text]
    if not found:
        meant = did_you_mean(text, [str(row["name"]) for row in there])
        raise NotFound(
            f"No key in force is called “{text}”.",
            hint=meant or "`tenantry key list` shows them.",
        )
    if len(found) > 1:
        raise Conflict(
            f"“{text}” is the name of several keys: {', '.join(found)}.", hint="Say the id."
        )
    return found[0]
