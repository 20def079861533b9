"""Answers of HTTP."""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from urllib.parse import quote

from tenantry_rest.errors import (
    JSON,
    MOST_REASON,
    UNREADABLE,
    ApiError,
    beyond_end,
    is_header,
    is_status,
)
from tenantry_rest.plan.model import Plan
from tenantry_rest.request.model import ApiRequest
from tenantry_rest.schema.model import Function, Table
from tenantry_rest.transaction import Outcome

Headers = list[tuple[str, str]]
VERSION = "16.0"  # of PostgREST, as which the library answers


@dataclass
class Answer:
    """A status with its headers and a body; ``reason`` is a text for the status."""

    status: int
    headers: Headers = field(default_factory=list)
    body: bytes = b""
    reason: str | None = None


def proxy_status(error: ApiError) -> tuple[str, str]:
    # A function can raise any code; what ends a header must not be in one.
    fits = len(error.code) <= MOST_REASON and is_header("Proxy-Status", error.code)
    code = error.code if fits else "PGRST"
    return "Proxy-Status", f"PostgREST; error={code}"


def error_answer(error: ApiError, *, minimal: bool) -> Answer:
    headers = [
        ("Content-Type", JSON),
        proxy_status(error),
        *error.headers,
    ]
    reason = None if error.reason is None else error.reason[:MOST_REASON]
    return Answer(error.status, headers, error.body(minimal=minimal), reason)


def content_range(lower: int, upper: int, total: int | None) -> str:
    rows = f"{lower}-{upper}" if total != 0 and lower <= upper else "*"
    return f"{rows}/{'*' if total is None else total}"


def answer(request: ApiRequest, plan: Plan, outcome: Outcome, *, minimal: bool = False) -> Answer:
    """The answer to a read, a write or a call; an error in it is a ``minimal`` one or not.

    Raises:
        ApiError: a function has set headers or a status that are none.
    """
    if plan.media.plan_of is not None:
        found = Answer(200, _content_type(request, plan), outcome.body)
    elif plan.call is not None:
        found = _call_answer(request, plan, _ranged(request, outcome, minimal=minimal))
    elif request.kind == "read":
        found = _read_answer(request, plan, _ranged(request, outcome, minimal=minimal))
    else:
        found = _write_answer(request, plan, outcome)
    found = _overridden(found, outcome)
    if misnamed := plan.read.misnamed_embeds:
        found.headers.append(_warning(misnamed))
    return found


def _warning(misnamed: list[tuple[str, str]]) -> tuple[str, str]:
    """That the names of embeds with aliases will not do in PostgREST's next versions."""
    changes = ", ".join(f"`{_visible(name)}` to `{_visible(alias)}`" for name, alias in misnamed)
    return "Warning", (
        f'299 PostgRESTv{VERSION} "Embedded resource was referenced by relation name even though '
        "it has an alias. This is deprecated and will stop working in a future release. Update "
        f'{changes} in query string filters, orders or limits."'
    )


def _content_type(request: ApiRequest, plan: Plan) -> Headers:
    return [("Content-Type", plan.media.content_type), *profile(request)]


def profile(request: ApiRequest) -> Headers:
    return [("Content-Profile", request.schema)] if request.profiled else []


def _applied(request: ApiRequest, **which: bool) -> Headers:
    value = request.preferences.applied(**which)
    return [("Preference-Applied", value)] if value else []


def _ranged(request: ApiRequest, outcome: Outcome, *, minimal: bool) -> Answer:
    """An answer with the status, range and body of rows of which there may be more."""
    lower, total = request.range.offset, outcome.total
    upper = lower + outcome.rows - 1
    headers = [("Content-Range", content_range(lower, upper, total))]
    if total is not None and lower > total:
        error = beyond_end(lower, total)
        body = b"" if request.head else error.body(minimal=minimal)
        return Answer(416, [*headers, proxy_status(error)], body)
    partial = total is not None and outcome.rows < total
    return Answer(206 if partial else 200, headers, b"" if request.head else outcome.body)


def _read_answer(request: ApiRequest, plan: Plan, found: Answer) -> Answer:
    query = f"?{request.query.canonical}" if request.query.canonical else ""
    found.headers.append(("Content-Location", f"/{_visible(request.target)}{query}"))
    found.headers += _content_type(request, plan) + _applied(request)
    return found


