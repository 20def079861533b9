"""``tenantry pooler``: what PgBouncer does at this moment."""

from tenantry.cli import output
from tenantry.cli.client import Row, connect
from tenantry.cli.door import Json


def pooler(as_json: Json = False) -> None:
    """Show PgBouncer: its totals, and its pools with their clients and servers.

    Example:

        tenantry pooler --json | jq '.pools[] | select(.cl_waiting > 0)'
    """
    with connect() as api:
        state = api.get("/api/pooler")
    if as_json:
        output.as_json(state)
        return
    show(state)


def show(state: Row) -> None:
    """Print the pooler's state: what is one thing as facts, its pools as a table."""
    single = {name: value for name, value in state.items() if not isinstance(value, list)}
    output.facts((name.replace("_", " "), value) for name, value in single.items() if value != {})
    pools = state.get("pools") or []
    titles = dict.fromkeys(key for pool in pools for key in pool)
    output.heading("Pools")
    output.table(
        pools,
        {key.replace("_", " ").upper(): key for key in titles},
        empty="No pool is open: nobody has connected lately.",
    )
