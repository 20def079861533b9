"""``tenantry pool``: size an application's own pool, and renew a database's pool in the pooler."""

from typing import Annotated

import typer

from tenantry.cli import output
from tenantry.cli.client import connect
from tenantry.cli.entry_point import Json
from tenantry.cli.finding import In, Named, find, title
from tenantry.services.pooling import advice

app = typer.Typer(
    help="Pools: size an application's own, renew a database's.", no_args_is_help=True
)


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
    """Advise how many connections each replica's pool should hold.

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


@app.command()
def reconnect(
    database: Named,
    *,
    env: In = None,
    end_clients: Annotated[
        bool, typer.Option("--end-clients", help="End the clients' sessions as well.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Replace the server connections of a database's pooled clients.

    No client is disconnected, except with --end-clients.

    Examples:

        tenantry pool reconnect shop --env production

        tenantry pool reconnect shop --end-clients
    """
    with connect() as api:
        row = find(api, database, env)
        with output.waiting(f"Renewing the pool of {title(row)}"):
            path = f"/api/databases/{row['id']}/pool/reconnect"
            row = api.post(f"{path}?end_clients=true" if end_clients else path)
    if as_json:
        output.as_json(row)
        return
    output.done(f"{title(row)} has a new pool")
