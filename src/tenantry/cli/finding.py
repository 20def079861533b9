"""Which database a person means, by an id, a ``tenant_…`` name or a name they gave it; or which
cluster."""

from typing import Annotated, Literal

import typer

from tenantry.base.errors import Conflict, NotFound
from tenantry.base.ids import parse_id
from tenantry.base.suggestions import did_you_mean
from tenantry.cli.client import Api, Row

_COMPARED = 500  # databases, with a name that none has

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
ClusterNamed = Annotated[str, typer.Argument(metavar="NAME", help="control or shared-1")]


def title(row: Row) -> str:
    """What a person calls this database."""
    return str(row.get("name") or row.get("friendly_name") or row["database_name"])


def find(api: Api, text: str, environment: str | None = None) -> Row:
    """The one database that ``text`` names.

    Raises NotFound for none, and Conflict with the candidates for several.
    """
    if parse_id(text):
        row: Row = api.get(f"/api/databases/{text}")
        return row
    rows = api.rows("/api/databases", search=text, environment=environment).rows
    # A database's own name is unique; a name that somebody chose must not stand in for it.
    exact = [row for row in rows if row["database_name"] == text]
    for chosen in ("name", "friendly_name"):
        exact = exact or [row for row in rows if row.get(chosen) == text]
    # A name is free again as soon as its database is being deleted.
    exact = [row for row in exact if row["status"] != "deleting"] or exact
    if len(exact) == 1:
        return exact[0]
    if exact:
        known = "".join(
            f"\n{row['database_name']}  {row['environment']}  {row.get('owner_email') or ''}"
            for row in exact
        )
        raise Conflict(
            f"“{text}” is the name of {len(exact)} databases:{known}",
            hint="Say which with --env, or by its tenant_… name.",
        )
    where = f" in {environment}" if environment else ""
    # The search looks into owners' addresses too, and not for slips.
    every = [*rows, *api.rows("/api/databases", limit=_COMPARED, environment=environment).rows]
    raise NotFound(
        f"No database is called “{text}”{where}.",
        hint=did_you_mean(text, map(title, every)) or "`tenantry db list --all` shows them.",
    )


def find_cluster(api: Api, name: str) -> Row:
    """A cluster by its name or id. Raises NotFound."""
    rows = api.rows("/api/clusters").rows
    for row in rows:
        if name in {row["name"], row["id"]}:
            return row
    names = [str(row["name"]) for row in rows]
    raise NotFound(
        f"There is no cluster {name}.",
        hint=did_you_mean(name, names) or f"The clusters are {', '.join(names)}.",
    )
