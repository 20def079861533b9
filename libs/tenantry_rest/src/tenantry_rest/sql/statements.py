"""The statements of a transaction."""

import json
from functools import cache

from tenantry_rest.config import Config
from tenantry_rest.errors import MOST_HEADER_BYTES
from tenantry_rest.plan.model import Body, Plan
from tenantry_rest.request.media import Media
from tenantry_rest.request.model import ApiRequest
from tenantry_rest.request.syntax import EVERYTHING
from tenantry_rest.schema.model import ANY_ELEMENT, Function, Name
from tenantry_rest.sql.fragments import (
    EMPTY,
    Rendered,
    Sql,
    cut,
    identifier,
    join,
    literal,
    qualified,
    text,
)
from tenantry_rest.sql.reading import count_sql, read_sql
from tenantry_rest.sql.writing import call_sql, write_sql

ROWS = "_postgrest_t"
SETTINGS = (
    ", nullif(current_setting('response.headers', true), '') AS response_headers"
    ", nullif(current_setting('response.status', true), '') AS response_status"
)
TOO_LARGE = "the body is too large: "
LARGE_HEADERS = "the headers are too large: "
NO_LOCATION = "array[]::text[]"


def statements_of(plan: Plan, request: ApiRequest, config: Config) -> list[Sql]:
    """The statement that does it all, and one for the planner's estimate if that is wanted."""
    preferences = request.preferences
    most = None
    if preferences.count == "estimated" and config.db_max_rows is not None:
        most = config.db_max_rows + 1
    location = request.write == "insert" and preferences.representation == "headers-only"
    found = [
        main_statement(
            plan,
            count=preferences.counts_rows,
            count_at_most=most,
            location=location,
            most_bytes=config.db_max_bytes,
        )
    ]
    if estimates_rows(plan, request):
        found.append(text("EXPLAIN (FORMAT JSON) ", count_sql(plan.read)))
    return found


def estimates_rows(plan: Plan, request: ApiRequest) -> bool:
    """Whether the planner's estimate of the number of rows is wanted."""
    wanted = request.preferences.count in {"planned", "estimated"}
    return wanted and request.kind == "read" and plan.media.plan_of is None


def main_statement(
    plan: Plan,
    *,
    count: bool = False,
    count_at_most: int | None = None,
    location: bool = False,
    most_bytes: int | None = None,
) -> Sql:
    """The statement that does it all, and returns one row.

    Its columns, whose order clients see in plans: the total of rows without limits, the number of
    rows, for a write ``key=eq.value`` for each column of the key of a row that was inserted, the
    body, the settings ``response.headers`` and ``response.status``, and the number of rows that an
    upsert inserted.
    """
    function = plan.call.function if plan.call is not None else None
    single = function is not None and not function.is_set
    number = "1" if single else f"pg_catalog.count({ROWS})"
    totals, total = EMPTY, "null::bigint"
    rows = text("SELECT * FROM pgrst_source")
    inserted = "null::int"
    if plan.write is not None:
        source = write_sql(plan.write)
        if plan.body.kind != "none":
            rows = read_sql(plan.read)
        if plan.write.conflict is not None and plan.write.conflict[0] == "merge-duplicates":
            inserted = "nullif(current_setting('pgrst.inserted', true), '')::int"
    elif plan.call is not None:
        source = call_sql(plan.call)
        rows = read_sql(plan.read)
    else:
        source = read_sql(plan.read)
    if count and plan.write is None and plan.read.range == EVERYTHING:
        total = number
    elif count and plan.write is None:
        most = text(" LIMIT ", literal(str(count_at_most))) if count_at_most is not None else EMPTY
        totals = text(", pgrst_source_count AS (", count_sql(plan.read), most, ")")
        total = "(SELECT pg_catalog.count(*) FROM pgrst_source_count)"
    place = EMPTY
    if plan.write is not None:
        place = text(_location(plan.write.key if location else ()), " AS header, ")
    selected = text(
        f" SELECT {total} AS total_result_set, {number} AS page_total, ",
        place,
        body_sql(plan.body, function),
        f" AS body{SETTINGS}, {inserted} AS inserted FROM (",
        rows,
        f") {ROWS}",
    )
    if most_bytes is not None and plan.media.plan_of is None:
        selected = _bounded(selected, most_bytes, has_location=plan.write is not None)
    statement = text("WITH pgrst_source AS (", source, ")", totals, selected)
    return explained(plan.media, statement) if plan.media.plan_of is not None else statement


