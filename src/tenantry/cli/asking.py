"""Confirmation of what replaces or deletes data: one rule for all commands."""

import sys

import typer

from tenantry.base.errors import TenantryError
from tenantry.cli import output


class Unconfirmed(TenantryError):
    """Nothing was done, since nobody could be asked."""

    code = "not_confirmed"
    title = "Not confirmed"


def confirm(question: str, *, consequence: str | None = None, as_json: bool = False) -> None:
    """Ask for confirmation on a terminal.

    Raises Unconfirmed, which names --yes, if nobody can be asked.
    """
    require_terminal(as_json=as_json)
    if consequence is not None:
        output.note(consequence, style="bold")
    typer.confirm(question, abort=True, err=True)


def require_terminal(*, as_json: bool) -> None:
    """Raise Unconfirmed if nobody can be asked: standard input is no terminal, or with --json."""
    if as_json or not sys.stdin.isatty():
        where = "with --json" if as_json else "without a terminal"
        raise Unconfirmed(
            f"This needs confirmation, and nobody can be asked {where}: nothing was done.",
            hint="Add --yes to do it without being asked.",
        )