def _visible(name: str) -> str:
    """A name as it is, without characters that end a header."""
    return re.sub(r"[\x00-\x1f\x7f]", lambda found: quote(found[0]), name)


def _call_answer(request: ApiRequest, plan: Plan, found: Answer) -> Answer:
    found.headers += _applied(request, max_affected=True)
    if plan.call is not None and plan.call.function.void:
        return Answer(204, found.headers)
    found.headers += _content_type(request, plan)
    return found


def _write_answer(request: ApiRequest, plan: Plan, outcome: Outcome) -> Answer:
    preferences, kind = request.preferences, request.write
    represents = preferences.representation == "representation"
    counted = outcome.rows if preferences.counts_rows else None
    headers: Headers = []
    if kind == "insert":
        only_merged = preferences.resolution == "merge-duplicates" and outcome.inserted <= 0
        status = 200 if only_merged else 201
        if outcome.location:
            place = "&".join(map(_quoted_pair, outcome.location))
            headers.append(("Location", f"/{_visible(request.target)}?{place}"))
        headers.append(("Content-Range", content_range(1, 0, counted)))
        headers += _applied(
            request, resolution=_resolves(request, plan), representation=True, missing=True
        )
    elif kind == "upsert":
        status = 201 if outcome.inserted > 0 else 200
        headers += _applied(request, representation=True)
    else:
        status = 200
        lower, upper = (0, outcome.rows - 1) if kind == "update" else (1, 0)
        headers.append(("Content-Range", content_range(lower, upper, counted)))
        headers += _applied(
            request, representation=True, missing=kind == "update", max_affected=True
        )
    if represents:
        return Answer(status, headers + _content_type(request, plan), outcome.body)
    return Answer(status if kind == "insert" else 204, headers)


def _resolves(request: ApiRequest, plan: Plan) -> bool:
    """Whether a preference for duplicates applies: there is something that could be one."""
    return bool(plan.write is not None and (plan.write.key or request.query.on_conflict))


def _quoted_pair(pair: str) -> str:
    key, _, value = pair.partition("=")
    return f"{quote(key, safe='~')}={quote(value, safe='~')}"


def _overridden(found: Answer, outcome: Outcome) -> Answer:
    """The answer with what the settings ``response.status`` and ``response.headers`` say."""
    if outcome.status is not None:
        digits = outcome.status.strip()[:3]
        if not digits.isascii() or not digits.isdigit() or not is_status(int(digits)):
            message = "response.status guc must be a valid status code"
            raise ApiError(500, "PGRST112", message)
        found.status = int(digits)
    if outcome.headers is not None:
        given = _set_headers(outcome.headers)
        names = {name.lower() for name, _ in given}
        kept = [each for each in found.headers if each[0].lower() not in names]
        found.headers = kept + given
    return found


def _set_headers(text: str) -> Headers:
    try:
        given = json.loads(text)
        pairs = [pair for each in given for pair in each.items()]
        valid = isinstance(given, list) and len(pairs) == len(given)
        valid = valid and all(isinstance(value, str) for _, value in pairs)
    except UNREADABLE:
        valid, pairs = False, []
    if not valid or not all(is_header(*pair) for pair in pairs):
        message = (
            "response.headers guc must be a JSON array composed of objects with a single key and "
            "a string value"
        )
        raise ApiError(500, "PGRST111", message)
    return pairs


def table_options(table: Table) -> Answer:
    methods = ["OPTIONS", "GET", "HEAD"]
    methods += ["POST"] * table.insertable
    methods += ["PUT"] * (table.insertable and table.updatable and bool(table.key))
    methods += ["PATCH"] * table.updatable + ["DELETE"] * table.deletable
    return allowing(methods)


def function_options(function: Function) -> Answer:
    volatile = function.volatility == "volatile"
    return allowing(["OPTIONS", "POST"] if volatile else ["OPTIONS", "GET", "HEAD", "POST"])


def allowing(methods: Iterable[str]) -> Answer:
    return Answer(200, [("Access-Control-Allow-Origin", "*"), ("Allow", ",".join(methods))])
