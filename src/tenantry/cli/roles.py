"""``tenantry role``: additional roles of a database."""

from typing import Annotated
from urllib.parse import quote

import typer

from tenantry.cli import output, times
from tenantry.cli.client import Row, connect
from tenantry.cli.entry_point import Json
from tenantry.cli.finding import In, Named, find, find_role, title

app = typer.Typer(
    help="Roles: logins of a database beside its owner role, that read it, or read and write.",
    no_args_is_help=True,
)

RoleNamed = Annotated[
    str,
    typer.Argument(metavar="ROLE", help="Its name, its username or its id.", show_default=False),
]

_COLUMNS: dict[str, output.Cell] = {
    "NAME": "name",
    "ACCESS": "access",
    "USERNAME": "username",
    "STATUS": "status",
    "MAX": "max_connections",
    "PASSWORD AGE": lambda row: times.distance(row["password_changed_at"]),
    "AGE": lambda row: times.distance(row["created_at"]),
}


def _path(database: Row, role: Row | None = None) -> str:
    path = f"/api/databases/{database['id']}/roles"
    return path if role is None else f"{path}/{quote(str(role['id']), safe='')}"


@app.command("list")
def list_roles(database: Named, env: In = None, as_json: Json = False) -> None:
    """List a database's additional roles.

    Example:

        tenantry role list shop
    """
    with connect() as api:
        row = find(api, database, env)
        page = api.rows(_path(row))
    alone = f"{title(row)} has one login, that which it came with."
    output.listing(page, _COLUMNS, empty=alone, in_json=as_json)


@app.command()
def create(
    database: Named,
    name: Annotated[str, typer.Argument(help="Lower-case letters, digits and underscores.")],
    *,
    write: Annotated[
        bool, typer.Option("--write", help="Let it change what is in the tables, too.")
    ] = False,
    max_connections: Annotated[
        int | None, typer.Option(min=1, help="How many sessions it may have at once.")
    ] = None,
    env: In = None,
    as_json: Json = False,
) -> None:
    """Create a role that reads all present and future tables; its password is shown once.

    Example:

        tenantry role create shop reporting
    """
    wanted: dict[str, object] = {"name": name, "access": "read_write" if write else "read_only"}
    if max_connections is not None:
        wanted["max_connections"] = max_connections
    with connect() as api:
        row = find(api, database, env)
        role = api.post(_path(row), wanted)
    if as_json:
        output.as_json(role)
        return
    may = "read and write" if write else "read"
    output.done(f"{role['username']} may {may} {title(row)}")
    _show_strings(role)


@app.command()
def delete(database: Named, role: RoleNamed, env: In = None, as_json: Json = False) -> None:
    """Delete an additional role and end its sessions; what it owns passes to the owner role.

    Example:

        tenantry role delete shop reporting
    """
    with connect() as api:
        row = find(api, database, env)
        found = find_role(api, row, role)
        answer = api.delete(_path(row, found))
    if as_json:
        output.as_json(answer)
        return
    output.done(
        f"{found['username']} is deleted"
        if answer["status"] == "deleted"
        else f"{found['username']} cannot log in any more, and is being deleted"
    )


@app.command("rotate-password")
def rotate_password(
    database: Named, role: RoleNamed, env: In = None, as_json: Json = False
) -> None:
    """Set a new password for an additional role and show it once. The old one stops working.

    Example:

        tenantry role rotate-password shop reporting
    """
    with connect() as api:
        row = find(api, database, env)
        opened = api.post(f"{_path(row, find_role(api, row, role))}/rotate-password")
    if as_json:
        output.as_json(opened)
        return
    output.done(f"{opened['username']} has a new password")
    _show_strings(opened)


def _show_strings(role: Row) -> None:
    output.facts(
        [("direct", role["connection_string"]), ("pooled", role["connection_string_pooled"])]
    )
    output.secret("password     ", role["password"])
