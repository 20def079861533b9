"""Reads of one shape share a plan and a statement: only the values of filters differ."""

import re
import secrets
from collections import OrderedDict
from dataclasses import dataclass, replace
from urllib.parse import quote

from tenantry_rest.config import Config
from tenantry_rest.errors import ApiError
from tenantry_rest.plan.model import Plan
from tenantry_rest.plan.planning import make_plan
from tenantry_rest.request.model import ApiRequest, HttpRequest, parse_request
from tenantry_rest.request.query import canonical, is_filter, pairs
from tenantry_rest.schema.model import Schema
from tenantry_rest.sql.fragments import Rendered, Value, cut
from tenantry_rest.sql.statements import statements_of

VALUED = re.compile(r"((?:not\.)?(?:eq|neq|gte?|lte?)\.)(.*)", re.DOTALL)
SHAPING = ("accept", "accept-profile", "prefer", "range")
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

    A place is the number of a statement and of its parameter, and the number of the value.
    """

    planned: Planned
    holes: tuple[tuple[int, int, int], ...]

    def filled(self, http: HttpRequest, given: list[Pair], values: list[str]) -> Planned:
        statements = [(text, list(parameters)) for text, parameters in self.planned.statements]
        for statement, parameter, number in self.holes:
            statements[statement][1][parameter] = cut(values[number])
        request = self.planned.request
        query = replace(request.query, canonical=canonical(given))
        return Planned(replace(request, http=http, query=query), self.planned.plan, statements)


class Shapes:
    """The templates of a schema cache, those used last."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._templates: OrderedDict[object, Template] = OrderedDict()

    def __len__(self) -> int:
        return len(self._templates)

    def plan(self, http: HttpRequest, schema: Schema, config: Config) -> Planned | None:
        """The plan of a read; None if it is no read, or is none that has a template."""
        if http.method not in {"GET", "HEAD"} or http.path.count("/") != 1 or http.path == "/":
            return None
        given = pairs(http.query)
        marked, values = _marked(given)
        headers = tuple(each for each in http.headers if each[0] in SHAPING)
        shape = (http.method, http.path, marked, headers)
        template = self._templates.get(shape)
        if template is None:
            template = _template(http, marked, len(values), schema, config)
            if template is None:
                return None
            self._templates[shape] = template
            if len(self._templates) > self._most:
                self._templates.popitem(last=False)
        else:
            self._templates.move_to_end(shape)
        return template.filled(http, given, values)


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
    count: int,
    schema: Schema,
    config: Config,
) -> Template | None:
    """Plan with words in place of the values, and find them among the parameters."""
    words = [secrets.token_hex(16) for _ in range(count)]
    rest = iter(words)
    parts = []
    for key, value, has_hole in marked:
        text = (value or "") + (next(rest) if has_hole else "")
        equals = "" if value is None else "="
        parts.append(f"{quote(key, safe='')}{equals}{quote(text, safe='')}")
    try:
        request = parse_request(replace(http, query="&".join(parts)), config)
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
    if {word for _, _, word in holes} != set(range(count)) or _spread(statements, words, holes):
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
