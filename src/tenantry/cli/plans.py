"""``tenantry plan``: pricing plans."""

from typing import Annotated
from urllib.parse import quote

import typer

from tenantry.base.sizes import readable
from tenantry.cli import limits, output
from tenantry.cli.client import Row, connect
from tenantry.cli.entry_point import Json

app = typer.Typer(
    help="Plans: named sets of limits for databases, and sizes for customers' instances and sites.",
    no_args_is_help=True,
)

_MIB = 2**20
_SIZES = {
    "max-instances": "max_instances",
    "instance-cpus": "instance_cpus",
    "instance-memory": "instance_memory_mb",
    "max-sites": "max_sites",
    "site-memory": "site_memory_mb",
    "site-max-clients": "site_max_clients",
}


def _field(text: str) -> str:
    """Return the API's field for a size's name, such as ``site-memory``."""
    if text not in _SIZES:
        raise typer.BadParameter(f"write one of {', '.join(_SIZES)}.")
    return _SIZES[text]


def _instances(plan: Row) -> str | None:
    """Return how many instances a customer may have, and how large each."""
    cpus, memory = plan["instance_cpus"], plan["instance_memory_mb"]
    return _each(
        plan["max_instances"],
        None if memory is None else readable(memory * _MIB),
        None if cpus is None else f"{cpus:g} CPU{'' if cpus == 1 else 's'}",
    )


def _sites(plan: Row) -> str | None:
    """Return how many sites a customer may have, and how large each."""
    return _each(
        plan["max_sites"],
        None if plan["site_memory_mb"] is None else readable(plan["site_memory_mb"] * _MIB),
        None if plan["site_max_clients"] is None else f"{plan['site_max_clients']:,} clients",
    )


def _each(count: int | None, *sizes: str | None) -> str | None:
    """Return a number with the size of each: ``3 of 1 GiB``; without a number ``each 1 GiB``."""
    said = ", ".join(each for each in sizes if each is not None)
    if count is None:
        return f"each {said}" if said else None
    return f"{count:,} of {said}" if said else f"{count:,}"


_COLUMNS: dict[str, output.Cell] = {
    "PLAN": "name",
    "CONNECTIONS": "max_connections",
    "POOLED": "pool_size",
    "RESERVE": "reserve_pool_size",
    "DISK": lambda plan: readable(plan["disk_quota_bytes"]),
    "TEMP FILES": lambda plan: readable(plan["temp_file_limit_bytes"]),
    "STATEMENT": lambda plan: limits.time(plan["statement_timeout_ms"]),
    "LOCK": lambda plan: limits.time(plan["lock_timeout_ms"]),
    "IDLE IN TRANSACTION": lambda plan: limits.time(plan["idle_in_transaction_session_timeout_ms"]),
    "CPU WEIGHT": "cpu_weight",
    "INSTANCES": _instances,
    "SITES": _sites,
}


@app.command("list")
def list_plans(as_json: Json = False) -> None:
    """List the pricing plans, their limits, and the sizes of what customers create.

    Example:

        tenantry plan list --json | jq -r '.[].name'
    """
    with connect() as api:
        page = api.rows("/api/plans")
    output.listing(page, _COLUMNS, empty="There is no plan.", in_json=as_json)


@app.command()
def update(
    plan: Annotated[str, typer.Argument(metavar="PLAN", help="Its name.", show_default=False)],
    *,
    max_instances: Annotated[
        int | None, typer.Option(min=0, help="The most instances of one customer.")
    ] = None,
    instance_cpus: Annotated[
        float | None, typer.Option(help="How many processors an instance may use.")
    ] = None,
    instance_memory: Annotated[
        int | None,
        typer.Option(
            parser=limits.parse_mebibytes, metavar="SIZE", help="The memory of an instance: 2GB."
        ),
    ] = None,
    max_sites: Annotated[
        int | None, typer.Option(min=0, help="The most sites of one customer.")
    ] = None,
    site_memory: Annotated[
        int | None,
        typer.Option(
            parser=limits.parse_mebibytes, metavar="SIZE", help="The memory of a site: 64MB."
        ),
    ] = None,
    site_max_clients: Annotated[
        int | None, typer.Option(min=1, help="The connections of a site.")
    ] = None,
    no_limit: Annotated[
        list[str] | None,
        typer.Option(
            parser=_field, metavar="SIZE", help="Have no such limit, as site-memory; repeatable."
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Change the sizes that a plan grants to customers, for what they create from now on.

    What they have stays. For administrators.

    Examples:

        tenantry plan update standard --max-sites 20 --site-memory 64MB

        tenantry plan update premium --no-limit max-sites
    """
    said: dict[str, object] = {
        "max_instances": max_instances,
        "instance_cpus": instance_cpus,
        "instance_memory_mb": instance_memory,
        "max_sites": max_sites,
        "site_memory_mb": site_memory,
        "site_max_clients": site_max_clients,
    }
    wanted = {field: value for field, value in said.items() if value is not None}
    wanted |= dict.fromkeys(no_limit or [])
    if not wanted:
        raise typer.BadParameter("say what to change: see `tenantry plan update --help`.")
    with connect() as api:
        row = api.patch(f"/api/plans/{quote(plan, safe='')}", wanted)
    if as_json:
        output.as_json(row)
        return
    output.done(f"The plan {row['name']} is changed")
    output.facts([("instances of a customer", _instances(row)), ("sites", _sites(row))])
