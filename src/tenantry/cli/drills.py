"""``tenantry backup drill`` and ``proofs``: prove that a database can be restored."""

from functools import partial

from tenantry.cli import output, times
from tenantry.cli.client import Row, connect
from tenantry.cli.entry_point import Json
from tenantry.cli.finding import In, Named, find, title
from tenantry.cli.operations import Wait, finish, report_exceptions

_COLUMNS: dict[str, output.Cell] = {
    "AGE": lambda row: times.distance(row["at"]),
    "STATE": lambda row: "passed" if row["passed"] else "FAILED",
    "MOMENT": lambda row: times.local(row["moment"]) if row["moment"] else "-",
    "SECONDS": lambda row: round(row["seconds"], 1),
    "TABLES": lambda row: row["compared"]["tables"],
    "ROWS": lambda row: row["compared"]["rows"],
    "AS LIVE": lambda row: row["compared"]["equal_to_live"],
    "ERROR": "error",
}


def drill(database: Named, wait: Wait = True, env: In = None, as_json: Json = False) -> None:
    """Restore a database into a sandbox, compare it, and record the result as a proof.

    Exit code 1 if the drill fails. The platform drills another database each night.

    Example:

        tenantry backup drill shop
    """
    with connect() as api:
        row = find(api, database, env)
        operation = api.post(f"/api/databases/{row['id']}/drill", {})
        finish(
            api,
            operation,
            wait=wait,
            as_json=as_json,
            started=f"The drill of {title(row)} has started",
            done=partial(_report, row),
        )


def _report(row: Row, result: Row) -> None:
    report_exceptions(result)
    output.done(
        f"{title(row)} can be restored: {output.count(result['tables'], 'table')} with"
        f" {output.count(result['rows'], 'row')}, "
        f"{result['equal_to_live']} of them compared with the live ones, in {result['seconds']} s"
    )


def proofs(database: Named, env: In = None, as_json: Json = False) -> None:
    """List the results of a database's drills, newest first.

    Example:

        tenantry backup proofs shop
    """
    with connect() as api:
        row = find(api, database, env)
        page = api.rows(f"/api/databases/{row['id']}/proofs", limit=50)
    output.listing(
        page,
        _COLUMNS,
        empty=f"{title(row)} was never drilled.",
        in_json=as_json,
        first="newest",
    )
