"""``tenantry pool``: how large an application's own pool should be. It asks nobody."""

from typing import Annotated

import typer

from tenantry.cli import output
from tenantry.cli.door import Json
from tenantry.services.pooling import advice

app = typer.Typer(help="Size an application's own pool.", no_args_is_help=True)


@app.command()
def advise(
    replicas: Annotated[int, typer.Option(min=1, help="How many processes have a pool.")],
    max_connections: Annotated[
        int, typer.Option(min=1, help="The server's max_connections, or the database's limit.")
    ] = advice.DEFAULT_MAX_CONNECTIONS,
    reserve: Annotated[
        int, typer.Option(min=0, help="Connections to leave for administrators and migrations.")
    ] = advice.SUGGESTED_RESERVE,
    as_json: Json = False,
) -> None:
    """Say how many connections each replica's pool should hold.

    Example:

        tenantry pool advise --replicas 3 --max-connections 200
    """
    advised = advice.advise(replicas=replicas, max_connections=max_connections, reserve=reserve)
    if as_json:
        output.as_json(
            {
                "replicas": advised.replicas,
                "max_connections": advised.max_connections,
                "reserve": advised.reserve,
                "pool_size": advised.pool_size,
                "at_most": advised.at_most,
                "total": advised.total,
                "left": advised.left,
            }
        )
        return
    output.facts(
        [
            ("pool of each replica", f"DB_POOL_MAX={advised.pool_size}"),
            ("all together", f"{advised.total}: {advised.replicas} of {advised.pool_size}"),
            ("left for others", f"{advised.left} of {advised.max_connections}"),
            ("if that is too few", f"at most {advised.at_most} each"),
        ]
    )
    low, high = advice.SUGGESTED_MAX_CONNECTIONS
    if advised.max_connections < low:
        output.note(f"A server for an application and others usually allows {low} to {high}.")
