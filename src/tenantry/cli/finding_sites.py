"""Find the site of the AI cache that a command names."""

from typing import Annotated

import typer

from tenantry.base.errors import InvalidInput, NotFound
from tenantry.base.ids import parse_id
from tenantry.base.suggestions import did_you_mean
from tenantry.cli.client import Api, Row

Named = Annotated[str, typer.Argument(metavar="SITE", help="Its name or id.", show_default=False)]


def of_deleted(api: Api, text: str) -> str:
    """Return the id of a site, also of a deleted one if that is given. Raises as ``find``."""
    return text if parse_id(text) else str(find(api, text)["id"])


def find(api: Api, text: str) -> Row:
    """Return a site by its name or id. Raises NotFound, and InvalidInput if several have it."""
    if parse_id(text):
        row: Row = api.get(f"/api/sites/{text}")
        return row
    rows = api.rows("/api/sites").rows
    named = [each for each in rows if each["name"] == text]
    if len(named) > 1:
        ids = ", ".join(str(each["id"]) for each in named)
        raise InvalidInput(
            f"“{text}” is the name of {len(named)} sites, of several customers: {ids}.",
            hint="Say which by its id.",
        )
    if named:
        return named[0]
    names = [str(each["name"]) for each in rows]
    raise NotFound(
        f"There is no site {text}.",
        hint=did_you_mean(text, names) or "`tenantry cache list` shows them.",
    )
