"""``tenantry db list``: list databases."""

from typing import Annotated, Literal

import typer

from tenantry.cli import blueprints, limits, metrics, output
from tenantry.cli.client import Page, Row, connect
from tenantry.cli.entry_point import Json
from tenantry.cli.finding import Environment, title
from tenantry.cli.times import distance, past

Env = Annotated[
    Environment | None,
    typer.Option("--env", metavar="ENV", help="production, staging or development."),
]

_TAGS = "TAGS"  # where any database has some
_COLUMNS: dict[str, output.Cell] = {
    "NAME": title,
    "ENVIRONMENT": "environment",
    "DATABASE": "database_name",
    "STATUS": limits.state,
    "PLAN": "plan",
    "MAX": "max_connections",
    "OWNER": "owner_email",
    _TAGS: lambda row: " ".join(row["tags"]),
    "AGE": lambda row: distance(row["created_at"]),
}


_FRIENDLY = "FRIENDLY NAME"  # beside names, where one is not merely the name


def _friendly(row: Row) -> str | None:
    return row["friendly_name"] if row["friendly_name"] != row["name"] else None


_NAMES: dict[str, output.Cell] = {"NAME": title, _FRIENDLY: _friendly}


def last_used(row: Row) -> str:
    """Return how long ago clients used a database, as far as it was watched."""
    if row["last_active_at"] is not None:
        return f"{distance(row['last_active_at'])} ago"
    if row["watched_since"] is None:
        return "unknown"
    return f"no use seen in {distance(row['watched_since'])}"


_WIDE: dict[str, output.Cell] = {
    "KIND": "kind",
    "ACTIVITY": "activity",
    "DISK": lambda row: output.size(row["disk"]["used_bytes"]),
    "LAST USED": last_used,
    "PASSWORD AGE": lambda row: distance(row["password_changed_at"]),
}


def list_databases(
    *,
    env: Env = None,
    status: Annotated[
        Literal["active", "branching", "deleting"] | None,
        typer.Option(help="Only those in this state."),
    ] = None,
    owner: Annotated[
        str | None, typer.Option(help="Only those of this owner (an e-mail address).")
    ] = None,
    search: Annotated[str | None, typer.Option(help="Only those with this text in a name.")] = None,
    blueprint: Annotated[
        str | None, typer.Option(metavar="NAME", help="Only those that have this blueprint.")
    ] = None,
    tag: Annotated[
        list[str] | None, typer.Option(help="Only those with this tag; with all, if repeated.")
    ] = None,
    unused_for: Annotated[
        str | None,
        typer.Option(metavar="SPAN", help="Only those that are known not to be used: 30d."),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 50,
    everything: Annotated[bool, typer.Option("--all", help="Without a limit.")] = False,
    wide: Annotated[
        bool,
        typer.Option(
            "--wide", help="With kind, activity, use of the disk, last use, passwords' age."
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """List databases, newest first.

    Examples:

        tenantry db list --env production --search shop

        tenantry db list --tag wordpress --tag team-a

        tenantry db list --unused-for 30d

        tenantry db list --all --json | jq -r '.[].database_name'
    """
    filters = {
        "environment": env,
        "status": status,
        "owner": owner,
        "search": search,
        "blueprint": blueprint,
        "tag": tag or None,
        "unused_since": None if unused_for is None else past(unused_for).isoformat(),
    }
    with connect() as api:
        page = api.rows("/api/databases", limit=None if everything else limit, **filters)
        if blueprint is not None and not page.rows:
            blueprints.require(api, blueprint)
        wide = wide or unused_for is not None
        if wide and not as_json:
            metrics.add_activity(api, page.rows)
    show_list(
        page,
        as_json=as_json,
        wide=wide,
        filtered=any(value is not None for value in filters.values()),
    )


def show_list(page: Page, *, as_json: bool, wide: bool = False, filtered: bool = False) -> None:
    """Print a page of databases, and whether there are more."""
    columns = _COLUMNS | _WIDE if wide else _COLUMNS
    if not any(row["tags"] for row in page.rows):
        columns = {title: cell for title, cell in columns.items() if title != _TAGS}
    if any(row["name"] and row["friendly_name"] not in {None, row["name"]} for row in page.rows):
        columns = {**_NAMES, **columns}
    none = "There is no database yet. `tenantry db create --name …` makes one."
    output.listing(
        page,
        columns,
        empty="There is no such database: `tenantry db list` lists all." if filtered else none,
        spare=("PLAN", "MAX", _FRIENDLY, "AGE", "KIND", _TAGS),
        in_json=as_json,
    )
