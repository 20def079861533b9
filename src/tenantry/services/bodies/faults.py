"""What is wrong with a body's fields, in plain words."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from tenantry.base.errors import FieldError
from tenantry.base.suggestions import did_you_mean

# Beginnings of pydantic's messages, which name types of Python.
_PYDANTIC = re.compile(r"^(?:Input|String|Value|List|Dictionary) should (?=be |have |match )")
_COUNT = re.compile(r" after validation, not \d+$")
_LONGEST_NAME = 63
MOST = 100  # in one answer


def printable(text: object) -> str:
    """Return received text without lone surrogates, so that it can be sent back."""
    return str(text).encode(errors="replace").decode()


def message(error: Mapping[str, Any]) -> str:
    """Return a message for a field: pydantic's in plain words; an unknown name's suggestion."""
    if error["type"] == "missing":
        return "is required"
    if error["type"] == "extra_forbidden":
        return "is no field of this request"
    if (error.get("ctx") or {}).get("min_length") == 1:
        return "must not be empty"
    if error["type"] != "literal_error":
        said = printable(error["msg"]).removeprefix("Value error, ")
        return _COUNT.sub("", _PYDANTIC.sub("must ", said))
    names = re.findall("'([^']*)'", error["ctx"]["expected"])
    said = f"is none of {', '.join(names)}."
    given = error["input"]
    if not isinstance(given, str) or len(given) > _LONGEST_NAME:
        return said
    return f"“{printable(given)}” {said} {did_you_mean(given, names) or ''}".rstrip()


def fields(
    errors: Iterable[Mapping[str, Any]], *, skipped: int = 1, whole: str | None = None
) -> tuple[FieldError, ...]:
    """Return pydantic's errors by field: the location without the first ``skipped`` parts.

    An error of no single field has the name ``whole``; by default the first part, such as body.
    """
    return tuple(
        FieldError(
            field=".".join(printable(part) for part in each["loc"][skipped:])
            or whole
            or str(each["loc"][0]),
            message=message(each),
            code=str(each["type"]),
        )
        for each in errors
    )
