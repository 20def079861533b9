"""Allowlists in forms: what the pages of databases and of sites have in common."""

import datetime as dt
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from fastapi import Request, Response

from tenantry.base import allowlist_text, networks
from tenantry.control.whitelist import EntryRow, NewEntry
from tenantry.services.bodies.allowlists import PreviewWhitelist
from tenantry.services.network.model import Preview
from tenantry.web import pages
from tenantry.web.routing import Form, read


@dataclass(frozen=True, slots=True)
class Place:
    """What an allowlist is of, where its page is, and the command for it.

    ``ends`` is what clients have that are not admitted any more.
    """

    section: str
    path: str
    what: str
    name: str
    ends: str
    command: str
    named: str


def listed(form: Form) -> list[dict[str, str | None]]:
    """Return the entries of a form, as the API takes them. Raises InvalidInput."""
    text = form.get(allowlist_text.FIELD, "")
    return [each.body() for each in allowlist_text.parse(text, now=dt.datetime.now(dt.UTC))]


def wanted(form: Form) -> list[NewEntry]:
    """Return the entries of a form. Raises InvalidInput."""
    return read(PreviewWhitelist, {}, entries=listed(form)).wanted()


def text_of(entries: Iterable[EntryRow | NewEntry]) -> str:
    """Return entries as the text of a form."""
    return allowlist_text.render(
        allowlist_text.Line(each.network, each.description, each.expires_at) for each in entries
    )


def preview(
    request: Request, place: Place, found: Preview, form: Form, address: str | None
) -> Response:
    """Return the dialog with what replacing a list would do, for a browser at an address."""
    entries = wanted(form)
    return pages.dialog(
        request,
        "allowlist_preview.html",
        section=place.section,
        path=place.path,
        what=place.what,
        name=place.name,
        ends=place.ends,
        command=place.command,
        named=place.named,
        preview=found,
        entries=entries,
        text=text_of(entries),
        body=json.dumps({"entries": listed(form)}),
        address=address,
        refused=refuses(entries, address),
    )


def refuses(entries: Sequence[EntryRow | NewEntry], address: str | None) -> bool:
    """Whether a list would refuse a client at this address."""
    admitted = [each.network for each in entries]
    return bool(admitted) and address is not None and not networks.contain(admitted, address)
