"""A request of HTTP as what it asks for."""

import re
from dataclasses import dataclass, field
from urllib.parse import unquote

from tenantry_rest.config import Config
from tenantry_rest.errors import ApiError, bad_range, unknown_schema, unsupported_method
from tenantry_rest.request import media
from tenantry_rest.request.media import Media
from tenantry_rest.request.payload import Payload, parse_payload
from tenantry_rest.request.preferences import Preferences, parse_preferences
from tenantry_rest.request.query import Query, parse_query
from tenantry_rest.request.syntax import Range

_RANGE = re.compile("([0-9]{1,18})-([0-9]{0,18})")
WRITES = {"POST": "insert", "PUT": "upsert", "PATCH": "update", "DELETE": "delete"}


@dataclass(frozen=True)
class HttpRequest:
    """What came in; names of headers are in lower case."""

    method: str
    path: str
    query: str = ""
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b""

    def header(self, name: str) -> str | None:
        for key, value in self.headers:
            if key == name:
                return value
        return None


@dataclass(frozen=True)
class ApiRequest:
    """What is asked: ``kind`` is read, write, call, inspect or info; ``target`` its object.

    ``write`` is insert, upsert, update or delete. ``range`` is that of the root.
    """

    http: HttpRequest
    kind: str
    resource: str
    target: str
    schema: str
    profiled: bool
    query: Query
    range: Range
    preferences: Preferences
    accepts: tuple[Media, ...]
    content: Media
    write: str = ""
    payload: Payload | None = None

    @property
    def head(self) -> bool:
        return self.http.method == "HEAD"

    @property
    def is_post_call(self) -> bool:
        return self.kind == "call" and self.http.method == "POST"


def parse_request(http: HttpRequest, config: Config) -> ApiRequest:
    """Find out what a request asks for.

    Raises:
        ApiError: it asks for nothing that there can be.
    """
    resource, target = _resource(http.path, config)
    schema, profiled = _schema(http, config)
    kind = _kind(resource, http.method)
    is_call = resource == "function"
    query = parse_query(http.query, is_call=is_call and http.method in {"GET", "HEAD", "OPTIONS"})
    wanted = _range(http, query)
    write = WRITES[http.method] if kind == "write" else ""
    if write == "upsert" and any(not path for path, _ in query.ranges):
        message = "limit/offset querystring parameters are not allowed for PUT"
        raise ApiError(400, "PGRST114", message)
    content = media.JSON
    if (given := http.header("content-type")) is not None:
        content = media.decode_media(given)
    payload = None
    if write in {"insert", "update", "upsert"} or (is_call and http.method == "POST"):
        columns = None if write == "upsert" else query.columns
        payload = parse_payload(http.body, content, columns=columns, is_call=is_call)
    prefer = [value for name, value in http.headers if name == "prefer"]
    return ApiRequest(
        http,
        kind,
        resource,
        target,
        schema,
        profiled,
        query,
        wanted,
        parse_preferences(prefer, allow_tx=config.allows_tx_override),
        media.accepted(http.header("accept")),
        content,
        write,
        payload,
    )


def _resource(path: str, config: Config) -> tuple[str, str]:
    parts = [unquote(part) for part in path.removeprefix("/").split("/")]
    match parts:
        case [""]:
            if config.db_root_spec:
                return "function", config.db_root_spec
            if config.openapi_mode == "disabled":
                raise ApiError(404, "PGRST126", "Root endpoint metadata is disabled")
            return "schema", ""
        case [table]:
            return "table", table
        case ["rpc", function]:
            return "function", function
        case _:
            raise ApiError(404, "PGRST125", "Invalid path specified in request URL")


def _kind(resource: str, method: str) -> str:
    if method == "OPTIONS":
        return "info"
    if resource == "function":
        if method in {"GET", "HEAD", "POST"}:
            return "call"
        raise ApiError(405, "PGRST101", f"Cannot use the {method} method on RPC")
    if method in {"GET", "HEAD"}:
        return "read" if resource == "table" else "inspect"
    if resource == "table" and method in WRITES:
        return "write"
    raise unsupported_method(method)


def _schema(http: HttpRequest, config: Config) -> tuple[str, bool]:
    """The schema, and whether the answer names it: it was asked for, or is one of several."""
    header = "content-profile" if http.method in WRITES else "accept-profile"
    asked = http.header(header)
    if asked is None:
        return config.db_schemas[0], len(config.db_schemas) > 1
    if asked not in config.db_schemas:
        raise unknown_schema(asked, config.db_schemas)
    return asked, True


def _range(http: HttpRequest, query: Query) -> Range:
    """The root's rows: what ``limit`` and ``offset`` and the header ``Range`` have in common."""
    wanted = query.range
    if wanted.limit == 0:
        return wanted
    lower, upper = _header_range(http)
    offset = max(lower, wanted.offset)
    ends = [] if upper is None else [upper + 1]
    if wanted.limit is not None:
        ends.append(wanted.offset + wanted.limit)
    if not ends:
        return Range(offset)
    if min(ends) <= offset:
        raise bad_range(
            "The lower boundary must be lower than or equal to the upper boundary "
            "in the Range header."
            if upper is not None and upper < lower
            else "Limit should be greater than or equal to zero."
        )
    return Range(offset, min(ends) - offset)


def _header_range(http: HttpRequest) -> tuple[int, int | None]:
    """The header ``Range`` of a GET, as RFC 9110 has it; another than ``1-2`` or ``1-`` is none."""
    found = _RANGE.fullmatch(http.header("range") or "")
    if http.method != "GET" or found is None:
        return 0, None
    first, last = found.groups()
    return int(first), int(last) if last else None
