"""``tenantry user``: the users who can log in."""

from typing import Annotated
from urllib.parse import quote

import typer

from tenantry.base.errors import NotFound
from tenantry.base.ids import parse_id
from tenantry.base.suggestions import did_you_mean
from tenantry.cli import output, times
from tenantry.cli.client import Api, Row, connect
from tenantry.cli.customers import NewCustomer, send
from tenantry.cli.entry_point import Json

app = typer.Typer(
    help="Users: create, list, disable, unlock, reset. For administrators.", no_args_is_help=True
)

Who = Annotated[
    str,
    typer.Argument(metavar="USER", help="The e-mail address, or the id.", show_default=False),
]


def _state(row: Row) -> str:
    if row["disabled_at"]:
        return "disabled"
    return "locked" if times.is_future(row["locked_until"]) else "active"


_COLUMNS: dict[str, output.Cell] = {
    "E-MAIL": "email",
    "NAME": "name",
    "ROLE": "role",
    "CUSTOMER": "customer_email",
    "MFA": "mfa",
    "STATE": _state,
    "LAST LOGIN": lambda row: times.distance(row["last_login_at"]),
    "ID": "id",
}


@app.command()
def create(
    email: Annotated[str, typer.Argument(help="Their e-mail address.", show_default=False)],
    *,
    name: Annotated[str | None, typer.Option(help="What they are called.")] = None,
    administrator: Annotated[
        bool, typer.Option("--administrator", help="They may do everything.")
    ] = False,
    viewer: Annotated[
        bool, typer.Option("--viewer", help="They see their customer's, and change nothing.")
    ] = False,
    customer: Annotated[
        str | None,
        typer.Option(metavar="EMAIL", help="The customer they belong to, if not themselves."),
    ] = None,
    new_customer: NewCustomer = False,
    as_json: Json = False,
) -> None:
    """Create a user, and show an initial password once.

    Examples:

        tenantry user create ann@shop.example --customer ops@shop.example

        tenantry user create bob@shop.example --customer ops@shop.example --viewer

        tenantry user create me@example.com --administrator
    """
    if administrator and viewer:
        raise typer.BadParameter("--administrator and --viewer exclude each other.")
    wanted: dict[str, object] = {
        "email": email,
        "role": "administrator" if administrator else "viewer" if viewer else "customer",
    }
    if name:
        wanted["name"] = name
    if customer or not administrator:
        wanted["customer_email"] = customer or email
    with connect() as api:
        row = send(lambda body: api.post("/api/users", body), wanted, new=new_customer)
    _done(row, f"{row['email']} may log in{_for(row)}", as_json)
    if not as_json:
        output.note(
            f"They log in with `tenantry login {row['email']}`, and change the password with"
            " `tenantry password`."
        )


@app.command("list")
def list_users(as_json: Json = False) -> None:
    """List users.

    Example:

        tenantry user list
    """
    with connect() as api:
        page = api.rows("/api/users")
    output.listing(page, _COLUMNS, empty="There is no user.", in_json=as_json)


@app.command()
def disable(user: Who, as_json: Json = False) -> None:
    """Disable a user: their sessions end, and keys that they created stop working.

    Example:

        tenantry user disable ann@shop.example
    """
    with connect() as api:
        row = api.patch(_path(api, user), {"disabled": True})
    _done(row, f"{row['email']} is locked out", as_json)


@app.command()
def enable(user: Who, as_json: Json = False) -> None:
    """Enable a disabled user.

    Example:

        tenantry user enable ann@shop.example
    """
    with connect() as api:
        row = api.patch(_path(api, user), {"disabled": False})
    _done(row, f"{row['email']} may log in again", as_json)


@app.command()
def unlock(user: Who, as_json: Json = False) -> None:
    """Reset a user's failed logins, so that they can log in at once.

    Example:

        tenantry user unlock ann@shop.example
    """
    with connect() as api:
        row = api.post(f"{_path(api, user)}/unlock")
    _done(row, f"{row['email']} is unlocked", as_json)


@app.command("reset-password")
def reset_password(user: Who, as_json: Json = False) -> None:
    """Set a new password for a user, shown once; their sessions end.

    Example:

        tenantry user reset-password ann@shop.example
    """
    with connect() as api:
        row = api.post(f"{_path(api, user)}/reset-password")
    _done(row, f"{row['email']} has a new password", as_json)


@app.command("remove-totp")
def remove_totp(user: Who, as_json: Json = False) -> None:
    """Remove the authenticator of a user who has lost it; their sessions end.

    Example:

        tenantry user remove-totp ann@shop.example
    """
    with connect() as api:
        row = api.post(f"{_path(api, user)}/remove-totp")
    _done(row, f"{row['email']} logs in without a code", as_json)


@app.command()
def delete(user: Who, as_json: Json = False) -> None:
    """Delete a user with their sessions and the keys that they created.

    Example:

        tenantry user delete ann@shop.example
    """
    with connect() as api:
        row = api.delete(_path(api, user))
    _done(row, f"{row['email']} is deleted", as_json)


def _for(row: Row) -> str:
    if row["role"] == "administrator":
        return ", as an administrator"
    customer = row["customer_email"]
    has = output.count(row["customer_databases"], "database")
    whose = "as a customer" if customer == row["email"] else f"for the customer {customer}"
    return f", {whose}, which has {has}"


def _done(row: Row, text: str, as_json: bool) -> None:
    if as_json:
        output.as_json(row)
        return
    output.done(text)
    if row.get("password"):
        output.secret("password", row["password"])


def _path(api: Api, user: str) -> str:
    if parse_id(user):
        return f"/api/users/{quote(user, safe='')}"
    rows = api.rows("/api/users").rows
    for row in rows:
        if row["email"] == user.lower():
            return f"/api/users/{row['id']}"
    meant = did_you_mean(user, [str(row["email"]) for row in rows])
    raise NotFound(f"There is no user {user}.", hint=meant or "`tenantry user list` shows them.")
