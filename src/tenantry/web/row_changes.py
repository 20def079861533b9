"""Changes of rows: a form for a row, what would be changed, and the change."""

import json
from collections.abc import Sequence
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import Query, Request, Response
from pydantic import Field, ValidationError

from tenantry.base.errors import Conflict, InvalidInput
from tenantry.pg.sql_runs import RowChanged
from tenantry.services.bodies.fields import Storable, storable
from tenantry.services.bodies.table_rows import ChangeRows, RowChange, TableName
from tenantry.services.requests.service import Caller
from tenantry.services.sql_runs.service import WRITES
from tenantry.services.table_rows.plan import VERSION, fixed_because
from tenantry.services.table_rows.service import Table
from tenantry.web import pages
from tenantry.web.routing import (
    CurrentForm,
    CurrentPlatform,
    DatabaseId,
    Form,
    calling,
    chosen,
    new_router,
    once,
    read,
)

router = new_router()

Reader = Annotated[Caller, calling("data:read")]

_PATH = "/databases/{database_id}/rows"
_Row = dict[str, str | None]


class OneRow(TableName):
    """A row by the values of its primary key; without any, a new one."""

    key: list[Annotated[Storable, Field(max_length=1000)]] = Field(default=[], max_length=32)
    back: str = Field(default="/", max_length=8000)


@router.get(f"{_PATH}/edit")
async def ask(
    request: Request,
    platform: CurrentPlatform,
    caller: Reader,
    database_id: DatabaseId,
    wanted: Annotated[OneRow, Query()],
) -> Response:
    """Show a form with the values of a row, or for a new one."""
    await caller.require(WRITES)
    row = await platform.databases.show(caller.actor, database_id)
    table = await platform.table_rows.table(caller, database_id, wanted.schema_, wanted.table)
    shown: _Row = {}
    if wanted.key:
        [shown] = await _rows(platform, caller, database_id, table, [(wanted.key, None)])
    fields = _fields(table, shown, is_new=not wanted.key)
    return pages.dialog(
        request,
        "row_edit.html",
        row=row,
        path=f"/databases/{database_id}",
        table=table,
        fields=fields,
        columns=_named(table, fields),
        shown=shown,
        key=wanted.key,
        back=wanted.back,
    )


def _fields(table: Table, shown: _Row, *, is_new: bool) -> list[str]:
    """Return the columns that a form has: those whose values can be sent without a loss."""
    return [
        name
        for name, column in table.shape.columns.items()
        if not column.generated and (is_new or (name in shown and _can_be_typed(shown[name])))
    ]


def _can_be_typed(value: str | None) -> bool:
    """Whether a browser, which ends all lines alike, sends a text as it was."""
    return value is None or "\r" not in value or _with_crlf(value) == value


def _with_crlf(text: str) -> str:
    return _with_lf(text).replace("\n", "\r\n")


