"""Confirmations on a terminal."""

import sys

import typer

from tenantry.base.errors import InvalidInput
from tenantry.cli import output


def confirm(question: str) -> None:
    """Ask for confirmation. Raises InvalidInput if standard input is not a terminal."""
    if not sys.stdin.isatty():
        raise InvalidInput("Nobody can be asked here.", hint="Say --yes to mean it.")
    typer.confirm(question, abort=True, err=True)


def confirm_at_terminal(consequence: str, question: str) -> None:
    """Ask for confirmation on a terminal; elsewhere the command itself is the consent."""
    if sys.stdin.isatty():
        output.note(consequence, style="bold")
        typer.confirm(question, abort=True, err=True)
