"""The name of what a command creates: an argument, or ``--name``."""

from typing import Annotated

import typer

Argument = Annotated[
    str | None,
    typer.Argument(metavar="NAME", help="Its name, as with --name.", show_default=False),
]


def one_of(argument: str | None, option: str | None) -> str | None:
    """Return the name that is given. Raises BadParameter for two that differ."""
    if argument is not None and option is not None and argument != option:
        raise typer.BadParameter(
            f"the name is given twice: {argument}, and --name {option}. Leave one of them out."
        )
    return argument if option is None else option


def required(argument: str | None, option: str | None) -> str:
    """Return the name that is given. Raises BadParameter for none, and as ``one_of``."""
    name = one_of(argument, option)
    if name is None:
        raise typer.BadParameter("a name is required: NAME, or --name NAME.")
    return name
