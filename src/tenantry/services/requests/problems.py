"""Failures as documents of RFC 9457, with a stable code and a hint."""

import json
from collections.abc import Mapping

from tenantry.base.errors import FieldError, TenantryError, Unavailable
from tenantry.pg.connections import is_lost

MEDIA_TYPE = "application/problem+json"
RETRY_SECONDS = 5  # after which a part that did not answer may do so again

_TITLES = {
    400: ("bad_request", "The request cannot be read"),
    404: ("not_found", "Not found"),
    405: ("method_not_allowed", "That method is not allowed here"),
    413: ("body_too_large", "The request is too large"),
    414: ("head_too_large", "The request's address is too long"),
    415: ("unsupported_media_type", "That kind of body is not taken here"),
    431: ("head_too_large", "The request's headers are too large"),
    500: ("internal_error", "Something went wrong"),
}
_OTHER = ("error", "The request failed")


def named(status: int) -> tuple[str, str]:
    """Return the code and the title of a failure that has no others."""
    return _TITLES.get(status, _OTHER)


def document(
    request_id: str,
    path: str,
    *,
    status: int,
    code: str,
    title: str,
    detail: str,
    hint: str | None = None,
    fields: tuple[FieldError, ...] = (),
    about: Mapping[str, object] | None = None,
) -> dict[str, object]:
    """Return the members of a failure; ``about`` has further ones."""
    body: dict[str, object] = {
        **(about or {}),
        "type": f"urn:tenantry:error:{code}",
        "title": title,
        "status": status,
        "detail": detail,
        "instance": path,
        "success": False,
        "code": code,
        "request_id": request_id,
    }
    if hint:
        body["hint"] = hint
    if fields:
        body["errors"] = [
            {"field": each.field, "message": each.message, "code": each.code} for each in fields
        ]
    return body


def of_error(request_id: str, path: str, error: TenantryError) -> dict[str, object]:
    """Return one of our own errors."""
    return document(
        request_id,
        path,
        status=error.status,
        code=error.code,
        title=error.title,
        detail=error.detail,
        hint=error.hint,
        fields=error.fields,
        about=error.about,
    )


def invalid_json(request_id: str, path: str) -> dict[str, object]:
    """Return a body that is not JSON; its status is 400."""
    return document(
        request_id,
        path,
        status=400,
        code="invalid_json",
        title="The body is not JSON",
        detail="The body cannot be read as JSON.",
        hint="Send a JSON object, with Content-Type: application/json.",
    )


def of_lost_session(error: Exception) -> Unavailable | None:
    """Return the error for a session that a server has ended amid a request; None for others.

    What was requested may have been done: a COMMIT may be what was not answered.
    """
    if not is_lost(error):
        return None
    return Unavailable(
        "A PostgreSQL server ended a session that this request needs: it is stopped or restarted.",
        hint="Look whether anything has changed before you try again, in a few seconds.",
    )


def internal_error(request_id: str, path: str) -> dict[str, object]:
    """Return a defect of ours: only the request id, to find it in the log."""
    return document(
        request_id,
        path,
        status=500,
        code="internal_error",
        title="Something went wrong",
        detail="The request failed for a reason that is ours, not yours.",
        hint=f"The log shows more under the request id {request_id}.",
    )


def unreadable(request_id: str, status: int, detail: str) -> dict[str, object]:
    """Return a request whose head is too large or not HTTP; its path is unknown."""
    code, title = named(status)
    return document(
        request_id,
        "",
        status=status,
        code=code,
        title=title,
        detail=f"{detail}.",
        hint="Send HTTP/1.1 with short headers, such as curl and browsers do.",
    )


def rendered(problem: dict[str, object]) -> bytes:
    """Return a document as the body of an answer."""
    return json.dumps(problem, ensure_ascii=False, separators=(",", ":")).encode()


def last_answer(status_line: bytes, problem: dict[str, object]) -> bytes:
    """Return a whole answer of HTTP/1.1 after which the connection is closed."""
    body = rendered(problem)
    headers = (
        f"content-length: {len(body)}\r\ncontent-type: {MEDIA_TYPE}\r\n"
        f"x-request-id: {problem['request_id']}\r\nconnection: close\r\n\r\n"
    )
    return status_line + headers.encode() + body