def _bounded(selected: Sql, most: int, *, has_location: bool) -> Sql:
    """The rest of a statement, which fails if its body has more bytes, or its headers too many.

    PostgreSQL has no function that only raises an error: the cast of a text that is no number does.
    """
    size = "pg_catalog.pg_column_size(body)"
    columns = ("response_headers", "response_status") + ("header",) * has_location
    headers = " + ".join(f"coalesce(pg_catalog.pg_column_size({each}), 0)" for each in columns)
    return text(
        ", pgrst_result AS (",
        selected,
        f") SELECT *, CASE WHEN {size} > {most} THEN ('{TOO_LARGE}' || {size})::int"
        f" WHEN {headers} > {MOST_HEADER_BYTES} THEN ('{LARGE_HEADERS}' || {headers})::int END"
        " AS bytes FROM pgrst_result",
    )


def explained(media: Media, statement: Sql) -> Sql:
    options = [f"FORMAT {media.plan_format.upper()}", *map(str.upper, media.plan_options)]
    return text(f"EXPLAIN ({', '.join(options)}) ", statement)


def _location(key: tuple[str, ...]) -> Sql:
    if not key:
        return text(NO_LOCATION)
    return text(
        f"CASE WHEN pg_catalog.count({ROWS}) = 1 THEN coalesce((SELECT array_agg(pair.key || '=' "
        "|| coalesce('eq.' || pair.value, 'is.null')) FROM (SELECT row_to_json(_) AS row FROM "
        "pgrst_source AS _ LIMIT 1) AS data CROSS JOIN json_each_text(data.row) AS pair "
        "WHERE pair.key IN (",
        join(", ", map(literal, key)),
        f")), {NO_LOCATION}) ELSE {NO_LOCATION} END",
    )


def body_sql(body: Body, function: Function | None) -> Sql:
    """The expression that aggregates the rows to a body."""
    scalar = function is not None and (function.scalar or function.set_of_scalar)
    value = f"{ROWS}.pgrst_scalar" if scalar else ROWS
    strip = body.kind.endswith("-stripped")
    first = body.kind.startswith("object") or (
        function is not None and (function.scalar or function.single_row)
    )
    match body.kind.removesuffix("-stripped"):
        case "none":
            return text("''::text")
        case "csv":
            return text(_CSV)
        case "geojson":
            return text(
                "json_build_object('type', 'FeatureCollection', 'features', "
                f"coalesce(json_agg(ST_AsGeoJSON({ROWS})::json), '[]'))"
            )
        case "handler":
            return _handled(body, value, scalar=scalar)
    found = f"json_agg({value})" + ("->0" if first else "")
    if strip:
        found = f"json_strip_nulls({found})"
    return text(f"coalesce({found}, '{'null' if first else '[]'}')")


_CSV = (
    "(SELECT coalesce(string_agg(a.k, ','), '') FROM (SELECT json_object_keys(r)::text AS k FROM "
    "(SELECT row_to_json(hh) AS r FROM pgrst_source AS hh LIMIT 1) s) a) || E'\\n' || "
    f"coalesce(string_agg(substring({ROWS}::text, 2, length({ROWS}::text) - 2), E'\\n'), '')"
)


def _handled(body: Body, value: str, *, scalar: bool) -> Sql:
    handler = body.handler
    if handler is None or handler.function is None:
        return text(value)
    row = text(value)
    if body.target is not None and body.target != ANY_ELEMENT and not scalar:
        row = text(value, "::", qualified(body.target))
    return text(qualified(handler.function), "(", row, ")")


def settings_statement(settings: list[tuple[str, str]]) -> Rendered:
    """The settings of a transaction, as one SELECT."""
    return _settings_text(len(settings)), [cut(each) for pair in settings for each in pair]


@cache
def _settings_text(count: int) -> bytes:
    calls = (f"set_config(${2 * n + 1}, ${2 * n + 2}, true)" for n in range(count))
    return f"SELECT {', '.join(calls)}".encode()


def search_path(schemas: list[str]) -> str:
    """The value of the setting."""
    return ", ".join(str(identifier(each).parts[0]) for each in schemas)


_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def json_setting(given: dict[str, str]) -> str:
    return _encode(given) if given else "{}"


def call_without_arguments(name: str) -> Sql:
    """The SELECT of a function by the name in a setting, qualified or not."""
    schema, dot, function = name.partition(".")
    called = Name(schema, function) if dot else Name("", schema)
    return text("SELECT ", qualified(called), "()")
