"""What the console says of the API's errors: labels of its forms, and names of its pages."""

import ast
import html
import importlib
import pkgutil
import re
from pathlib import Path

import pytest
from test_cli_words import SOURCES, reported_routes

from tenantry.base.errors import FieldError, InvalidInput
from tenantry.services import bodies
from tenantry.services.bodies import fields
from tenantry.web import database_pages, messages, navigation, pages

TEMPLATES = Path(pages.__file__).parent / "templates"
LABEL = re.compile(
    r"<label[^>]*>(?P<text>(?:(?!</label>).)*)</label>"
    r'(?:<(?:input|select|textarea)[^>]*? name="(?P<after>\w+)")?'
)
# Fields that say something else in some form, as the name of an extension does.
SQL = re.compile(r"\b(?:SELECT|INSERT|UPDATE|I?LIKE)\b|\n|\w\.\*")
OF_THE_POOLER = {"pool_mode", "pool_size", "reserve_pool_size"}  # PgBouncer's own names
OTHERWISE = {
    "kind",
    "expires_days",
    "into",
    "keep_backups",
    "masked",
    "name",
    "new_customer",
    "without_blueprint",
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
    links |= {"Account", "Backups", "Channels", "Rotate password"}
    for page in messages.PAGES.values():
        assert page.strip("“”") in links or page.startswith("`tenantry ")


def sentences() -> set[str]:
    """What services, and what is below them, say in their errors: their texts that have words."""
    found = set()
    for layer in ("services", "control", "pg", "base"):
        for file in (SOURCES / layer).rglob("*.py"):
            if "bodies" in file.parts:  # descriptions of fields
                continue
            tree = ast.parse(file.read_text())
            bare = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
            found |= {
                node.value
                for node in ast.walk(tree)
                if isinstance(node, ast.Constant)
                and isinstance(node.value, str)
                and id(node) not in bare
                and " " in node.value.strip()
                and not SQL.search(node.value)
            }
    return found


def fields_of_requests(body: type[fields.Body] = fields.Body) -> set[str]:
    """The fields of the API's requests that have no English name."""
    found = {name for name in body.model_fields if "_" in name.strip("_")}
    return found.union(*(fields_of_requests(each) for each in body.__subclasses__()))


def test_no_field_of_the_api_is_given_as_advice() -> None:
    for module in pkgutil.iter_modules(bodies.__path__, f"{bodies.__name__}."):
        importlib.import_module(module.name)
    names = fields_of_requests()
    assert len(names) > 50
    for said in sentences():
        shown = messages.plain(said)
        used = set(re.findall(r"\b[a-z]+(?:_[a-z]+)+\b", shown))
        assert not used & names - OF_THE_POOLER, said
        assert not re.search(r'"[a-z_]+": |POST …|\(--', shown), said


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
        (
            "If it is a new customer, set new_customer.",
            "If it is a new customer, tick the box that says so.",
        ),
        (
            "Accept it with accept_losses (--accept-losses).",
            "Accept it with “Go on without”.",
        ),
        (
            'Restore the whole table, with "tables" and "as": "new".',
            "Restore the whole table, as “copies, in a new schema” under “Backups & restore”.",
        ),
        ("owner_email is no customer's", "“Owner's e-mail” is no customer's"),
        ('relation "order_lines" does not exist', 'relation "order_lines" does not exist'),
        (None, ""),
    ],
)
def test_routes_and_fields_become_pages_and_labels(said: str | None, shown: str) -> None:
    assert messages.plain(said) == shown
