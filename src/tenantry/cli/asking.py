"""Questions that a person answers on a terminal before something is done."""

import sys

import typer

from tenantry.base.errors import InvalidInput


def confirm(question: str) -> None:
    """Go on only if a person says so. Raises InvalidInput where nobody can be asked."""
    if not sys.stdin.isatty():
        raise InvalidInput("Nobody can be asked here.", hint="Say --yes to mean it.")
    typer.confirm(question, abort=True, err=True)
