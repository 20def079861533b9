"""Which function a call means, and with which arguments."""

from tenantry_rest.errors import ApiError
from tenantry_rest.plan.model import Call, Read
from tenantry_rest.plan.writing import returned_columns
from tenantry_rest.request import media
from tenantry_rest.request.media import Media
from tenantry_rest.request.model import ApiRequest
from tenantry_rest.schema.fuzzy import closest
from tenantry_rest.schema.model import Function, Name, Schema

UNNAMED = {
    media.JSON: ("json", "jsonb"),
    media.TEXT: ("text",),
    media.XML: ("xml",),
    media.OCTETS: ("bytea",),
}
LEAST = 0.75  # similarity of a function's name for a hint
LEAST_PARAMETERS = 0.33


def given_names(request: ApiRequest) -> tuple[str, ...]:
    """The names of the arguments that a request gives."""
    if request.is_post_call:
        return request.payload.keys if request.payload is not None else ()
    return tuple(sorted({name for name, _ in request.query.arguments}))


def find_function(name: Name, request: ApiRequest, schema: Schema) -> Function:
    """The only function with this name that can be called with these arguments.

    Raises:
        ApiError: there is none (PGRST202), or there are several (PGRST203).
    """
    overloaded = schema.functions.get(name, [])
    names = given_names(request)
    content = request.content if request.is_post_call else None
    fitting = [each for each in overloaded if _fits(each, set(names), content)]
    if not fitting:
        fitting = [each for each in overloaded if _takes_body(each, content)]
    if not fitting:
        raise _none(name, names, content, schema)
    if len(fitting) > 1:
        raise _ambiguous(fitting)
    return fitting[0]


def _takes_body(function: Function, content: Media | None) -> bool:
    parameters = function.parameters
    single = len(parameters) == 1 and not parameters[0].name
    return single and content is not None and parameters[0].type in UNNAMED.get(content, ())


def _fits(function: Function, given: set[str], content: Media | None) -> bool:
    if not function.parameters:
        return not given and content not in {media.OCTETS, media.TEXT, media.XML}
    if content is not None and len(function.parameters) == 1 and not function.parameters[0].name:
        return False
    required = {each.name for each in function.parameters if each.required}
    known = {each.name for each in function.parameters}
    return required <= given <= known


def plan_call(function: Function, request: ApiRequest, read: Read) -> Call:
    names = given_names(request)
    arguments: dict[str, str | list[str]] | None = None
    payload = request.payload
    given = request.query.arguments
    if request.is_post_call and payload is not None and payload.arguments is not None:
        given = payload.arguments
    if not request.is_post_call or request.content == media.URLENCODED:
        arguments = {}
        variadic = {each.name for each in function.parameters if each.variadic}
        for name, value in given:
            if name in variadic:
                listed = arguments.setdefault(name, [])
                if isinstance(listed, list):
                    listed.append(value)
            else:
                arguments[name] = value
    return Call(function, names, arguments, payload, returned_columns(read, ()))


def _without_arguments(content: Media | None) -> bool:
    return content in {media.TEXT, media.XML, media.OCTETS}


def _none(name: Name, names: tuple[str, ...], content: Media | None, schema: Schema) -> ApiError:
    called = f"{name.schema}.{name.name}"
    listed = f"({', '.join(names)})" if names else " without parameters"
    plural = "s" if len(names) > 1 else ""
    searched = f" with parameter{plural} {', '.join(names)}" if names else " without parameters"
    hint = None
    if content is not None and _without_arguments(content):
        searched = f" with a single unnamed {UNNAMED[content][0]} parameter"
        listed = ""
    else:
        hint = _suggestion(name, names, schema)
        if content == media.JSON:
            searched += " or with a single unnamed json/jsonb parameter"
    return ApiError(
        404,
        "PGRST202",
        f"Could not find the function {called}{listed} in the schema cache",
        f"Searched for the function {called}{searched}, but no matches were found in the "
        "schema cache.",
        hint,
    )


def _suggestion(name: Name, names: tuple[str, ...], schema: Schema) -> str | None:
    overloaded = schema.functions.get(name)
    if overloaded is None:
        others = [each.name for each in schema.functions if each.schema == name.schema]
        found = closest(others, name.name, least=LEAST)
    else:
        wanted = f"({', '.join(sorted(names))})"
        signatures = [
            f"({', '.join(sorted(each.name for each in function.parameters))})"
            for function in overloaded
        ]
        found = closest(signatures, wanted, least=LEAST_PARAMETERS)
        found = name.name + found if found is not None else None
    return f"Perhaps you meant to call the function {name.schema}.{found}" if found else None


def _ambiguous(fitting: list[Function]) -> ApiError:
    signatures = [
        f"{each.name.schema}.{each.name.name}"
        f"({', '.join(f'{one.name} => {one.type}' for one in each.parameters)})"
        for each in fitting
    ]
    return ApiError(
        300,
        "PGRST203",
        f"Could not choose the best candidate function between: {', '.join(signatures)}",
        None,
        "Try renaming the parameters or the function itself in the database so function "
        "overloading can be resolved",
    )
