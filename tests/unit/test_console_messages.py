"""What the console says of the API's errors: labels of its forms, and names of its pages."""

import html
import re
from pathlib import Path

import pytest
from test_cli_words import reported_routes

from tenantry.base.errors import FieldError, InvalidInput
from tenantry.web import database_pages, messages, navigation, pages

TEMPLATES = Path(pages.__file__).parent / "templates"
LABEL = re.compile(
    r"<label[^>]*>(?P<text>(?:(?!</label>).)*)</label>"
    r'(?:<(?:input|select|textarea)[^>]*? name="(?P<after>\w+)")?'
)
# Fields that say something else in some form, as the name of an extension does.
OTHERWISE = {
    "kind",
    "accept_losses",
    "expires_days",
    "into",
    "keep_backups",
    "masked",
    "name",
    "new_customer",
}
OTHERWISE |= {"open", "shadow", "sort", "typed", "client", "endpoint"}


def labels() -> set[tuple[str, str]]:
    """The fields of the console's forms, each with its label before what explains it."""
    found = set()
    for template in TEMPLATES.glob("*.html"):
        for match in LABEL.finditer(template.read_text()):
            inside = re.search(r' name="(\w+)"', match["text"])
            name = match["after"] or (inside and inside[1])
            text = html.unescape(re.sub(r"<[^>]*>|{%.*?%}", "", match["text"])).strip()
            if name and name not in OTHERWISE and "{{" not in text:
                found.add((name, text))
    return found


def test_a_field_is_called_as_its_form_calls_it() -> None:
    found = labels()
    assert len(found) > 30
    for name, text in found:
        assert messages.label(name).casefold() in text.casefold(), name


def test_every_route_that_services_name_has_a_page() -> None:
    assert reported_routes() == messages.PAGES.keys()
    links = {link.label for links in navigation._GROUPS.values() for link in links}
    links |= {label for places in database_pages._GROUPS.values() for label in places.values()}
    links |= {"Account", "Channels", "Rotate password"}
    for page in messages.PAGES.values():
        assert page.strip("“”") in links or page.startswith("`tenantry ")


def test_one_wrong_field_is_a_sentence_and_several_are_a_list() -> None:
    one = InvalidInput.of("ip_address", "is no address")
    assert (messages.detail(one), messages.fields(one)) == ("Address or range: is no address", ())
    wrong = (FieldError("max_connections", "must be a number"), FieldError("environment", "is new"))
    both = InvalidInput("Some of it cannot be used as it is.", fields=wrong)
    assert messages.detail(both) == both.detail
    assert messages.fields(both) == (
        ("Connections", "must be a number"),
        ("Environment", "is new"),
    )


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("GET /api/databases lists yours.", "“Databases” lists yours."),
        (
            "Wait for it, or cancel it: GET /api/operations?resource_id=… shows it.",
            "Wait for it, or cancel it: “Operations” shows it.",
        ),
        (
            "GET /api/databases/8d0c1f9e-6a55-4c2b-9a44-0f5d3c6d7e01/sessions lists the open ones.",
            "“Sessions” lists the open ones.",
        ),
        ("owner_email is no customer's", "“Owner's e-mail” is no customer's"),
        ('relation "order_lines" does not exist', 'relation "order_lines" does not exist'),
        (None, ""),
    ],
)
def test_routes_and_fields_become_pages_and_labels(said: str | None, shown: str) -> None:
    assert messages.plain(said) == shown
