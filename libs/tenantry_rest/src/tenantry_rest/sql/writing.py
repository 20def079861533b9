"""Inserts, updates, deletes and calls as SQL."""

from tenantry_rest.plan.model import Call, Source, Write
from tenantry_rest.request.payload import Payload
from tenantry_rest.schema.model import Name, Parameter
from tenantry_rest.sql.filters import where_sql
from tenantry_rest.sql.fragments import (
    EMPTY,
    Sql,
    column,
    constant,
    identifier,
    join,
    literal,
    qualified,
    text,
    transformed,
)

BODY = Name("", "pgrst_body")
# How many rows were inserted: each row counts up, and down again where it is an update instead.
COUNT_UP = (
    "set_config('pgrst.inserted', "
    "(coalesce(nullif(current_setting('pgrst.inserted', true), '')::int, 0) + 1)::text, true) "
    "<> '0'"
)
COUNT_DOWN = COUNT_UP.replace(" + 1", " - 1").replace("<> '0'", "<> '-1'")


def write_sql(write: Write) -> Sql:
    """The statement of a write."""
    if write.kind == "delete":
        return text("DELETE FROM ", qualified(write.table), _where(write), _returning(write))
    if write.kind == "update":
        return _update(write)
    return _insert(write)


def _where(write: Write) -> Sql:
    conditions = [where_sql(write.table, each) for each in write.where]
    return text(" WHERE ", join(" AND ", conditions)) if conditions else EMPTY


def _returning(write: Write) -> Sql:
    columns = [column(write.table, name) for name in write.returning] or [text("1")]
    return text(" RETURNING ", join(", ", columns))


def _update(write: Write) -> Sql:
    if not write.columns or write.payload is None:
        # Nothing to set: no rows, but with the columns that are selected from them.
        table = Name("", write.table.name)
        columns = [column(table, name) for name in write.returning] or [text("NULL")]
        return text(
            "SELECT ", join(", ", columns), " FROM ", qualified(write.table), " WHERE false"
        )
    sets = [text(identifier(each.name), " = ", column(BODY, each.name)) for each in write.columns]
    return text(
        "UPDATE ",
        qualified(write.table),
        " SET ",
        join(", ", sets),
        " ",
        body_rows(write.payload, write.columns, defaults=write.defaults),
        _where(write),
        _returning(write),
    )


def _insert(write: Write) -> Sql:
    names = [identifier(each.name) for each in write.columns]
    merges = write.conflict is not None and write.conflict[0] == "merge-duplicates"
    payload = write.payload or Payload(b"[]")
    conditions = [where_sql(BODY, each) for each in write.where]
    if merges:
        conditions.insert(0, text(COUNT_UP))
    return text(
        "INSERT INTO ",
        qualified(write.table),
        text("(", join(", ", names), ") ") if names else " ",
        "SELECT ",
        join(", ", [column(BODY, each.name) for each in write.columns]),
        " ",
        body_rows(payload, write.columns, defaults=write.defaults),
        text(" WHERE ", join(" AND ", conditions)) if conditions else EMPTY,
        _on_conflict(write, names, merges=merges),
        _returning(write),
    )


def _on_conflict(write: Write, names: list[Sql], *, merges: bool) -> Sql:
    if write.conflict is None or not write.conflict[1]:
        return EMPTY
    on = text(" ON CONFLICT(", join(", ", map(identifier, write.conflict[1])), ") ")
    if not merges or not names:
        return text(on, "DO NOTHING")
    sets = [text(name, " = EXCLUDED.", name) for name in names]
    return text(on, "DO UPDATE SET ", join(", ", sets), " WHERE ", COUNT_DOWN)


