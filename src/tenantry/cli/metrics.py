"""``tenantry db metrics``, and the sparklines of lists: what databases did lately."""

import datetime as dt
from collections.abc import Sequence
from typing import Annotated

import typer

from tenantry.base.sizes import readable
from tenantry.cli import output
from tenantry.cli.client import Api, Row, connect
from tenantry.cli.entry_point import Json
from tenantry.cli.finding import In, Named, find, title
from tenantry.cli.times import local, past, span

_BLOCKS = "▁▂▃▄▅▆▇█"
_WIDTH = 24  # of a sparkline, in columns
_WHOLE = 10_000  # numbers from here on are shown without a fraction
_AT_ONCE = 100  # databases of one request
_SUFFIX = {"bytes": "_bytes", "seconds": "_seconds", "percent": "_percent", "ms": "_ms"}


def sparkline(values: Sequence[float | None], *, width: int = _WIDTH) -> str:
    """Draw values as blocks, from 0 to their maximum; a blank where none is known.

    More than ``width`` are drawn as the maximum of several.
    """
    per_column = -(-len(values) // width) or 1
    parts = [values[at : at + per_column] for at in range(0, len(values), per_column)]
    known = [max((each for each in part if each is not None), default=None) for part in parts]
    most = max((0, *(each for each in known if each is not None))) or 1
    last = len(_BLOCKS) - 1
    # Below 0 is a duration that ended before it began, as the clock had it.
    return "".join(
        " " if each is None else _BLOCKS[max(0, round(each / most * last))] for each in known
    )


def metrics(
    database: Named,
    *,
    start: Annotated[
        dt.datetime | None,
        typer.Option("--from", parser=past, metavar="WHEN", help="Since 6h or 7d ago, or a date."),
    ] = None,
    end: Annotated[
        dt.datetime | None,
        typer.Option("--to", parser=past, metavar="WHEN", help="Until then. By default now."),
    ] = None,
    env: In = None,
    as_json: Json = False,
) -> None:
    """Show what a database had and did over time, by default of the last day.

    Examples:

        tenantry db metrics shop

        tenantry db metrics shop --from 7d

        tenantry db metrics shop --from 1h --json | jq '.series[] | select(.name == "commits")'
    """
    asked = {"from": start, "to": end}
    query = {name: each.isoformat() for name, each in asked.items() if each is not None}
    with connect() as api:
        row = find(api, database, env)
        found = api.get(f"/api/databases/{row['id']}/metrics", **query)
    if as_json:
        output.as_json(found)
        return
    output.table(
        [_shown(each) for each in found["series"]],
        {name.upper(): name for name in ("series", "trend", "last", "min", "max", "unit")},
        empty=f"{title(row)} has not been sampled in that time.",
        spare=("UNIT", "MIN"),
    )
    if found["series"]:
        output.note(
            f"From {local(found['from'])} to {local(found['to'])}, "
            f"a point for each {span(found['step_seconds'])}."
        )


def _shown(series: Row) -> Row:
    values = [value for _, value in series["points"]]
    known = [value for value in values if value is not None]
    unit = series["unit"]
    ends = {"last": known[-1], "min": min(known), "max": max(known)}
    return {
        "series": series["name"].removesuffix(_SUFFIX.get(unit.partition("/")[0], "_")),
        "trend": sparkline(values),
        **{name: _number(value, unit) for name, value in ends.items()},
        "unit": unit.replace("bytes", "") if unit.startswith("bytes") else unit,
    }


def _number(value: float, unit: str) -> str:
    if unit.startswith("bytes"):
        return readable(value)
    if unit == "ratio":
        return f"{value:.1%}"
    return f"{value:,.4g}" if round(value) < _WHOLE else f"{value:,.0f}"


def add_activity(api: Api, rows: Sequence[Row]) -> None:
    """Give each database its ``activity``: a sparkline of the transactions of the last day."""
    of_id = {row["id"]: row for row in rows}
    ids = list(of_id)
    for at in range(0, len(ids), _AT_ONCE):
        for each in api.get("/api/metrics/sparklines", ids=ids[at : at + _AT_ONCE]):
            for series in each["series"]:
                if series["name"] == "transactions":
                    of_id[each["database_id"]]["activity"] = sparkline(series["values"])
