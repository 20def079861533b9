"""What the clients raise.

TenantryError
├── ConnectionFailed    no answer came
├── ApiError            the API refused the request
└── OperationFailed     an operation failed or was cancelled
"""

from collections.abc import Mapping
from typing import Any

from tenantry_client.models import FieldProblem, Operation


class TenantryError(Exception):
    """The base of all errors of this library."""


class ConnectionFailed(TenantryError):
    """No answer came. ``sent`` is whether the API may have carried out the request."""

    def __init__(self, message: str, *, sent: bool) -> None:
        super().__init__(message)
        self.sent = sent


class ApiError(TenantryError):
    """A refusal by the API (RFC 9457).

    ``code`` is stable and meant for programs; ``errors`` has the ``field``, ``message`` and
    ``code`` of each wrong field; ``retry_after`` is in seconds, None if there is none.
    """

    def __init__(
        self, status: int, problem: Mapping[str, Any], retry_after: float | None = None
    ) -> None:
        self.status = status
        self.code = str(problem.get("code") or "unknown")
        self.title = str(problem.get("title") or "")
        self.detail = str(problem.get("detail") or f"The API answered {status}.")
        self.hint: str | None = problem.get("hint")
        self.errors: list[FieldProblem] = list(problem.get("errors") or ())
        self.request_id: str | None = problem.get("request_id")
        self.retry_after = retry_after
        super().__init__(" ".join(filter(None, (self.detail, self.hint))))


class OperationFailed(TenantryError):
    """An operation failed or was cancelled; ``operation`` is its last state."""

    def __init__(self, operation: Operation) -> None:
        self.operation = operation
        error = operation["error"] or {}
        ended = f"The operation {operation['kind']} was {operation['status']}"
        detail = error.get("detail") or f"{ended} at step {operation['step']}."
        super().__init__(" ".join(str(each) for each in (detail, error.get("hint")) if each))
