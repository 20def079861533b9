"""Bodies of requests about marks, and about what a database was."""

import re
from typing import Annotated

from pydantic import AfterValidator, Field, StringConstraints

from tenantry.pg.lost_rows import LOST, Kind
from tenantry.services.bodies.fields import Body, Label, Moment, storable

_PART = r'(?:"((?:[^"]|"")+)"|([^".]+))'
_TABLE = re.compile(rf"(?:{_PART}\.)?{_PART}")
_LONGEST_NAME = 63  # bytes


def table_of(text: str) -> tuple[str, str]:
    """Return schema and name of a table; without a schema it is one in ``public``.

    A name that has a dot or a quotation mark is in quotation marks, as in SQL; all are as they are,
    with their capital letters. Raises ValueError.
    """
    found = _TABLE.fullmatch(text)
    if found is None:
        raise ValueError('must be schema.table, with "quoted names" where they have dots')
    quoted_schema, schema, quoted_name, name = found.groups()
    parts = [
        quoted.replace('""', '"') if quoted is not None else plain or "public"
        for quoted, plain in ((quoted_schema, schema), (quoted_name, name))
    ]
    if any(len(part.encode()) > _LONGEST_NAME for part in parts):
        raise ValueError(f"must not have names of more than {_LONGEST_NAME} bytes")
    return parts[0], parts[1]


def _is_table(text: str) -> str:
    table_of(text)
    return text


TableName = Annotated[
    str,
    StringConstraints(min_length=1, max_length=260),
    AfterValidator(storable),
    AfterValidator(_is_table),
]


class CreateMark(Body):
    """A moment of a database, by default now."""

    label: Annotated[Label, Field(examples=["deploy 2026-11-30"])]
    at: Moment | None = Field(default=None, description="Now, if left out; not in the future.")


class LookBack(Body):
    """The moment at which to look at a database."""

    to: Annotated[
        Moment,
        Field(description="A moment with its time zone.", examples=["2026-11-30T13:59:59+01:00"]),
    ]


class CompareTable(Body):
    """A table to compare with what it was."""

    table: TableName = Field(examples=["public.orders"])

    def named(self) -> tuple[str, str]:
        """Return its schema and its name."""
        return table_of(self.table)


Place = Annotated[int, Field(ge=1, strict=True)]


class BringBack(Body):
    """Which rows of a comparison to bring back."""

    kinds: list[Kind] = Field(
        default=[*LOST],
        min_length=1,
        max_length=2,
        description="`deleted`, `changed`, or both; `added` rows are never deleted.",
    )
    places: list[Place] | None = Field(
        default=None,
        min_length=1,
        max_length=10_000,
        description="The places of the rows in the comparison; all of these kinds if left out.",
        examples=[[1, 2]],
    )
