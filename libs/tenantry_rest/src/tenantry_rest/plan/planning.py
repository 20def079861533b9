"""The plan of a request as a whole."""

from tenantry_rest.config import Config
from tenantry_rest.errors import ApiError, no_media_type
from tenantry_rest.plan.calling import find_function, plan_call
from tenantry_rest.plan.model import Body, Plan, Read
from tenantry_rest.plan.reading import plan_read
from tenantry_rest.plan.writing import plan_write
from tenantry_rest.request import media
from tenantry_rest.request.media import Media
from tenantry_rest.request.model import ApiRequest
from tenantry_rest.schema.fuzzy import closest
from tenantry_rest.schema.model import ANY_ELEMENT, Function, Name, Schema

BUILT_IN = {
    media.JSON: ("json", media.JSON),
    media.ANY: ("json", media.JSON),
    media.CSV: ("csv", media.CSV),
    media.GEOJSON: ("geojson", media.GEOJSON),
}
VENDORED = {
    media.SINGULAR: "object",
    media.SINGULAR_STRIPPED: "object-stripped",
    media.ARRAY_STRIPPED: "json-stripped",
}
LEAST = 0.75  # similarity of a table's name for a hint


def function_name(request: ApiRequest) -> Name:
    """The name of the function a request calls; the root's may be qualified."""
    if request.http.path in {"", "/"} and "." in request.target:
        schema, _, name = request.target.partition(".")
        return Name(schema, name)
    return Name(request.schema, request.target)


def find_table(request: ApiRequest, schema: Schema) -> Name:
    """The table a request names.

    Raises:
        ApiError: PGRST205, there is none.
    """
    name = Name(request.schema, request.target)
    if name not in schema.tables:
        others = [each.name for each in schema.tables if each.schema == name.schema]
        found = closest(others, name.name, least=LEAST)
        raise ApiError(
            404,
            "PGRST205",
            f"Could not find the table '{name.schema}.{name.name}' in the schema cache",
            None,
            f"Perhaps you meant the table '{name.schema}.{found}'" if found else None,
        )
    return name


def make_plan(request: ApiRequest, schema: Schema, config: Config) -> Plan:
    """Plan a read, a write or a call.

    Raises:
        ApiError: the schema cache has not what it needs.
    """
    if request.kind == "call":
        return plan_function(request, schema, config)[1]
    table = find_table(request, schema)
    read = plan_read(table, request, schema, config)
    write = None
    if request.kind == "write":
        write = plan_write(table, request, schema, read)
    body, chosen = negotiate(table, request, schema, config, read)
    _check_preferences(request)
    return Plan(read, body, chosen, read_only=write is None, write=write)


def plan_function(request: ApiRequest, schema: Schema, config: Config) -> tuple[Function, Plan]:
    """The function that a request calls, or would call, and the plan of it.

    Raises:
        ApiError: the schema cache has not what it needs.
    """
    function = find_function(function_name(request), request, schema)
    table = function.returns if function.composite else function.name
    target = Name(function.name.schema, table.name)
    read = plan_read(target, request, schema, config)
    call = plan_call(function, request, read)
    body, chosen = negotiate(target, request, schema, config, read)
    _check_preferences(request, function)
    read_only = not request.is_post_call or function.volatility != "volatile"
    return function, Plan(read, body, chosen, read_only=read_only, call=call)


def _check_preferences(request: ApiRequest, function: Function | None = None) -> None:
    preferences = request.preferences
    if not preferences.strict:
        return
    if preferences.invalid:
        message = "Invalid preferences given with handling=strict"
        details = f"Invalid preferences: {', '.join(preferences.invalid)}"
        raise ApiError(400, "PGRST122", message, details)
    if function is not None and not function.is_set and preferences.max_affected is not None:
        message = "Function must return SETOF or TABLE when max-affected preference is used"
        raise ApiError(400, "PGRST128", f"{message} with handling=strict")


def _selects_everything(read: Read) -> bool:
    return not read.children and [(each.source.name, each.aggregate) for each in read.select] == [
        ("*", None)
    ]


def negotiate(
    target: Name, request: ApiRequest, schema: Schema, config: Config, read: Read
) -> tuple[Body, Media]:
    """The first media type accepted that can be made, and how.

    Raises:
        ApiError: PGRST107, there is none.
    """
    whole = _selects_everything(read)
    for wanted in request.accepts:
        if wanted.plan_of is None:
            found = _made(wanted, target, schema, whole=whole)
        else:
            of = wanted.plan_of if config.db_plan_enabled else None
            made = _made(of, target, schema, whole=whole) if of is not None else None
            found = (made[0], wanted) if made is not None else None
        if found is not None:
            represents = request.preferences.representation == "representation"
            if request.head or (request.kind == "write" and not represents):
                return Body("none"), found[1]
            return found
    raise no_media_type([each.mime for each in request.accepts])


def _made(wanted: Media, target: Name, schema: Schema, *, whole: bool) -> tuple[Body, Media] | None:
    """How a media type is made; handlers for a target need all of its columns."""
    if wanted in VENDORED:
        return Body(VENDORED[wanted]), wanted
    for mime in (media.ANY.mime, wanted.mime) if whole else ():
        if found := schema.handlers.get((target, mime)):
            return Body("handler", found, target), Media(found.media)
    if found := schema.handlers.get((ANY_ELEMENT, wanted.mime)):
        return Body("handler", found), Media(found.media)
    if wanted in BUILT_IN:
        kind, made = BUILT_IN[wanted]
        return Body(kind), made
    return None
