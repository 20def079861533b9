"""``tenantry pooler``: the current state of PgBouncer."""

from tenantry.base.sizes import readable
from tenantry.cli import output
from tenantry.cli.client import Row, connect
from tenantry.cli.entry_point import Json


def pooler(as_json: Json = False) -> None:
    """Show PgBouncer: its totals, and its pools with their clients and servers.

    Example:

        tenantry pooler --json | jq '.pools[] | select(.clients_waiting > 0)'
    """
    with connect() as api:
        state = api.get("/api/pooler")
    if as_json:
        output.as_json(state)
        return
    show(state)


def show(state: Row) -> None:
    """Print the pooler's state: its totals as facts, its pools as a table."""
    output.facts(
        [
            ("version", state["version"]),
            ("clients", state["clients"]),
            ("server connections", f"{state['servers']} of at most {state['budget']}"),
            (
                "memory",
                f"{readable(state['memory_bytes'])} of at most"
                f" {readable(state['memory_limit_bytes'])}",
            ),
            ("for each pool", f"at most {state['pool_size']}"),
        ]
    )
    output.heading("Pools")
    output.table(
        state["pools"],
        {
            "DATABASE": "database",
            "USERNAME": "username",
            "CLIENTS": "clients_active",
            "WAITING": "clients_waiting",
            "SERVERS": "servers_active",
            "IDLE": "servers_idle",
            "LONGEST WAIT": lambda pool: f"{pool['longest_wait_seconds']:.1f} s",
        },
        empty="No pool is open: nobody has connected lately.",
    )
