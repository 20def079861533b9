"""The fields that several bodies share, and the base of all bodies."""

import datetime as dt
import re
import unicodedata
from functools import cache
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from email_validator import EmailNotValidError, validate_email
from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    StringConstraints,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic.alias_generators import to_camel

from tenantry.base import passwords
from tenantry.base.secrets import Secret
from tenantry.control.keys import SCOPES
from tenantry.services.pooling.plan import POOL_SIZE

MOST_CONNECTIONS = 500
MOST_TAGS = 20  # of a database


_MIB = 1024 * 1024


_TIB = 1024 * 1024 * _MIB


_LONGEST_MS = 2**31 - 1  # PostgreSQL's


_MOST_FIELDS = 100


_SLUG = re.compile(r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?")


_TAG = re.compile(r"[a-z0-9][a-z0-9._-]*")


_DATE_FIRST = re.compile(r"\d{4}-\d{2}-\d{2}[Tt ]")


_LAST_EXPIRY = dt.timedelta(days=100 * 366)


def readable(text: str) -> str:
    """Return the stripped text. Raises ValueError if it is empty or has control characters."""
    for letter in text:
        if unicodedata.category(letter) in {"Cc", "Cs"}:
            raise ValueError("must not hold control characters")
    if not text.strip():
        raise ValueError("must not be empty")
    return text.strip()


def storable(text: str) -> str:
    """Return a text. Raises ValueError if it has what no text in PostgreSQL can have."""
    for letter in text:
        if letter == "\x00" or unicodedata.category(letter) == "Cs":
            raise ValueError("must not hold null characters")
    return text


def email(text: str) -> str:
    """Return an address in its usual form. Raises ValueError for anything else."""
    try:
        address = validate_email(readable(text), check_deliverability=False)
    except EmailNotValidError as error:
        raise ValueError(f"is not an e-mail address: {error}") from None
    return address.normalized.lower()


def typed(text: SecretStr) -> SecretStr:
    """Return a secret. Raises ValueError if it has control characters."""
    for letter in text.get_secret_value():
        if unicodedata.category(letter) in {"Cc", "Cs"}:
            raise ValueError("must not hold control characters")
    return text


def secret(text: SecretStr) -> Secret:
    """Return a secret that was sent as a ``Secret``."""
    return Secret(text.get_secret_value())


def _slug(text: str) -> str:
    if not _SLUG.fullmatch(text):
        raise ValueError(
            "may hold lower-case letters, digits and, between them, hyphens (my-app-2)"
        )
    return text


def _tag(text: str) -> str:
    if not _TAG.fullmatch(text):
        raise ValueError(
            "may hold lower-case letters, digits, dots, hyphens and underscores, and begins with a"
            " letter or a digit (wordpress, team.a)"
        )
    return text


def _in_order(words: list[str]) -> list[str]:
    return sorted(set(words))


def _reference(text: str) -> str:
    name, at, version = text.partition("@")
    if at and not (version.isascii() and version.isdigit()):
        raise ValueError("has a version that is no number (hosting@2)")
    return f"{_slug(name)}{at}{version}"


def _written_out(time: object) -> object:
    # pydantic also accepts numbers, as seconds or milliseconds depending on their size.
    if not isinstance(time, str) or not _DATE_FIRST.match(time):
        raise ValueError("must be a time with its offset, such as 2026-01-31T12:00:00Z")
    return time


Label = Annotated[
    str,
    StringConstraints(min_length=1, max_length=200),
    AfterValidator(readable),
    Field(examples=["My App Database"]),
]


Storable = Annotated[str, AfterValidator(storable)]


NewCustomer = Annotated[
    bool,
    Field(
        description="Whether the address may be a new customer's. False refuses one that no"
        " customer has, with unknown_customer.",
    ),
]


Password = Annotated[
    SecretStr,
    Field(
        min_length=1,
        max_length=passwords.LONGEST,
        examples=["the lighthouse keeper sold umbrellas"],
    ),
    AfterValidator(typed),
]


Token = Annotated[SecretStr, Field(min_length=1, max_length=200), AfterValidator(typed)]
LongToken = Annotated[SecretStr, Field(min_length=1, max_length=1000), AfterValidator(typed)]


Code = Annotated[
    str,
    StringConstraints(min_length=1, max_length=40),
    AfterValidator(readable),
    Field(examples=["123456"]),
]


Slug = Annotated[
    str,
    StringConstraints(min_length=1, max_length=63),
    AfterValidator(_slug),
    Field(examples=["my-app"]),
]


Tag = Annotated[
    str,
    StringConstraints(min_length=1, max_length=63),
    AfterValidator(_tag),
    Field(examples=["wordpress"]),
]


Tags = Annotated[list[Tag], Field(max_length=MOST_TAGS), AfterValidator(_in_order)]


PlanName = Annotated[
    str,
    StringConstraints(min_length=1, max_length=63),
    AfterValidator(_slug),
    Field(examples=["standard"], description="One of GET /api/plans."),
]


BlueprintReference = Annotated[
    str,
    StringConstraints(min_length=1, max_length=73),
    AfterValidator(_reference),
    Field(
        examples=["hosting", "hosting@1"],
        description="One of GET /api/blueprints; default: its newest version.",
    ),
]


Seeds = Annotated[
    str,
    StringConstraints(min_length=1, max_length=63),
    AfterValidator(_slug),
    Field(examples=["development"], description="Rows to begin with, by their name."),
]


Email = Annotated[
    str,
    StringConstraints(min_length=3, max_length=254),
    AfterValidator(email),
    Field(examples=["owner@example.com"]),
]


Connections = Annotated[
    int,
    Field(
        ge=1,
        le=MOST_CONNECTIONS,
        description="The most connections at once, direct and pooled together.",
        examples=[20],
    ),
]


PoolSize = Annotated[
    int,
    Field(
        ge=1,
        le=POOL_SIZE,
        description="The most of them that its pools may hold.",
        examples=[10],
    ),
]


ReservePoolSize = Annotated[
    int,
    Field(
        ge=0,
        le=POOL_SIZE,
        description="How many of those a pool may open beyond its share once a client has waited.",
        examples=[5],
    ),
]


DiskQuota = Annotated[
    int,
    Field(
        ge=32 * _MIB,
        le=1024 * _TIB,
        description="The most that it and its shadow may take on disk; empty, they take 15 MiB.",
        examples=[5 * 1024 * _MIB],
    ),
]


TempFileLimit = Annotated[
    int,
    Field(
        ge=_MIB,
        le=_TIB,
        description="The most that the temporary files of one session may take.",
        examples=[512 * _MIB],
    ),
]


CpuWeight = Annotated[
    int,
    Field(
        ge=1,
        le=10_000,
        description="Its share of busy processors, relative to the other databases of its cluster.",
        examples=[100],
    ),
]


Timeout = Annotated[
    int,
    Field(
        ge=0,
        le=_LONGEST_MS,
        description="In milliseconds, 0 for none. A default: each session may change it.",
        examples=[60_000],
    ),
]


ConnectionString = Annotated[
    SecretStr,
    Field(
        min_length=1,
        max_length=2000,
        description="A database elsewhere to copy. The string is kept nowhere.",
        examples=["postgresql://app:a-password@203.0.113.7:5432/shop?sslmode=require"],
    ),
    AfterValidator(typed),
]


StatementSeconds = Annotated[
    float | None,
    Field(
        ge=0.001,
        le=86_400,
        description="How long each statement may run, up to the plan's longest_statement_seconds.",
        examples=[600],
    ),
]


Jobs = Annotated[int, Field(ge=1, le=4, description="How many tables at once.", examples=[2])]


Moment = Annotated[AwareDatetime, BeforeValidator(_written_out)]


Scope = Literal[SCOPES]  # type: ignore[valid-type]


FORM = "form"  # the context of a body whose values are the texts of a form


class Body(BaseModel):
    """A JSON object with these fields and no others.

    Numbers and booleans have to be JSON's own: neither "5" nor true is a number.
    """

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _only_objects(cls, body: object) -> object:
        if not isinstance(body, dict):
            raise ValueError("must be a JSON object")  # noqa: TRY004 (pydantic wants ValueError)
        # Each unknown field is an error of its own: 1 MiB of them took 80 MiB of memory.
        if len(body) > _MOST_FIELDS:
            raise ValueError(f"must have at most {_MOST_FIELDS} fields")
        return body

    @field_validator("*", mode="before")
    @classmethod
    def _of_its_type(cls, value: object, info: ValidationInfo) -> object:
        if info.context == FORM or not isinstance(value, (bool, int, float, str)):
            return value
        wanted = _scalars(cls, str(info.field_name))
        if type(value) in wanted or (type(value) is int and float in wanted):
            return value
        if wanted == {bool}:
            raise ValueError("must be true or false")
        if wanted and wanted <= {int, float}:
            raise ValueError(f"must be a {'' if float in wanted else 'whole '}number")
        return value


@cache
def _scalars(model: type[BaseModel], field: str) -> frozenset[type]:
    """Return the types of a field that JSON has no brackets for."""
    found = set()
    left: list[Any] = [model.model_fields[field].annotation]
    while left:
        each = left.pop()
        left += get_args(each) if get_origin(each) in {Annotated, Union, UnionType} else ()
        found |= {each} & {bool, int, float, str} if isinstance(each, type) else set()
    return frozenset(found)


def expiry(at: dt.datetime) -> dt.datetime:
    """Return the expiry. Raises ValueError unless it is in the future and within 100 years."""
    if not dt.datetime.now(dt.UTC) < at < dt.datetime.now(dt.UTC) + _LAST_EXPIRY:
        raise ValueError("must be in the future, and within 100 years")
    return at
