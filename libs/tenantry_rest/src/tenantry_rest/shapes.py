"""Requests of one shape share a plan and a statement: the values of filters and bodies differ."""

import re
import secrets
from collections import OrderedDict
from dataclasses import dataclass, replace
from urllib.parse import quote

from tenantry_rest.config import Config
from tenantry_rest.errors import ApiError
from tenantry_rest.plan.model import Plan
from tenantry_rest.plan.planning import make_plan
from tenantry_rest.request import media
from tenantry_rest.request.model import ApiRequest, HttpRequest, parse_request
from tenantry_rest.request.payload import Payload, parse_payload
from tenantry_rest.request.query import canonical, is_filter, pairs
from tenantry_rest.schema.model import Schema
from tenantry_rest.sql.fragments import Rendered, Value, cut
from tenantry_rest.sql.statements import statements_of

VALUED = re.compile(r"((?:not\.)?(?:eq|neq|gte?|lte?)\.)(.*)", re.DOTALL)
SHAPING = ("accept", "accept-profile", "content-profile", "content-type", "prefer", "range")
WITH_BODY = ("POST", "PATCH")
Pair = tuple[str, str | None]


@dataclass(frozen=True)
class Planned:
    """A request with its plan and statements, ready to be executed."""

    request: ApiRequest
    plan: Plan
    statements: list[Rendered]


@dataclass(frozen=True)
class Template:
    """What requests of a shape have in common; ``holes`` are the values' places.

    A place is the number of a statement and of its parameter, and the number of the value; that
    of a body follows those of filters.
    """

    planned: Planned
    holes: tuple[tuple[int, int, int], ...]

    def filled(
        self, http: HttpRequest, given: list[Pair], values: list[str], payload: Payload | None
    ) -> Planned:
        statements = [(text, list(parameters)) for text, parameters in self.planned.statements]
        for statement, parameter, number in self.holes:
            statements[statement][1][parameter] = cut(values[number])
        request = self.planned.request
        query = replace(request.query, canonical=canonical(given))
        request = replace(request, http=http, query=query, payload=payload)
        return Planned(request, self.planned.plan, statements)


class Shapes:
    """The templates of a schema cache, those used last."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._templates: OrderedDict[object, Template] = OrderedDict()

    def __len__(self) -> int:
        return len(self._templates)

    def plan(self, http: HttpRequest, schema: Schema, config: Config) -> Planned | None:
        """The plan of a read, a write or a call; None if it has no template."""
        if not _has_shape(http):
            return None
        given = pairs(http.query)
        marked, values = _marked(given)
        payload = None
        if http.method in WITH_BODY:
            try:
                payload = _payload(http, given)
            except ApiError:
                return None  # parsed again, it is refused in the order of others
            values.append(payload.raw.decode(errors="replace"))
        headers = tuple(each for each in http.headers if each[0] in SHAPING)
        body = None if payload is None else (payload.is_object, payload.keys)
        shape = (http.method, http.path, marked, headers, body)
        template = self._templates.get(shape)
        if template is None:
            template = _template(http, marked, payload, schema, config)
            if template is None:
                return None
            self._templates[shape] = template
            if len(self._templates) > self._most:
                self._templates.popitem(last=False)
        else:
            self._templates.move_to_end(shape)
        return template.filled(http, given, values, payload)


def _has_shape(http: HttpRequest) -> bool:
    """Whether it is a read, a write or a call by POST, with a body that is JSON if it has one."""
    if http.method == "POST" and http.path.startswith("/rpc/"):
        depth = 2
    elif http.method in {"GET", "HEAD", "DELETE", *WITH_BODY} and http.path != "/":
        depth = 1
    else:
        return False
    content = http.header("content-type")
    is_json = content is None or media.decode_media(content.replace(" ", "")) == media.JSON
    return http.path.count("/") == depth and (is_json or http.method not in WITH_BODY)


def _payload(http: HttpRequest, given: list[Pair]) -> Payload:
    """A body with its keys; they are left out where the query names the columns."""
    if any(key == "columns" for key, _ in given):
        return Payload(http.body)
    is_call = http.path.startswith("/rpc/")
    return parse_payload(http.body, media.JSON, columns=None, is_call=is_call)


def _marked(given: list[Pair]) -> tuple[tuple[tuple[str, str | None, bool], ...], list[str]]:
    """The pairs without the values of filters, and these."""
    marked, values = [], []
    for key, value in given:
        matched = VALUED.fullmatch(value) if value is not None and is_filter(key) else None
        if matched is None:
            marked.append((key, value, False))
        else:
            marked.append((key, matched[1], True))
            values.append(matched[2])
    return tuple(marked), values


def _template(
    http: HttpRequest,
    marked: tuple[tuple[str, str | None, bool], ...],
    payload: Payload | None,
    schema: Schema,
    config: Config,
) -> Template | None:
    """Plan with words in place of the values, and find them among the parameters."""
    count = sum(has_hole for _, _, has_hole in marked)
    words = [secrets.token_hex(16) for _ in range(count)]
    rest = iter(words)
    parts = []
    for key, value, has_hole in marked:
        text = (value or "") + (next(rest) if has_hole else "")
        equals = "" if value is None else "="
        parts.append(f"{quote(key, safe='')}{equals}{quote(text, safe='')}")
    try:
        request = parse_request(replace(http, query="&".join(parts)), config)
        if payload is not None and request.payload is not None:
            # The keys and the first character of a body are of its shape.
            words.append(("{" if payload.is_object else "[") + secrets.token_hex(16))
            request = replace(request, payload=replace(request.payload, raw=words[-1].encode()))
        plan = make_plan(request, schema, config)
    except ApiError:
        return None  # planned again, it is refused with its own values
    statements = [each.render() for each in statements_of(plan, request, config)]
    holes = [
        (number, place, words.index(value))
        for number, (_, values) in enumerate(statements)
        for place, value in enumerate(values)
        if isinstance(value, str) and value in words
    ]
    found = {word for _, _, word in holes}
    if not found.issuperset(range(count)) or _spread(statements, words, holes):
        return None
    return Template(Planned(request, plan, statements), tuple(holes))


def _spread(
    statements: list[Rendered], words: list[str], holes: list[tuple[int, int, int]]
) -> bool:
    """Whether a word is anywhere but in its places."""
    places = {(number, place) for number, place, _ in holes}
    others: list[Value] = [
        value
        for number, (_, values) in enumerate(statements)
        for place, value in enumerate(values)
        if (number, place) not in places
    ]
    texts = [text.decode() for text, _ in statements] + [str(value) for value in others]
    return any(word in text for word in words for text in texts)
