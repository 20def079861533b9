"""``tenantry db vacuum``, ``analyze``, ``reindex`` and ``create-index``: tables and indexes."""

from functools import partial
from typing import Annotated

import typer

from tenantry.base.errors import InvalidInput, NotFound
from tenantry.base.sizes import readable
from tenantry.base.suggestions import did_you_mean
from tenantry.cli import entry_point, limits, operations, output
from tenantry.cli.client import Api, Page, Row, connect
from tenantry.cli.entry_point import Json
from tenantry.cli.finding import In, Named, find, title

Tables = Annotated[
    list[str] | None,
    typer.Option("--table", metavar="SCHEMA.TABLE", help="Only this table; may be repeated."),
]
LockTimeout = Annotated[
    int | None,
    typer.Option(parser=limits.parse_time, metavar="TIME", help="How long to wait for each: 5s."),
]


def vacuum(
    database: Named,
    *,
    table: Tables = None,
    analyze: Annotated[
        bool, typer.Option("--analyze", help="Collect the planner's statistics, too.")
    ] = False,
    full: Annotated[
        bool,
        typer.Option("--full", help="Rewrite tables; each is locked meanwhile, then analyzed."),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="With --full: show what would be given back.")
    ] = False,
    lock_timeout: LockTimeout = None,
    env: In = None,
    wait: operations.Wait = True,
    as_json: Json = False,
) -> None:
    """Vacuum tables: new rows can use the space of deleted ones. --full gives it back to the disk.

    Default without --table: all tables; with --full those that would give back a tenth of their
    size or more.

    Examples:

        tenantry db vacuum shop --analyze

        tenantry db vacuum shop --full --dry-run

        tenantry db vacuum shop --full --table public.events
    """
    if dry_run and not full:
        raise InvalidInput.of("dry_run", "is for --full")
    asked: dict[str, object] = {"tables": table or []}
    if analyze and not full:  # a rewritten table is analyzed anyway
        asked["analyze"] = True
    with connect() as api:
        row = find(api, database, env)
        if dry_run:
            found = api.rows(f"/api/databases/{row['id']}/vacuum-full")
            _show_estimate(row, found, table or [], as_json=as_json)
            return
        verb = "vacuum-full" if full else "vacuum"
        _maintain(api, row, verb, asked, lock_timeout=lock_timeout, wait=wait, as_json=as_json)


def analyze(
    database: Named,
    *,
    table: Tables = None,
    lock_timeout: LockTimeout = None,
    env: In = None,
    wait: operations.Wait = True,
    as_json: Json = False,
) -> None:
    """Collect the planner's statistics of tables again, of all without --table.

    Example:

        tenantry db analyze shop --table public.orders
    """
    with connect() as api:
        row = find(api, database, env)
        asked: dict[str, object] = {"tables": table or []}
        _maintain(api, row, "analyze", asked, lock_timeout=lock_timeout, wait=wait, as_json=as_json)


def reindex(
    database: Named,
    *,
    index: Annotated[
        list[str] | None,
        typer.Option(metavar="SCHEMA.INDEX", help="This index; may be repeated."),
    ] = None,
    table: Annotated[
        list[str] | None,
        typer.Option(metavar="SCHEMA.TABLE", help="All indexes of this table; may be repeated."),
    ] = None,
    lock_timeout: LockTimeout = None,
    env: In = None,
    wait: operations.Wait = True,
    as_json: Json = False,
) -> None:
    """Rebuild indexes while their tables are used.

    Examples:

        tenantry db reindex shop --index public.orders_note_idx

        tenantry db reindex shop --table public.orders
    """
    if not index and not table:
        raise InvalidInput.of("index", "name an index, or a table with --table")
    asked: dict[str, object] = {"indexes": index or [], "tables": table or []}
    with connect() as api:
        row = find(api, database, env)
        _maintain(api, row, "reindex", asked, lock_timeout=lock_timeout, wait=wait, as_json=as_json)