def _with_lf(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _named(table: Table, fields: Sequence[str]) -> str:
    """Return the columns of a form, which it sends back: its values are numbered by them."""
    return json.dumps([[name, table.shape.columns[name].type] for name in fields])


async def _rows(
    platform: CurrentPlatform,
    caller: Caller,
    database_id: DatabaseId,
    table: Table,
    wanted: Sequence[tuple[list[str], str | None]],
) -> list[_Row]:
    """Return rows by their keys. Raises RowChanged if one is gone, or has another version."""
    reason = fixed_because(table.shape)
    if reason is not None:
        raise Conflict(reason)
    found = await platform.table_rows.find(caller, database_id, table, [key for key, _ in wanted])
    versions = {tuple(each[name] for name in table.shape.key): each[VERSION] for each in found}
    if len(found) < len(wanted) or any(
        version not in {None, versions.get(tuple(key))} for key, version in wanted
    ):
        raise RowChanged(
            "A row has been changed or deleted since this page was loaded.",
            hint="Load the page again, and change what the row is now.",
        )
    return found


@router.post(f"{_PATH}/preview")
async def preview(
    request: Request,
    platform: CurrentPlatform,
    caller: Reader,
    database_id: DatabaseId,
    form: CurrentForm,
) -> Response:
    """Show what would be changed, and the statements; it changes nothing."""
    await caller.require(WRITES)
    row = await platform.databases.show(caller.actor, database_id)
    named = read(TableName, {}, schema=form.get("schema"), table=form.get("table"))
    table = await platform.table_rows.table(caller, database_id, named.schema_, named.table)
    if form.get("action") == "delete":
        before = await _marked(platform, caller, database_id, table, form)
        changes = [_keyed("delete", table, each) for each in before]
    else:
        before, changes = await _edited(platform, caller, database_id, table, form)
    body = ChangeRows(schema_=table.schema, table=table.name, changes=changes)
    sql = table.statements([each.wanted() for each in changes])
    alone = form.get("action") == "delete" or form.get("in_place") == "yes"
    show = pages.dialog if alone else pages.render
    return show(
        request,
        "row_changes.html",
        row=row,
        path=f"/databases/{database_id}",
        table=table,
        changes=list(zip(changes, before, strict=True)),
        body=body.model_dump_json(by_alias=True, exclude_defaults=True),
        sql=sql,
        back=form.get("back", "/"),
        own_form=alone or not pages.is_fragment(request),
    )


def _keyed(action: str, table: Table, row: _Row, **more: Any) -> RowChange:
    key = {name: row[name] for name in table.shape.key}
    return read(RowChange, {}, action=action, key=key, xmin=row[VERSION], **more)


async def _marked(
    platform: CurrentPlatform,
    caller: Caller,
    database_id: DatabaseId,
    table: Table,
    form: Form,
) -> list[_Row]:
    """Return the rows whose boxes are ticked; each box has the key and the version of its row."""
    wanted = []
    for text in chosen(form, "row"):
        *key, version = _texts_of(text)
        wanted.append((key, version))
    if not wanted:
        raise InvalidInput("No row is marked.", hint="Mark those to delete.")
    return await _rows(platform, caller, database_id, table, wanted)


def _texts_of(text: str) -> list[str]:
    """Return a list that a page has as JSON: a key, with or without a version."""
    try:
        found = [storable(str(each)) for each in json.loads(text)]
    except (ValueError, TypeError):
        found = []
    if not found:
        raise InvalidInput.of("row", "is none of the page's")
    return found


async def _edited(
    platform: CurrentPlatform,
    caller: Caller,
    database_id: DatabaseId,
    table: Table,
    form: Form,
) -> tuple[list[_Row], list[RowChange]]:
    """Return what the form's row was, and the change to what was typed."""
    if "key" not in form:
        values = _values(table, {}, form, is_new=True)
        return [{}], [read(RowChange, {}, action="insert", values=values)]
    key = _texts_of(form["key"])
    [before] = await _rows(platform, caller, database_id, table, [(key, form.get(VERSION))])
    values = _values(table, before, form, is_new=False)
    if not values:
        raise InvalidInput("Nothing was changed in the form.")
    return [before], [_keyed("update", table, before, values=values)]


def _values(table: Table, before: _Row, form: Form, *, is_new: bool) -> dict[str, Any]:
    """Return the values that differ from those before; of a new row, those that are not defaults.

    A text that was typed counts, whatever else is chosen beside it. Its lines end as those before.
    A boolean is only chosen.
    Raises Conflict if the columns are no longer those of the form.
    """
    found: dict[str, Any] = {}
    fields = _fields(table, before, is_new=is_new)
    if form.get("columns") != _named(table, fields):
        raise Conflict(
            f"The columns of {table.schema}.{table.name} have been changed since this form was"
            " loaded. Nothing was changed.",
            hint="Load the form again.",
        )
    for number, name in enumerate(fields):
        old = before.get(name)
        how = form.get(f"how:{number}", "value")
        is_boolean = table.shape.columns[name].type == "boolean"
        if is_boolean and how in {"true", "false"} and how != old:
            found[name] = how
        elif is_boolean and how == "null" and (is_new or old is not None):
            found[name] = None
        if f"value:{number}" not in form:
            continue
        text = _with_lf(form[f"value:{number}"])
        if text != _with_lf(old or ""):
            found[name] = _with_crlf(text) if "\r" in (old or "") else text
        elif how == "null" and (is_new or old is not None):
            found[name] = None
        elif how == "value" and (is_new or old is None):
            found[name] = text
    return found


@router.post(_PATH)
async def change(
    request: Request,
    platform: CurrentPlatform,
    caller: Reader,
    database_id: DatabaseId,
    form: CurrentForm,
) -> Response:
    """Make the changes that were shown."""
    await caller.require(WRITES)
    try:
        body = ChangeRows.model_validate_json(form.get("changes", ""))
    except ValidationError:
        raise InvalidInput("The changes cannot be read.") from None
    table = await platform.table_rows.table(caller, database_id, body.schema_, body.table)
    changes = [each.wanted() for each in body.changes]
    await once(lambda: platform.table_rows.change(caller, database_id, table, changes))
    back, here = pages.own_path(form.get("back", "/")), f"/databases/{database_id}/rows?"
    if not back.startswith(here):
        back = here + urlencode({"schema": table.schema, "table": table.name})
    return pages.go(request, f"{back}&done=rows-changed")
