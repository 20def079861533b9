"""``tenantry db tables`` and ``indexes``: their sizes, and how they are used."""

from typing import Annotated

import typer

from tenantry.base.sizes import readable
from tenantry.cli import output
from tenantry.cli.client import Row, connect
from tenantry.cli.entry_point import Json
from tenantry.cli.finding import In, Named, find, title
from tenantry.cli.times import distance, local


def _size(field: str) -> output.Cell:
    return lambda row: "unknown" if row[field] is None else readable(row[field])


def _hits(row: Row) -> str | None:
    ratio = row["cache_hit_ratio"]
    return None if ratio is None else f"{ratio:.1%}"


def _ago(field: str) -> output.Cell:
    return lambda row: distance(row[field])


def tables(database: Named, env: In = None, as_json: Json = False) -> None:
    """List a database's tables, the largest first: size, rows, bloat, vacuum, scans, cache hits.

    Example:

        tenantry db tables shop
    """
    row, found = _tables(database, env)
    if as_json:
        output.as_json(found)
        return
    output.table(
        found,
        {
            "TABLE": "table",
            "SIZE": _size("size_bytes"),
            "BLOAT": _size("bloat_bytes"),
            "ROWS": "rows",
            "DEAD": "dead_rows",
            "VACUUMED": _ago("last_vacuum_at"),
            "ANALYZED": _ago("last_analyze_at"),
            "SEQ SCANS": "sequential_scans",
            "INDEX SCANS": "index_scans",
            "HITS": _hits,
        },
        empty=f"{title(row)} has no tables.",
        spare=("HITS", "ANALYZED"),
    )
    _since(found)


def indexes(
    database: Named,
    *,
    table: Annotated[
        str | None, typer.Option(metavar="SCHEMA.TABLE", help="Only those of this table.")
    ] = None,
    env: In = None,
    as_json: Json = False,
) -> None:
    """List a database's indexes, those of the largest table first: size, scans, cache hits.

    Examples:

        tenantry db indexes shop

        tenantry db indexes shop --table public.orders
    """
    row, tables = _tables(database, env)
    found = [
        {"table": each["table"], **index}
        for each in tables
        if table in {None, each["table"]}
        for index in each["indexes"]
    ]
    if as_json:
        output.as_json(found)
        return
    output.table(
        found,
        {
            "INDEX": "index",
            "TABLE": "table",
            "SIZE": _size("size_bytes"),
            "SCANS": "scans",
            "HITS": _hits,
            "UNIQUE": "unique",
            "VALID": "valid",
            "DEFINITION": "definition",
        },
        empty=f"{title(row)} has no such indexes.",
        spare=("DEFINITION", "HITS", "VALID"),
    )
    _since(tables)


def _tables(database: str, env: str | None) -> tuple[Row, list[Row]]:
    with connect() as api:
        row = find(api, database, env)
        return row, api.rows(f"/api/databases/{row['id']}/tables").rows


def _since(found: list[Row]) -> None:
    if found:
        output.note(f"Scans and cache hits are counted since {local(found[0]['counted_since'])}.")
