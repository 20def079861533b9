"""``tenantry db advice``: what is wrong with a database, and what to do."""

from typing import Annotated
from urllib.parse import urlencode

import typer

from tenantry.base.errors import InvalidInput
from tenantry.cli import output
from tenantry.cli.client import Row, connect
from tenantry.cli.entry_point import Json
from tenantry.cli.finding import In, Named, find, title


def advice(
    database: Named,
    *,
    everything: Annotated[bool, typer.Option("--all", help="Show muted ones, too.")] = False,
    mute: Annotated[
        str | None,
        typer.Option(metavar="CODE:OBJECT", help="Report this finding no more."),
    ] = None,
    unmute: Annotated[
        str | None, typer.Option(metavar="CODE:OBJECT", help="Report it again.")
    ] = None,
    env: In = None,
    as_json: Json = False,
) -> None:
    """List what is wrong with a database, the reason, and the statement that helps.

    Examples:

        tenantry db advice shop

        tenantry db advice shop --mute no_primary_key:public.events
    """
    with connect() as api:
        row = find(api, database, env)
        path = f"/api/databases/{row['id']}/advice"
        if mute is not None:
            api.post(f"{path}/mutes", _finding("mute", mute))
            output.done(f"{mute} of {title(row)} is muted")
            return
        if unmute is not None:
            api.delete(f"{path}/mutes?{urlencode(_finding('unmute', unmute))}")
            output.done(f"{unmute} of {title(row)} is reported again")
            return
        found = api.rows(path, muted=everything or None).rows
    if as_json:
        output.as_json(found)
        return
    for each in found:
        _show(each)
    if not found:
        output.note(f"Nothing is known to be wrong with {title(row)}.")


def _show(each: Row) -> None:
    muted = " (muted)" if each["muted_at"] else ""
    output.line(f"{each['severity']}  {each['code']}:{each['object']}{muted}")
    output.line(f"  {each['detail']}")
    if each["statement"]:
        output.line(f"  {each['statement']}")
    output.line(f"  Risk: {each['risk']}")


def _finding(option: str, text: str) -> dict[str, str]:
    code, colon, object_ = text.partition(":")
    if not (code and colon and object_):
        raise InvalidInput.of(option, "must be CODE:OBJECT, as `tenantry db advice` shows them")
    return {"code": code, "object": object_}
