"""The errors of PostgREST, as answers."""

import json
import re
from dataclasses import dataclass, field

JSON = "application/json; charset=utf-8"
MOST_CHARACTERS = 32 * 1024  # of each text of an error: one that a function raises may have 1 GB
MOST_HEADER_BYTES = 32 * 1024  # of all headers that a function sets; clients read no more
MOST_REASON = 1000  # characters
# What reading a text as JSON of some form raises, if it is not.
UNREADABLE = (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError)
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_NO_HEADER_VALUE = re.compile(r"[\x00-\x08\x0a-\x1f\x7f\ud800-\udfff]")
# Those that say where an answer ends, and those of a connection that serves other requests too, are
# the server's own (RFC 9110, sections 6.6.1, 7.6.1 and 8.6).
_FRAMING = {
    "connection",
    "content-length",
    "date",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
}


def is_status(number: int) -> bool:
    """Whether a status can be that of an answer: none below ends one, servers know none above."""
    return 200 <= number <= 599  # noqa: PLR2004


def is_header(name: str, value: str) -> bool:
    """Whether a database may set a header: it ends where it should, and the answer does."""
    return (
        bool(_HEADER_NAME.fullmatch(name))
        and name.lower() not in _FRAMING
        and not _NO_HEADER_VALUE.search(value)
    )


@dataclass
class ApiError(Exception):
    """An answer that says what is wrong.

    ``details`` is a text or a list, ``reason`` the text of a status that HTTP does not define.
    """

    status: int
    code: str
    message: str
    details: object = None
    hint: str | None = None
    headers: list[tuple[str, str]] = field(default_factory=list)
    reason: str | None = None

    def body(self, *, minimal: bool = False) -> bytes:
        content: dict[str, object] = {"code": _cut(self.code)}
        if not minimal:
            content |= {"details": _cut(self.details), "hint": _cut(self.hint)}
        content["message"] = _cut(self.message)
        text = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
        # JSON can have halves of characters, UTF-8 cannot: they stay escaped.
        return text.encode(errors="backslashreplace")


def _cut(value: object) -> object:
    """A text without what is too long in it; other values as they are."""
    if not isinstance(value, str) or len(value) <= MOST_CHARACTERS:
        return value
    return value[:MOST_CHARACTERS] + "…"


def bad_query(message: str, details: str) -> ApiError:
    return ApiError(400, "PGRST100", message, details)


def bad_body(message: str) -> ApiError:
    return ApiError(400, "PGRST102", message)


def too_many_values(what: str, most: int, hint: str) -> ApiError:
    return ApiError(413, "too_many_values", f"The body has more than {most:,} {what}", None, hint)


def bad_range(details: str) -> ApiError:
    return ApiError(416, "PGRST103", "Requested range not satisfiable", details)


def beyond_end(offset: int, total: int) -> ApiError:
    return bad_range(f"An offset of {offset} was requested, but there are only {total} rows.")


def schema_too_large(details: str) -> ApiError:
    return ApiError(503, "PGRST002", "The schema is too large to be served", details)


def unknown_schema(name: str, exposed: tuple[str, ...]) -> ApiError:
    hint = f"Only the following schemas are exposed: {', '.join(exposed)}"
    return ApiError(406, "PGRST106", f"Invalid schema: {name}", None, hint)


def no_media_type(accepted: list[str]) -> ApiError:
    message = f"None of these media types are available: {', '.join(accepted)}"
    return ApiError(406, "PGRST107", message)


def not_embedded(name: str, alias: str | None = None) -> ApiError:
    """There is no such embed; ``alias`` is of one that is meant by that name."""
    if alias is None:
        details = None
        hint = f"Verify that '{name}' is included in the 'select' query parameter."
    else:
        details = "Target names are not allowed in filters if they have an alias"
        hint = f"Change '{name}' to '{alias}' in filters, orders or limits."
    message = f"'{name}' is not an embedded resource in this request"
    return ApiError(400, "PGRST108", message, details, hint)


def not_singular(count: int) -> ApiError:
    message = "Cannot coerce the result to a single JSON object"
    return ApiError(406, "PGRST116", message, f"The result contains {count} rows")


def exceeds_max_affected(count: int) -> ApiError:
    message = "Query result exceeds max-affected preference constraint"
    return ApiError(400, "PGRST124", message, f"The query affects {count} rows")


def too_large() -> ApiError:
    hint = "Ask for fewer rows or columns, by limit, the header Range, or select."
    return ApiError(400, "result_too_large", "The result is too large", None, hint)


def headers_too_large() -> ApiError:
    message = f"The headers of the answer have more than {MOST_HEADER_BYTES:,} bytes"
    hint = "They are from response.headers, response.status, or the key of the inserted row."
    return ApiError(500, "headers_too_large", message, None, hint)


def no_column(table: str, column: str) -> ApiError:
    message = f"Could not find the '{column}' column of '{table}' in the schema cache"
    return ApiError(400, "PGRST204", message)


def unsupported_method(method: str) -> ApiError:
    return ApiError(405, "PGRST117", f"Unsupported HTTP method: {method}")


def not_implemented(details: str) -> ApiError:
    return ApiError(400, "PGRST127", "Feature not implemented", details)


def bad_token(code: str, message: str, details: str | None = None) -> ApiError:
    """An answer about a JSON Web Token: PGRST301 if it cannot be read, 303 for its claims."""
    description = json.dumps(message)
    header = f'Bearer error="invalid_token", error_description={description}'
    return ApiError(401, code, message, details, headers=[("WWW-Authenticate", header)])


def token_required() -> ApiError:
    header = ("WWW-Authenticate", "Bearer")
    return ApiError(401, "PGRST302", "Anonymous access is disabled", headers=[header])
