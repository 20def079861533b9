"""Parse the words of a command line into values.

typer uses pydantic for this, whose import takes longer than most commands, and whose messages
begin with "Value error". This module replaces the parts that the CLI uses; typer does the rest.
"""

import functools
from collections.abc import Callable
from typing import Any, Literal, get_args, get_origin

import typer
from typer import core

from tenantry.base.suggestions import did_you_mean

# What some commands are called in other programs.
_ELSEWHERE = {
    "tenantry explain": "tenantry db explain",
    "tenantry extension disable": "tenantry extension remove",
    "tenantry extension enable": "tenantry extension add",
    "tenantry version": "tenantry --version",
}
_NUMBERS = {int: "a whole number", float: "a number"}


class _Values:
    """Replaces a parameter's own coercion, which ``theirs`` finds."""

    def __init__(self, parameter: Any, theirs: Callable[[Any], Any]) -> None:
        described = parameter.type_descriptor
        self._kind = described.annotation
        self._info = described.parameter_info
        self._theirs = theirs
        if get_origin(self._kind) is list:
            (self._kind,) = get_args(self._kind)

    def coerce(self, value: Any, param: Any, ctx: Any) -> Any:
        is_many = param.multiple or param.nargs == -1
        if value is None:
            return () if is_many else None
        if not self._is_ours():
            return self._theirs(param).coerce(value, param=param, ctx=ctx)
        try:
            return [self._one(each) for each in value] if is_many else self._one(value)
        except ValueError as error:
            raise typer.BadParameter(str(error), ctx=ctx, param=param) from None

    def _is_ours(self) -> bool:
        if self._info.clamp or not self._info.case_sensitive:
            return False
        is_simple = self._kind in {str, bool, *_NUMBERS} or get_origin(self._kind) is Literal
        return is_simple or self._info.parser is not None

    def _one(self, value: Any) -> Any:
        if self._info.parser is not None:
            return self._info.parser(value)
        if get_origin(self._kind) is Literal:
            return _choice(value, get_args(self._kind))
        if self._kind in _NUMBERS:
            return self._number(value)
        return value if self._kind is bool else str(value)

    def _number(self, value: Any) -> Any:
        least, most = self._info.min, self._info.max
        try:
            number = self._kind(value)
        except ValueError:
            raise ValueError(f"“{value}” is not {_NUMBERS[self._kind]}.") from None
        if least is not None and number < least:
            raise ValueError(f"{number} is less than {least}.")
        if most is not None and number > most:
            raise ValueError(f"{number} is more than {most}.")
        return number


def _choice(value: Any, choices: tuple[Any, ...]) -> Any:
    if value in choices:
        return value
    names = [str(each) for each in choices]
    meant = did_you_mean(str(value), names)
    raise ValueError(f"“{value}” is none of {', '.join(names)}. {meant or ''}".rstrip())


@functools.cache
def install() -> None:
    """Patch typer to parse parameters this way, and to name no type for flags in its help.

    And to suggest what is meant by names of commands that other programs have.
    """
    for each in (core.TyperOption, core.TyperArgument):
        _change(each)
    _suggest(core.TyperGroup)


def _suggest(group: Any) -> None:
    theirs = group.resolve_command

    def resolve_command(self: Any, ctx: Any, args: list[str]) -> Any:
        if meant := _ELSEWHERE.get(f"{ctx.command_path} {args[0]}"):
            ctx.fail(f"No such command '{args[0]}'. Did you mean `{meant}`?")
        return theirs(self, ctx, args)

    group.resolve_command = resolve_command


def _change(parameter: Any) -> None:
    theirs, shown = parameter.get_runtime_param, parameter.display_type_rich

    def get_runtime_param(self: Any) -> _Values:
        return _Values(self, theirs)

    def display_type_rich(self: Any, ctx: Any) -> str | None:
        return None if getattr(self, "is_flag", False) else shown(self, ctx)

    parameter.get_runtime_param = get_runtime_param
    parameter.display_type_rich = display_type_rich