def body_rows(
    payload: Payload, columns: tuple[Source, ...], *, defaults: bool = False, single: bool = False
) -> Sql:
    """The FROM clause in which PostgreSQL takes a body apart; ``single`` is its first row only."""
    kind = "jsonb" if defaults else "json"
    given = text("(SELECT ", literal(payload.raw.decode(errors="replace")), f"::{kind}")
    parts = [text("FROM ", given, " AS json_data) pgrst_payload, ")]
    values = "pgrst_payload.json_data"
    if defaults:
        parts.append(_with_defaults(payload, columns))
        values = "pgrst_json_defs.val"
    if not columns:
        rows = f"{kind}_array_elements({values}) _"
        inner = text("SELECT FROM ", "(values(1)) _" if payload.is_object else rows)
    else:
        function = f"{kind}_to_record" if payload.is_object else f"{kind}_to_recordset"
        shown = [
            text(transformed(each, identifier(each.name)), " AS ", identifier(each.name))
            for each in columns
        ]
        # The types are the catalog's own words for them.
        typed = [text(identifier(each.name), " ", each.type) for each in columns]
        inner = text(
            "SELECT ",
            join(", ", shown),
            f" FROM {function}({values}) AS _(",
            join(", ", typed),
            ")",
        )
    return text(*parts, "LATERAL (", inner, " LIMIT 1" if single else "", ") pgrst_body")


def _with_defaults(payload: Payload, columns: tuple[Source, ...]) -> Sql:
    """The body with the columns' defaults beneath; the expressions are the catalog's."""
    pairs = [
        text(constant(each.name), ", ", each.default)
        for each in columns
        if each.default is not None
    ]
    built = text("jsonb_build_object(", join(", ", pairs), ")")
    if payload.is_object:
        inner = text("SELECT ", built, " || pgrst_payload.json_data AS val")
    else:
        inner = text(
            "SELECT jsonb_agg(",
            built,
            " || elem) AS val FROM jsonb_array_elements(pgrst_payload.json_data) elem",
        )
    return text("LATERAL (", inner, ") pgrst_json_defs, ")


def call_sql(call: Call) -> Sql:
    """The SELECT of what a function returns; a scalar is in the column ``pgrst_scalar``."""
    function = call.function
    scalar = function.scalar or function.set_of_scalar
    named = [each for each in function.parameters if each.name in call.named and each.name]
    single = len(function.parameters) == 1 and not function.parameters[0].name
    before = text("FROM ")
    if single:
        arguments = _body_argument(call, function.parameters[0])
    elif not named:
        arguments = EMPTY
    elif call.arguments is not None:
        arguments = join(", ", [_argument(call.arguments, each) for each in named])
    else:
        columns = tuple(Source(each.name, type=each.cast) for each in named)
        payload = call.payload or Payload(b"{}")
        before = text(body_rows(payload, columns, single=True), ", LATERAL ")
        arguments = join(", ", [_passed(each, column(BODY, each.name)) for each in named])
    called = text(qualified(function.name), "(", arguments, ")")
    if scalar:
        called = text("(SELECT ", called, " pgrst_scalar)")
        shown = text("pgrst_call.pgrst_scalar")
    else:
        names = call.returning or ("*",)
        shown = join(", ", [column(Name("", "pgrst_call"), name) for name in names])
    return text("SELECT ", shown, " ", before, called, " pgrst_call")


def _passed(parameter: Parameter, value: Sql) -> Sql:
    variadic = "VARIADIC " if parameter.variadic else ""
    return text(variadic, identifier(parameter.name), " := ", value)


def _argument(arguments: dict[str, str | list[str]], parameter: Parameter) -> Sql:
    value = literal(arguments.get(parameter.name))
    if parameter.variadic:
        value = text(value, "::text[]")
    return _passed(parameter, text(value, "::", parameter.cast))


def _body_argument(call: Call, parameter: Parameter) -> Sql:
    raw = call.payload.raw if call.payload is not None else b""
    if parameter.type == "bytea":
        return text(literal(raw), "::bytea")
    return text(literal(raw.decode(errors="replace")), "::", parameter.type)
