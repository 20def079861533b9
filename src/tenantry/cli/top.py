"""``tenantry top``: what databases do at present, or the sessions of one."""

import datetime as dt
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Literal

import typer

from tenantry.base.sizes import readable
from tenantry.cli import output, times
from tenantry.cli.client import Api, Row, connect
from tenantry.cli.entry_point import Json
from tenantry.cli.finding import In, find, title
from tenantry.cli.sessions import client, query, waits_for
from tenantry.cli.times import span

Order = Literal[
    "transactions", "connections", "waiting", "hits", "cpu", "temporary", "wal", "longest", "size"
]
_SECONDS = 2.0
_MOST = 500


def top(
    database: Annotated[
        str | None,
        typer.Argument(
            metavar="DATABASE",
            help="Only this one, with its sessions: its name, database name (tenant_…) or id.",
            show_default=False,
        ),
    ] = None,
    *,
    env: In = None,
    sort: Annotated[
        Order, typer.Option(help="The greatest is first; with hits, the least.")
    ] = "transactions",
    limit: Annotated[int, typer.Option(min=1, max=_MOST, help="The most to show.")] = 50,
    interval: Annotated[
        float | None,
        typer.Option(min=0.5, max=3600, metavar="SECONDS", help="Between two looks. Default: 2."),
    ] = None,
    once: Annotated[bool, typer.Option("--once", help="Look once, and end.")] = False,
    as_json: Json = False,
) -> None:
    """Show live what databases do: transactions, connections, waits, writes; until Ctrl-C.

    In a pipe, and with --once, it looks once. --json looks once, too, and with --interval prints an
    object per line. Databases are sampled every 15 seconds; sessions of one are as they are now.

    Examples:

        tenantry top

        tenantry top --sort wal --once

        tenantry top shop
    """
    size = output.window()
    with connect() as api:
        row = None if database is None else find(api, database, env)

        def look() -> Row:
            return _look(api, row, sort, limit)

        if as_json:
            if interval is None or once:
                output.as_json(look())
                return
            _repeat(lambda: output.as_json_line(look()), interval)
        elif once or size is None:
            _print(look())
        else:
            with output.live() as show:
                _repeat(
                    lambda: show(_lines(look(), *(output.window() or size))), interval or _SECONDS
                )


def _repeat(work: Callable[[], None], seconds: float) -> None:
    """Do ``work`` again and again, until Ctrl-C."""
    try:
        while True:
            work()
            time.sleep(seconds)
    except KeyboardInterrupt:
        return


def _look(api: Api, database: Row | None, sort: Order, limit: int) -> Row:
    """Return what there is to show: the platform's parts, and databases; of one, its sessions."""
    ready, parts = api.readiness()
    ids = None if database is None else [database["id"]]
    found = {
        "at": dt.datetime.now(dt.UTC).isoformat(),
        "ready": ready,
        "parts": parts,
        "databases": api.get("/api/metrics/latest", sort=sort, limit=limit, ids=ids),
    }
    if database is not None:
        found["database"] = title(database)
        found["sessions"] = api.rows(f"/api/databases/{database['id']}/sessions").rows
    return found


# ── for people ───────────────────────────────────────────────────────────────


def _rate(name: str) -> output.Cell:
    def cell(row: Row) -> object:
        return None if row[name] is None else round(row[name], 1)

    return cell


def _size(name: str) -> output.Cell:
    return lambda row: None if row[name] is None else readable(round(row[name]))


def _span(name: str) -> output.Cell:
    return lambda row: None if row[name] is None else span(row[name])


def _hits(row: Row) -> str | None:
    return None if row["cache_hit_ratio"] is None else f"{row['cache_hit_ratio']:.1%}"


def _longest(row: Row) -> str | None:
    seconds = row["longest_transaction_seconds"]
    return span(seconds) if seconds else None


_DATABASES: dict[str, output.Cell] = {
    "NAME": title,
    "ENV": "environment",
    "TX/S": _rate("transactions_per_second"),
    "ACT": "connections_active",
    "IDLE": "connections_idle",
    "INTX": "connections_in_transaction",
    "WAIT": "clients_waiting",
    "HITS": _hits,
    "TEMP/S": _size("temporary_bytes_per_second"),
    "WAL/S": _size("wal_bytes_per_second"),
    "LONGEST": _longest,
    "CPU %": _rate("cpu_percent"),
    "SIZE": _size("size_bytes"),
}
_SPARE_FIGURES = ("ENV", "CPU %", "SIZE", "TEMP/S", "IDLE")
_SESSIONS: dict[str, output.Cell] = {
    "PID": lambda row: str(row["pid"]),
    "CLIENT": client,
    "STATE": "state",
    "SINCE": _span("state_seconds"),
    "AGE": _span("age_seconds"),
    "WAITS FOR": waits_for,
    "QUERY": query,
}
_SPARE_OF_SESSIONS = ("CLIENT", "AGE", "WAITS FOR")


def _head(found: Row) -> list[str]:
    """Return the lines above the table: the parts of the platform, and the figures of one."""
    clock = times.local(found["at"])[11:19]
    states = [
        f"{state}: {', '.join(names)}"
        for state in ("down", "warning", "up")
        if (names := [part["name"] for part in found["parts"] if part["state"] == state])
    ]
    lines = [f"{clock}  {' · '.join(states)}"]
    if "sessions" in found:
        lines += [line for row in found["databases"] for line in _figures(row)]
    return [*map(output.plain, lines), ""]


def _figures(row: Row) -> list[str]:
    """Return the figures of one database, in two lines."""
    figures = [
        f"{label} {output.plain(row[cell] if isinstance(cell, str) else cell(row))}"
        for label, cell in _DATABASES.items()
        if label not in {"NAME", "ENV"}
    ]
    return ["  ".join(figures[:6]), "  ".join(figures[6:])]


def _table(found: Row) -> tuple[Sequence[Row], Mapping[str, output.Cell], Sequence[str], str]:
    """Return the rows, the columns, those that can be omitted, and what is said of no row."""
    if "sessions" in found:
        empty = f"{output.plain(found['database'])} has no open session."
        return found["sessions"], _SESSIONS, _SPARE_OF_SESSIONS, empty
    empty = "No database was sampled in the last ten minutes."
    return found["databases"], _DATABASES, _SPARE_FIGURES, empty


def _print(found: Row) -> None:
    rows, columns, spare, empty = _table(found)
    for line in _head(found):
        output.line(line)
    output.table(rows, columns, empty=empty, spare=spare)


def _lines(found: Row, columns: int, height: int) -> list[str]:
    """Return what a terminal of this size shows; rows for which there is no room are counted."""
    rows, cells, spare, empty = _table(found)
    head = _head(found)
    room = max(1, height - len(head) - 2)  # without the titles, and what is said below
    if not rows:
        return [*head, empty]
    lines, _ = output.lay_out(rows[:room], cells, room=columns, spare=spare, wrap=False)
    more = [f"… and {len(rows) - room} more"] if len(rows) > room else []
    return [*head, *lines, *more]
