"""Allowlists in forms: what the pages of databases and of sites have in common."""

import datetime as dt
import json
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass

from fastapi import Request, Response

from tenantry.base import allowlist_text, networks
from tenantry.base.errors import NotFound
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
        **asdict(place),
        preview=found,
        entries=entries,
        text=text_of(entries),
        body=json.dumps({"entries": listed(form)}),
        address=address,
        refused=refuses(entries, address),
    )


def without(entries: Iterable[EntryRow], entry_id: uuid.UUID) -> tuple[EntryRow, list[NewEntry]]:
    """Return an entry of a list, and those that stay. Raises NotFound."""
    found = {each.id: each for each in entries}
    if (entry := found.pop(entry_id, None)) is None:
        raise NotFound("There is no such entry on this allowlist.", hint="It may be removed.")
    return entry, [
        NewEntry(each.network, each.description, each.expires_at) for each in found.values()
    ]


def ask_to_remove(
    request: Request,
    place: Place,
    entry: EntryRow,
    left: Sequence[NewEntry],
    found: Preview,
    address: str | None,
) -> Response:
    """Return the dialog with what a list without an entry would do, for a browser at an address."""
    return pages.dialog(
        request,
        "allowlist_remove.html",
        **asdict(place),
        entry=entry,
        preview=found,
        address=address,
        refused=refuses(left, address),
    )


def refuses(entries: Sequence[EntryRow | NewEntry], address: str | None) -> bool:
    """Whether a list would refuse a client at this address."""
    admitted = [each.network for each in entries]
    return bool(admitted) and address is not None and not networks.contain(admitted, address)
