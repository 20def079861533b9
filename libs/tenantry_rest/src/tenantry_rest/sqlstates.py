"""PostgreSQL's errors as answers."""

import json
import re

from tenantry_rest.errors import (
    MOST_HEADER_BYTES,
    UNREADABLE,
    ApiError,
    headers_too_large,
    is_header,
    is_status,
)

EXACT = {
    "23503": 409,
    "23505": 409,
    "25006": 405,
    "53400": 500,
    "57P01": 503,
    "P0001": 400,
    "42P01": 404,
    "42P17": 500,
}
CLASSES = {
    "08": 503,
    "09": 500,
    "0L": 403,
    "0P": 403,
    "25": 500,
    "28": 403,
    "2D": 500,
    "38": 500,
    "39": 500,
    "3B": 500,
    "40": 500,
    "53": 503,
    "54": 500,
    "55": 500,
    "57": 500,
    "58": 500,
    "F0": 500,
    "HV": 500,
    "P0": 500,
    "XX": 500,
}


def from_database(
    code: str, message: str, details: str | None, hint: str | None, *, anonymous: bool
) -> ApiError:
    """The answer to an error with this SQLSTATE; ``anonymous`` is the role it happened to."""
    if code == "PGRST":
        return _raised(message, details)
    error = ApiError(_status(code, message, anonymous=anonymous), code, message, details, hint)
    if code.startswith("PT"):
        error.reason = message
    if error.status == 401:  # noqa: PLR2004
        error.headers.append(("WWW-Authenticate", "Bearer"))
    return error


def _status(code: str, message: str, *, anonymous: bool) -> int:
    if code == "42501":
        return 401 if anonymous else 403
    if code == "42883":  # where a column that is asked for as XML is none
        return 406 if message.startswith("function xmlagg(") else 404
    if code == "22023":
        return 401 if re.fullmatch(r"role .* does not exist", message, re.DOTALL) else 400
    if code == "21000":
        return 400 if message.endswith("requires a WHERE clause") else 500
    if code.startswith("PT"):
        status = code[2:]
        numeric = status.isascii() and status.isdigit()
        return int(status) if numeric and is_status(int(status)) else 500
    return EXACT.get(code, CLASSES.get(code[:2], 400))


def _raised(message: str, details: str | None) -> ApiError:
    """``RAISE sqlstate 'PGRST'``: a function decides on all of the answer."""
    try:
        said = json.loads(message)
        code, text = _text(said["code"]), _text(said["message"])
        more, hint = (_text_or_none(said.get(key)) for key in ("details", "hint"))
    except UNREADABLE:
        return _unreadable(
            f"Invalid JSON value for MESSAGE: '{message}'",
            "MESSAGE must be a JSON object with obligatory keys: 'code', 'message' and optional "
            "keys: 'details', 'hint'.",
        )
    rule = (
        "DETAIL must be a JSON object with obligatory keys: 'status', 'headers' and optional key: "
        "'status_text'."
    )
    if details is None:
        return _unreadable("DETAIL is missing in the RAISE statement", rule)
    try:
        given = json.loads(details)
        status, reason = _integer(given["status"]), _text_or_none(given.get("status_text"))
        headers = [(_text(name), _text(value)) for name, value in given["headers"].items()]
    except UNREADABLE:
        return _unreadable(f"Invalid JSON value for DETAIL: '{details}'", rule)
    if not is_status(status) or not all(is_header(*each) for each in headers):
        return _unreadable(f"Invalid JSON value for DETAIL: '{details}'", rule)
    if sum(len(name) + len(value) for name, value in headers) > MOST_HEADER_BYTES:
        return headers_too_large()
    return ApiError(status, code, text, more, hint, headers, reason)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(value)
    return value


def _text_or_none(value: object) -> str | None:
    return None if value is None else _text(value)


def _integer(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int | float) or int(value) != value:
        raise TypeError(value)
    return int(value)


def _unreadable(details: str, hint: str) -> ApiError:
    message = "Could not parse JSON in the \"RAISE SQLSTATE 'PGRST'\" error"
    return ApiError(500, "PGRST121", message, details, hint)
