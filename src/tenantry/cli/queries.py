"""``tenantry db queries`` and ``explain``: where a database's time goes."""

import sys
from typing import Annotated, Literal

import typer

from tenantry.base.sizes import readable
from tenantry.cli import limits, output, times
from tenantry.cli.client import Row, connect
from tenantry.cli.entry_point import Json
from tenantry.cli.finding import In, Named, find, title

Sort = Literal[
    "total_ms", "mean_ms", "max_ms", "calls", "rows", "blocks_read", "temp_bytes", "wal_bytes"
]


def _text(row: Row) -> str:
    return " ".join(str(row["query"]).split())


def _milliseconds(field: str) -> output.Cell:
    return lambda row: f"{row[field]:,.1f} ms"


def _change(field: str) -> output.Cell:
    """Show by how much a statement's mean time has changed since then."""

    def shown(row: Row) -> str | None:
        then = row[field]
        if then is None or then["mean_change"] is None:
            return None
        mark = " ?" if then["incomplete"] or row["now"]["incomplete"] else ""
        return f"{then['mean_change']:+.0%}{mark}"

    return shown


def queries(
    database: Named,
    *,
    sort: Annotated[Sort, typer.Option(help="Those first that have most of this.")] = "total_ms",
    search: Annotated[str | None, typer.Option(help="Only those with this text.")] = None,
    since: times.Since = None,
    own: Annotated[bool, typer.Option("--own", help="Also those of Tenantry's own.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="At most so many.")] = 20,
    reset: Annotated[bool, typer.Option("--reset", help="Count them again from now on.")] = False,
    env: In = None,
    as_json: Json = False,
) -> None:
    """List the statements that take most of a database's time, without their constants.

    The change of the mean time in the present hour is shown against an hour, a day and a week
    before. With --since the history is listed, of 8 days at most.

    Examples:

        tenantry db queries shop --sort mean_ms --search orders

        tenantry db queries shop --since 24h

        tenantry db queries shop --reset
    """
    with connect() as api:
        row = find(api, database, env)
        path = f"/api/databases/{row['id']}/queries"
        if reset:
            api.post(f"{path}/reset")
            output.done(f"The statements of {title(row)} are counted again")
            return
        begin = since.isoformat() if since else None
        page = api.rows(
            path, limit=limit, sort=sort, search=search, since=begin, own="true" if own else None
        )
    if as_json:
        output.as_json(page.rows)
    else:
        _show(row, page.rows, of_history=since is not None)
    _report(page.about)


def _show(row: Row, statements: list[Row], *, of_history: bool) -> None:
    """Print the statements of a database."""
    output.table(
        statements,
        {
            "TOTAL": _milliseconds("total_ms"),
            "SHARE": lambda each: f"{each['share']:.1%}",
            "CALLS": "calls",
            "MEAN": _milliseconds("mean_ms"),
            "1H": _change("hour_before"),
            "1D": _change("day_before"),
            "1W": _change("week_before"),
            **({} if of_history else {"MAX": _milliseconds("max_ms")}),
            "ROWS": "rows",
            "HITS": lambda each: (
                None if each["cache_hit_ratio"] is None else f"{each['cache_hit_ratio']:.1%}"
            ),
            "TEMP": lambda each: readable(each["temp_bytes"]),
            "WAL": lambda each: readable(each["wal_bytes"]),
            "QUERY": _text,
        },
        empty=f"No statement of {title(row)} was counted.",
        spare=("WAL", "TEMP", "HITS", "ROWS", "MAX", "1H", "1W"),
    )
    if any(each["now"] for each in statements):
        output.note(
            "1H, 1D, 1W: by how much the mean of this hour has changed in an hour, a day and a"
            " week; ? if one of the two is incomplete."
        )


def _report(reported: Row) -> None:
    if reported["incomplete_since"]:
        output.note(
            f"Incomplete since {times.local(reported['incomplete_since'])}: the server has had more"
            " different statements than it counts.",
            style="yellow",
        )
    else:
        output.note(f"Counted since {times.local(reported['counted_since'])}.")
    if not reported["recorded"]:
        output.note(
            "New statements are not recorded for up to an hour: the texts of this database's"
            " statements took too much space.",
            style="yellow",
        )


def explain(
    database: Named,
    sql: Annotated[
        str, typer.Argument(metavar="SQL", help="One statement; - reads it from standard input.")
    ],
    *,
    analyze: Annotated[
        bool, typer.Option("--analyze", help="Execute it, to measure each node.")
    ] = False,
    read_write: Annotated[
        bool, typer.Option("--read-write", help="Let it change something, and roll that back.")
    ] = False,
    timeout: Annotated[
        int | None,
        typer.Option(parser=limits.parse_time, metavar="TIME", help="At most so long: 10s."),
    ] = None,
    env: In = None,
    as_json: Json = False,
) -> None:
    """Show the plan of a statement, with the rights of the owner role. Nothing of it lasts.

    Examples:

        tenantry db explain shop "SELECT * FROM orders WHERE customer_id = 7"

        tenantry db explain shop --analyze - < slow.sql
    """
    body: dict[str, object] = {
        "sql": sys.stdin.read() if sql == "-" else sql,
        "analyze": analyze,
        "read_only": not read_write,
    }
    if timeout is not None:
        body["timeout_ms"] = timeout
    with connect() as api:
        found = api.post(f"/api/databases/{find(api, database, env)['id']}/explain", body)
    if as_json:
        output.as_json(found)
        return
    output.table(
        found["nodes"],
        {
            "NODE": _node,
            "SHARE": lambda each: f"{each['share']:.0%}{' !' if each['expensive'] else ''}",
            **({"TIME": _milliseconds("self_ms"), "ROWS": "actual_rows"} if analyze else {}),
            "COST": "self_cost",
            "PLANNED ROWS": "planned_rows",
        },
        empty="The plan has no nodes.",
    )
    output.note("! marks nodes that take a fifth of the whole or more, without those below them.")
    if analyze:
        output.note(
            f"Planning took {found['planning_ms']:,.1f} ms, execution"
            f" {found['execution_ms']:,.1f} ms."
        )


def _node(each: Row) -> str:
    parts = [str(each["node_type"])]
    if each["index"]:
        parts.append(f"using {each['index']}")
    if each["relation"]:
        parts.append(f"on {each['relation']}")
    return "  " * int(each["depth"]) + " ".join(parts)
