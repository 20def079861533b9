"""The errors that reach users, in one hierarchy.

    TenantryError
    ├── InvalidInput             422  the request has a value that cannot be used
    │   └── IdempotencyKeyReused      the key belongs to a different request
    ├── Unauthenticated          401  no key, or an unknown or expired one
    │   └── WrongCredentials          wrong e-mail, password or code
    ├── Forbidden                403  the key's scopes do not allow this
    ├── NotFound                 404  unknown, or another customer's
    ├── Conflict                 409  not possible in the current state
    │   ├── Busy                      a transaction or another change is in the way
    │   ├── RequestInProgress         the first request with this Idempotency-Key still runs
    │   └── NameTaken                 something else has the name
    ├── TooManyRequests          429  more than is allowed in a time
    │   ├── TooManyAtOnce             more than is processed at once
    │   └── LoginLocked               after failed logins
    ├── Unavailable              503  a part that the answer needs is down
    └── MachineError             500  this machine cannot do it: port, disk, package, permission

Each has a stable ``code``, its HTTP status, what happened (``detail``) and what to do next
(``hint``).
"""

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar, Self


@dataclass(frozen=True, slots=True)
class FieldError:
    """What is wrong with one field of a request; ``field`` is a dotted path."""

    field: str
    message: str
    code: str = "invalid"


class TenantryError(Exception):
    """Any failure that is reported to a user."""

    code: ClassVar[str] = "internal_error"
    status: ClassVar[int] = 500
    title: ClassVar[str] = "Something went wrong"
    may_be_done: bool = False  # whether what was requested may have been done nevertheless

    def __init__(
        self, detail: str, *, hint: str | None = None, fields: tuple[FieldError, ...] = ()
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.hint = hint
        self.fields = fields
        self.about: Mapping[str, object] = {}  # further facts for programs, by name

    def __str__(self) -> str:
        return f"{self.detail} {self.hint}" if self.hint else self.detail


class InvalidInput(TenantryError):
    code = "invalid_input"
    status = 422
    title = "The request is not valid"

    @classmethod
    def of(cls, field: str, message: str, *, code: str = "invalid") -> "InvalidInput":
        """Return the error for one field; ``message`` says what is wrong with it."""
        return cls(f"{field}: {message}", fields=(FieldError(field, message, code),))


class IdempotencyKeyReused(InvalidInput):
    code = "idempotency_key_reused"
    title = "The Idempotency-Key belongs to another request"


class Unauthenticated(TenantryError):
    code = "unauthenticated"
    status = 401
    title = "A valid API key or session is needed"


class WrongCredentials(Unauthenticated):
    code = "wrong_credentials"
    title = "Wrong e-mail address, password or code"


class Forbidden(TenantryError):
    code = "forbidden"
    status = 403
    title = "This API key or session may not do that"


class NotFound(TenantryError):
    code = "not_found"
    status = 404
    title = "Not found"


class Conflict(TenantryError):
    code = "conflict"
    status = 409
    title = "Not possible in the current state"


class Busy(Conflict):
    code = "busy"
    title = "Something else is at work on it"


class RequestInProgress(Conflict):
    code = "request_in_progress"
    title = "The first request with this Idempotency-Key still runs"


class NameTaken(Conflict):
    code = "name_taken"
    title = "The name is taken"


class TooManyRequests(TenantryError):
    """``seconds`` is how long to wait before the next try."""

    code = "rate_limited"
    status = 429
    title = "Too many requests"

    def __init__(self, detail: str, *, seconds: float, hint: str | None = None) -> None:
        super().__init__(detail, hint=hint)
        self.seconds = max(1, math.ceil(seconds))


class TooManyAtOnce(TooManyRequests):
    code = "too_many_at_once"
    title = "Too many requests at the same time"


class LoginLocked(TooManyRequests):
    code = "login_locked"
    title = "Too many logins have failed"


class Unavailable(TenantryError):
    code = "unavailable"
    status = 503
    title = "A part that this needs does not answer"
    may_be_done = True


class MachineError(TenantryError):
    code = "machine_error"
    title = "This machine cannot do that"


class Deferred:
    """The failures of independent pieces of work: the first is raised once all have had their turn.

    with Deferred() as failures:
        for cluster in clusters:
            with failures.deferred():
                ...
    """

    def __init__(self) -> None:
        self._first: Exception | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None and self._first is not None:
            raise self._first

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """Run a piece of work; its error is raised at the end."""
        try:
            yield
        except Exception as error:  # what is unexpected for one must not stop the others, either
            self._first = self._first or error
