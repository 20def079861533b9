"""Confirmations on a terminal."""

import sys

import typer

from tenantry.base.errors import InvalidInput


def confirm(question: str) -> None:
    """Ask for confirmation. Raises InvalidInput if standard input is not a terminal."""
    if not sys.stdin.isatty():
        raise InvalidInput("Nobody can be asked here.", hint="Say --yes to mean it.")
    typer.confirm(question, abort=True, err=True)
