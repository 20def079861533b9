"""Find a database by its id, its ``tenant_…`` name or its own name; a role; or a cluster."""

import shlex
from collections.abc import Sequence
from typing import Annotated, Literal

import typer

from tenantry.base.errors import InvalidInput, NotFound
from tenantry.base.ids import parse_id
from tenantry.base.suggestions import did_you_mean
from tenantry.cli.client import Api, Row

_COMPARED = 500  # databases, with a name that matches none

Environment = Literal["production", "staging", "development"]

Named = Annotated[
    str,
    typer.Argument(
        metavar="DATABASE",
        help="Its name, friendly name, database name (tenant_…) or id.",
        show_default=False,
    ),
]
In = Annotated[
    Environment | None,
    typer.Option(
        "--env", metavar="ENV", help="Its environment, where several have a database of that name."
    ),
]
ClusterNamed = Annotated[str, typer.Argument(metavar="NAME", help="A cluster: control, shared-1")]


class Ambiguous(InvalidInput):
    code = "ambiguous_name"
    title = "Several databases have this name"


def title(row: Row) -> str:
    """Return the name to show for a database."""
    return str(row.get("name") or row.get("friendly_name") or row["database_name"])


def find(api: Api, text: str, environment: str | None = None) -> Row:
    """Return the database that ``text`` names.

    Raises NotFound for none, and Ambiguous with the candidates for several.
    """
    if not text.strip():
        raise InvalidInput("The name of the database is empty.")
    if parse_id(text):
        row: Row = api.get(f"/api/databases/{text}")
        return row
    rows = api.rows("/api/databases", search=text, environment=environment).rows
    # A database's own name is unique; a chosen name that equals it must not shadow it.
    exact = [row for row in rows if row["database_name"] == text]
    for chosen in ("name", "friendly_name"):
        exact = exact or [row for row in rows if row.get(chosen) == text]
    # A name is free again as soon as its database is being deleted.
    exact = [row for row in exact if row["status"] != "deleting"] or exact
    if len(exact) == 1:
        return exact[0]
    if exact:
        raise _ambiguous(text, exact)
    where = f" in {environment}" if environment else ""
    # The search also matches owners' addresses, and does not match misspelt names.
    every = [*rows, *api.rows("/api/databases", limit=_COMPARED, environment=environment).rows]
    raise NotFound(
        f"No database is called “{text}”{where}.",
        hint=did_you_mean(text, map(title, every)) or "`tenantry db list --all` shows them.",
    )


def _ambiguous(text: str, rows: Sequence[Row]) -> Ambiguous:
    known = "".join(
        f"\n{row['database_name']}  {row['environment']}  {row.get('owner_email') or ''}"
        for row in rows
    )
    # The databases of several customers can have one name in one environment.
    env_distinguishes = len({row["environment"] for row in rows}) == len(rows)
    return Ambiguous(
        f"“{text}” is the name of {len(rows)} databases:{known}",
        hint=f"Say which {'with --env, or ' if env_distinguishes else ''}by its tenant_… name.",
    )


def find_role(api: Api, database: Row, text: str) -> Row:
    """Return the additional role that ``text`` names in a database. Raises NotFound."""
    roles = api.rows(f"/api/databases/{database['id']}/roles").rows
    for role in roles:
        if text in {role["name"], role["username"], role["id"]}:
            return role
    meant = did_you_mean(text, [str(role["name"]) for role in roles])
    raise NotFound(
        f"{title(database)} has no role called “{text}”.",
        hint=meant or f"`tenantry role list {database['database_name']}` shows its roles.",
    )


def typed(database: str, environment: str | None) -> str:
    """Return the words that name a database in this command, for a command in a hint."""
    return shlex.join([database, *([] if environment is None else ["--env", environment])])


def find_cluster(api: Api, name: str) -> Row:
    """Return a cluster by its name or id. Raises NotFound."""
    rows = api.rows("/api/clusters").rows
    for row in rows:
        if name in {row["name"], row["id"]}:
            return row
    names = [str(row["name"]) for row in rows]
    raise NotFound(
        f"There is no cluster {name}.",
        hint=did_you_mean(name, names) or f"The clusters are {', '.join(names)}.",
    )