def create_index(
    database: Named,
    *,
    table: Annotated[str, typer.Option(metavar="SCHEMA.TABLE", help="The table.")],
    column: Annotated[
        list[str], typer.Option(metavar="NAME", help="A column; may be repeated, in order.")
    ],
    name: Annotated[
        str | None, typer.Option(metavar="NAME", help="Default: as PostgreSQL names it.")
    ] = None,
    method: Annotated[
        str | None,
        typer.Option(metavar="METHOD", help="btree (the default), hash, gin, gist, spgist, brin."),
    ] = None,
    unique: Annotated[
        bool, typer.Option("--unique", help="No two rows may have the same values.")
    ] = False,
    lock_timeout: LockTimeout = None,
    env: In = None,
    wait: operations.Wait = True,
    as_json: Json = False,
) -> None:
    """Create an index while its table is used. If that fails, no invalid index is left.

    Example:

        tenantry db create-index shop --table public.orders --column customer_id
    """
    given = {"name": name, "method": method, "unique": unique or None}
    asked: dict[str, object] = {"table": table, "columns": column}
    asked |= {option: value for option, value in given.items() if value is not None}
    if lock_timeout is not None:
        asked["lock_timeout_seconds"] = lock_timeout / 1000
    with connect() as api:
        row = find(api, database, env)
        operations.finish(
            api,
            api.post(f"/api/databases/{row['id']}/indexes", asked),
            wait=wait,
            as_json=as_json,
            started=f"{title(row)}: started",
            done=partial(_report_index, row),
        )


def _report_index(row: Row, result: Row) -> None:
    size = readable(result["size_bytes"])
    output.done(f"{title(row)}: {result['index']} created, {size}")


def _maintain(
    api: Api,
    row: Row,
    verb: str,
    asked: dict[str, object],
    *,
    lock_timeout: int | None,
    wait: bool,
    as_json: bool,
) -> None:
    """Run the operation of this verb and report it. Exits with FAILED if something was skipped."""
    if lock_timeout is not None:
        asked["lock_timeout_seconds"] = lock_timeout / 1000
    ended = operations.finish(
        api,
        api.post(f"/api/databases/{row['id']}/{verb}", asked),
        wait=wait,
        as_json=as_json,
        started=f"{title(row)}: started",
        done=partial(_report, row, verb),
    )
    if wait and ended["result"]["skipped"]:
        raise typer.Exit(entry_point.FAILED)


def _show_estimate(row: Row, page: Page, tables: list[str], *, as_json: bool) -> None:
    if tables:
        page.rows[:] = [_named(page.rows, each) for each in tables]
    output.listing(
        page,
        {
            "TABLE": "table",
            "SIZE": lambda each: output.size(each["size_bytes"]),
            "WOULD RETURN": lambda each: (
                "unknown" if each["returned_bytes"] is None else readable(each["returned_bytes"])
            ),
        },
        empty=f"{title(row)} has no tables.",
        in_json=as_json,
    )


def _report(row: Row, verb: str, result: Row) -> None:
    """Report the result of an operation on tables or on indexes."""
    one, many = ("index", "indexes") if verb == "reindex" else ("table", "tables")
    done = result[many]
    for each in done:
        before, after = readable(each["before_bytes"]), readable(each["after_bytes"])
        output.note(f"{each[one]}: {before}" + (f", now {after}" if after != before else ""))
    for each in result["skipped"]:
        output.note(f"{each[one]} is as it was. {each['reason']}", style="yellow")
    if verb == "vacuum-full":
        _report_returned(row, result)
    elif done:
        noun = one if len(done) == 1 else many
        output.done(f"{title(row)}: {len(done)} {noun} {_DONE[verb]}")


_DONE = {"vacuum": "vacuumed", "analyze": "analyzed", "reindex": "rebuilt"}


def _report_returned(row: Row, result: Row) -> None:
    if result["tables"]:
        output.done(f"{title(row)}: {readable(max(0, result['returned_bytes']))} given back")
    else:
        output.note(
            f"Nothing was rewritten: no table of {title(row)} is known to give back a tenth of"
            " its size. --dry-run shows what each would; --table rewrites one all the same."
        )


def _named(rows: list[Row], name: str) -> Row:
    """Return the table of this name. Raises NotFound."""
    for each in rows:
        if each["table"] == name:
            return each
    meant = did_you_mean(name, [str(each["table"]) for each in rows])
    raise NotFound(
        f"The database's owner has no table {name}.", hint=meant or "Name it as schema.table."
    )
