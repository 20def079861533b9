"""Results of requests, stored for repeated requests as JSON without their secrets.

Each secret is named instead, and derived again from the caller's own keys (``SecretSource``). A
result with any other secret is not stored: its request fails.
"""

from functools import cache
from typing import Any, TypeVar, cast

from pydantic import TypeAdapter, ValidationError

from tenantry.base.errors import Conflict
from tenantry.base.secrets import SecretSource

Result = TypeVar("Result")


def write(kind: type[Result], result: Result, source: SecretSource) -> str:
    """Return the text to store of a result."""
    return _adapter(cast("Any", kind)).dump_json(result, context=source).decode()


def read(kind: type[Result], text: str, source: SecretSource) -> Result:
    """Return a stored result. Raises Conflict if another version of Tenantry stored it."""
    try:
        result: Result = _adapter(cast("Any", kind)).validate_json(text, context=source)
    except ValidationError:
        raise Conflict(
            "This request was carried out by another version of Tenantry, and its answer cannot be"
            " given again.",
            hint="List what it made; a password that was not received can be rotated.",
        ) from None
    return result


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)
