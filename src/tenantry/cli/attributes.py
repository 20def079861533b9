"""A database's attributes on the command line: the options that set them, and how they are shown.

Defines once what ``tenantry db create`` and ``tenantry db update`` have in common.
"""

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import typer

from tenantry.cli import limits
from tenantry.cli.client import Row
from tenantry.cli.times import future, text_of

Chosen = dict[str, Any]
"""What to send of the attributes and limits that were given, by the API's fields."""


def _same(value: object) -> object:
    return value


@dataclass(frozen=True, slots=True)
class Attribute:
    """A field of the API. ``option`` is typer's; ``sent`` converts its value for the API.

    Without ``on_create`` only ``tenantry db update`` has the option. ``tenantry db show`` prints
    attributes that are ``is_shown``.
    """

    option: Any
    sent: Callable[[Any], object] = _same
    on_create: bool = True
    is_shown: bool = True


ATTRIBUTES: dict[str, Attribute] = {
    "friendly_name": Attribute(
        Annotated[str | None, typer.Option(help="What people call it, in any words.")],
        is_shown=False,  # shown above, with the other names
    ),
    "plan": Attribute(
        Annotated[str | None, typer.Option(help="Its plan: see `tenantry plan list`.")],
        is_shown=False,  # shown with its limits
    ),
    **{field: Attribute(option, is_shown=False) for field, option in limits.OPTIONS.items()},
    "pool_mode": Attribute(
        Annotated[
            Literal["transaction", "session"] | None,
            typer.Option(help="How long a pooled client keeps a server connection."),
        ],
        on_create=False,
    ),
    "timezone": Attribute(
        Annotated[
            str | None,
            typer.Option(metavar="ZONE", help="What its sessions begin with: Europe/Berlin."),
        ]
    ),
    "auto_suspend_seconds": Attribute(
        Annotated[
            int | None,
            typer.Option(
                "--auto-suspend",
                min=0,
                metavar="SECONDS",
                help="Suspend its instance when it had no session for so long (min. 60); 0: never.",
            ),
        ],
        sent=lambda seconds: seconds or None,
        is_shown=False,  # shown with its instance
    ),
    "auto_suspend_direct": Attribute(
        Annotated[
            Literal["wake", "refuse"] | None,
            typer.Option(help="What a direct connection to its suspended instance does."),
        ],
        is_shown=False,  # shown with its instance
    ),
    "tags": Attribute(
        Annotated[
            list[str] | None,
            typer.Option(
                "--tag",
                metavar="TAG",
                help="A word by which lists are filtered: wordpress. It may be repeated.",
            ),
        ],
    ),
    "expires_at": Attribute(
        Annotated[
            str | None,
            typer.Option(
                "--expires",
                parser=text_of(future, "never"),
                metavar="WHEN",
                help="When to delete a branch: 12h, 7d, a moment, or never.",
            ),
        ],
        sent=lambda when: None if when == "never" else when,
        on_create=False,
    ),
    "rotate_password_days": Attribute(
        Annotated[
            int | None,
            typer.Option(
                min=0,
                help="Replace its logins' passwords after so many days (14 at least); 0: never.",
            ),
        ],
        sent=lambda days: days or None,
        on_create=False,
        is_shown=False,  # shown with its password
    ),
}


def options(*, on_create: bool) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Return a decorator that replaces a command's ``chosen`` with the attributes' options."""
    having = {field: each for field, each in ATTRIBUTES.items() if each.on_create or not on_create}
    injected = [
        inspect.Parameter(field, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=of.option)
        for field, of in having.items()
    ]

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(command)
        def with_options(**given: Any) -> None:
            values = {field: given.pop(field) for field in having}
            chosen = {
                field: having[field].sent(value)
                for field, value in values.items()
                if value is not None
            }
            command(chosen=chosen, **given)

        parameters = [
            parameter
            for each in inspect.signature(command).parameters.values()
            for parameter in (injected if each.name == "chosen" else [each])
        ]
        with_options.__dict__["__signature__"] = inspect.Signature(parameters)  # which typer reads
        return with_options

    return decorate


def facts(row: Row) -> list[tuple[str, object]]:
    """Return a line for each attribute that ``tenantry db show`` prints."""
    return [fact(row, field) for field, each in ATTRIBUTES.items() if each.is_shown]


def fact(row: Row, field: str) -> tuple[str, object]:
    return field.replace("_", " "), row.get(field)
