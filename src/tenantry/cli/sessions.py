"""``tenantry db sessions``, ``locks``, ``cancel`` and ``terminate``: what a database does now."""

from typing import Annotated

import typer

from tenantry.cli import output
from tenantry.cli.client import Row, connect
from tenantry.cli.entry_point import Json
from tenantry.cli.finding import In, Named, find, title
from tenantry.cli.times import span

ProcessId = Annotated[
    int,
    typer.Argument(
        metavar="PID", min=1, help="The session's process ID: see `tenantry db sessions`."
    ),
]


def _seconds(field: str) -> output.Cell:
    return lambda row: None if row[field] is None else span(row[field])


def query(row: Row) -> str:
    """Return a session's statement in one line."""
    return " ".join(str(row["query"]).split())


def _blockers(row: Row) -> list[object]:
    return [*row["blocked_by"], *(["others"] if row["blocked_by_others"] else [])]


def client(row: Row) -> str:
    """Return where a session's client is, and by which port it came."""
    return f"{row['client_address'] or '-'} ({row['port']})"


def waits_for(row: Row) -> str | None:
    """Return the wait event of a session that runs a statement; None if it does not wait."""
    if row["state"] != "active" or row["wait_event"] is None:
        return None
    return f"{row['wait_event_type']}: {row['wait_event']}"


def _locked(row: Row) -> object:
    return row["lock"] and (row["lock"]["relation"] or row["lock"]["lock_type"])


def sessions(database: Named, env: In = None, as_json: Json = False) -> None:
    """List a database's open sessions, those in a transaction first, the oldest of them first.

    A pooled session shows the client that it serves at present.

    Example:

        tenantry db sessions shop
    """
    with connect() as api:
        row = find(api, database, env)
        found = api.rows(f"/api/databases/{row['id']}/sessions").rows
    if as_json:
        output.as_json(found)
        return
    output.table(
        found,
        {
            "PID": lambda each: str(each["pid"]),
            "ROLE": "role",
            "CLIENT": client,
            "STATE": "state",
            "SINCE": _seconds("state_seconds"),
            "TRANSACTION": _seconds("transaction_seconds"),
            "WAITS FOR": waits_for,
            "BLOCKED BY": _blockers,
            "QUERY": query,
        },
        empty=f"{title(row)} has no open session.",
        spare=("ROLE", "WAITS FOR", "CLIENT"),
    )


def locks(database: Named, env: In = None, as_json: Json = False) -> None:
    """Show which sessions of a database wait for a lock, below those that they wait for.

    Example:

        tenantry db locks shop
    """
    with connect() as api:
        row = find(api, database, env)
        found = api.rows(f"/api/databases/{row['id']}/locks").rows
    if as_json:
        output.as_json(found)
        return
    output.table(
        found,
        {
            "PID": lambda each: "  " * each["depth"] + str(each["pid"]),
            "BLOCKS": "blocks",
            "BLOCKED BY": _blockers,
            "STATE": "state",
            "TRANSACTION": _seconds("transaction_seconds"),
            "LOCK": lambda each: each["lock"] and each["lock"]["mode"],
            "ON": lambda each: (
                each["lock"] and (each["lock"]["relation"] or each["lock"]["lock_type"])
            ),
            "QUERY": query,
        },
        empty=f"No session of {title(row)} waits for a lock.",
        spare=("STATE", "LOCK"),
    )


def cancel(database: Named, pid: ProcessId, env: In = None, as_json: Json = False) -> None:
    """Cancel the statement that a session of a database runs; the session stays open.

    Example:

        tenantry db cancel shop 48213
    """
    _signal(database, pid, "cancel", "The statement is being cancelled", env, as_json=as_json)


def terminate(database: Named, pid: ProcessId, env: In = None, as_json: Json = False) -> None:
    """End a session of a database; its transaction is rolled back.

    Example:

        tenantry db terminate shop 48213
    """
    _signal(database, pid, "terminate", "The session is ended", env, as_json=as_json)


def _signal(
    database: str, pid: int, verb: str, said: str, env: str | None, *, as_json: bool
) -> None:
    with connect() as api:
        path = f"/api/databases/{find(api, database, env)['id']}/sessions"
        # The session that is open now: its process ID may be another's in a moment.
        meant = [each for each in api.rows(path).rows if each["pid"] == pid]
        body = {"started_at": meant[0]["started_at"]} if meant else {}
        done = api.post(f"{path}/{pid}/{verb}", body)
    if as_json:
        output.as_json(done)
        return
    output.done(said if done["done"] else "The session is being ended")
    output.facts(
        [
            ("pid", str(pid)),
            ("role", done["role"]),
            ("query", query(meant[0]) if meant else None),
        ]
    )
