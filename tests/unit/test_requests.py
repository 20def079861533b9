"""What callers may send, as values."""

import datetime as dt
import unicodedata

import pytest
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from starlette.requests import Request

from tenantry.api import app, deps
from tenantry.api.bodies import parsed
from tenantry.api.database_answers import Database
from tenantry.base.errors import InvalidInput
from tenantry.cli.attributes import ATTRIBUTES
from tenantry.control import attributes
from tenantry.control.attributes import Attributes
from tenantry.services.bodies.access import CreateKey
from tenantry.services.bodies.databases import CreateDatabase, UpdateDatabase
from tenantry.services.bodies.migrations import MigrateMany

controls = st.characters(categories=["Cc", "Cs"])
labels = st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1, max_size=200).filter(
    lambda text: text.strip()
)
slugs = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", fullmatch=True)


def wrong(
    model: type[CreateDatabase | UpdateDatabase | CreateKey | MigrateMany], body: object
) -> set[str]:
    """The fields that cannot be used, as the caller wrote them."""
    with pytest.raises(ValidationError) as reported:
        model.model_validate(body)
    return {str(error["loc"][0]) if error["loc"] else "body" for error in reported.value.errors()}


@given(labels, slugs, st.integers(1, 500), st.booleans())
def test_both_cases_of_writing_mean_the_same(
    label: str, slug: str, connections: int, shadow: bool
) -> None:
    same = {"name": slug, "environment": "staging", "shadow": shadow}
    snake = CreateDatabase.model_validate(
        {"friendly_name": label, "owner_email": "A@b.org", "max_connections": connections, **same}
    )
    camel = CreateDatabase.model_validate(
        {"friendlyName": label, "ownerEmail": "a@B.org", "maxConnections": connections, **same}
    )
    wanted = snake.wanted()
    assert wanted == camel.wanted()
    assert wanted.attributes == Attributes(
        name=slug, friendly_name=label.strip(), environment="staging", has_shadow=shadow
    )
    assert (wanted.owner_email, wanted.limits) == ("a@b.org", {"max_connections": connections})


def test_an_attribute_of_null_stays_unless_null_means_something() -> None:
    every = {name: None for name in UpdateDatabase.model_fields if name in attributes.NAMES}
    changes = UpdateDatabase.model_validate(every).changes()
    assert changes.attributes == dict.fromkeys(attributes.CLEARABLE)
    assert UpdateDatabase(friendly_name="X").changes().attributes == {"friendly_name": "X"}


def test_what_can_be_set_is_also_changed_and_answered() -> None:
    """Of all attributes, also those that are defined later."""
    names = {name.removeprefix("has_") for name in attributes.NAMES}
    assert names <= Database.model_fields.keys()
    assert names - UpdateDatabase.model_fields.keys() == {"shadow"}
    assert names - CreateDatabase.model_fields.keys() == {
        "pool_mode",
        "rotate_password_days",
        "expires_at",
    }
    by_itself = {"name", "environment", "shadow"}  # each command has its own option for these
    assert names - ATTRIBUTES.keys() == by_itself
    assert all(Attributes().changed({name: "x"}).values()[name] == "x" for name in attributes.NAMES)


@given(st.lists(st.from_regex(r"[a-z0-9][a-z0-9._-]{0,62}", fullmatch=True), max_size=20))
def test_tags_are_in_order_and_there_once(tags: list[str]) -> None:
    made = CreateDatabase(name="shop", tags=tags).wanted()
    assert made.attributes.tags == sorted(set(tags))
    assert UpdateDatabase(tags=tags).changes().attributes == {"tags": sorted(set(tags))}
    run = MigrateMany(tags=tags)
    assert run.selection.tags == tuple(sorted(set(tags)))


@pytest.mark.parametrize(
    "tag", ["", "Shop", "-a", ".a", "a b", "a,b", "ä", "a/b", "a" * 64, 'a"', "a\n", 1, None]
)
def test_no_other_word_is_a_tag(tag: object) -> None:
    assert wrong(CreateDatabase, {"name": "shop", "tags": ["a", tag]}) == {"tags"}
    assert wrong(UpdateDatabase, {"tags": [tag]}) == {"tags"}
    assert wrong(MigrateMany, {"tags": [tag]}) == {"tags"}


def test_a_database_has_20_tags_at_most() -> None:
    assert wrong(UpdateDatabase, {"tags": [f"t{number}" for number in range(21)]}) == {"tags"}
    assert UpdateDatabase(tags=None, name="x").changes().attributes == {"name": "x"}


@given(labels, controls, labels)
def test_no_control_character_gets_into_a_label(before: str, letter: str, after: str) -> None:
    text = (before + letter + after)[:200]
    if letter in text:
        assert wrong(CreateDatabase, {"friendlyName": text}) == {"friendlyName"}
        assert wrong(UpdateDatabase, {"friendly_name": text}) == {"friendly_name"}
        assert wrong(CreateKey, {"name": text, "scopes": ["admin"]}) == {"name"}


@given(st.text(max_size=70))
def test_a_name_is_a_slug_or_refused(name: str) -> None:
    try:
        taken = CreateDatabase.model_validate({"name": name}).wanted()
    except ValidationError:
        return
    assert taken.attributes.name == taken.attributes.friendly_name == name
    assert name.isascii()
    assert name == name.lower()
    assert name.replace("-", "a").isalnum()
    assert not name.startswith("-")
    assert not name.endswith("-")
    assert len(name) <= 63


@given(st.text(max_size=300) | st.emails())
def test_an_email_is_one_line_of_text_or_refused(email: str) -> None:
    try:
        taken = CreateKey.model_validate(
            {"name": "X", "scopes": ["admin"], "customer_email": email}
        ).customer_email
    except ValidationError:
        return
    assert taken is not None
    assert taken == taken.lower()
    assert taken.count("@") == 1
    assert not {unicodedata.category(letter) for letter in taken} & {"Cc", "Cs", "Zl", "Zp"}


@given(st.integers() | st.floats() | st.booleans() | st.text() | st.none() | st.lists(st.none()))
def test_a_limit_is_a_whole_number_within_bounds_or_refused(limit: object) -> None:
    body = {"name": "x", "max_connections": limit}
    if limit is None:
        assert CreateDatabase.model_validate(body).wanted().limits == {}
        assert UpdateDatabase.model_validate(body).changes().limits == {"max_connections": None}
    elif isinstance(limit, int) and not isinstance(limit, bool) and 1 <= limit <= 500:
        assert CreateDatabase.model_validate(body).wanted().limits == {"max_connections": limit}
    else:
        assert wrong(CreateDatabase, body) == {"max_connections"}


@given(st.text().filter(lambda name: name not in {"name", "shadow", "environment", "kind"}))
def test_a_field_that_is_not_known_is_refused(name: str) -> None:
    with pytest.raises(ValidationError):
        CreateDatabase.model_validate({"name": "x", name: object()})


@pytest.mark.parametrize("body", [None, [], "x", 1, b"{}", [("name", "x")]])
def test_only_objects_are_bodies(body: object) -> None:
    for model in (CreateDatabase, UpdateDatabase, CreateKey):
        assert wrong(model, body) == {"body"}


def test_something_has_to_be_said() -> None:
    assert wrong(CreateDatabase, {}) == {"body"}
    assert wrong(UpdateDatabase, {}) == {"body"}
    assert wrong(CreateKey, {}) == {"name", "scopes"}


@given(st.datetimes(timezones=st.timezones()))
def test_a_key_expires_in_time_to_come_or_is_refused(at: dt.datetime) -> None:
    body = {"name": "X", "scopes": ["admin"], "expires_at": at.isoformat()}
    now = dt.datetime.now(dt.UTC)
    if now < at < now + dt.timedelta(days=36_000):
        # In the hour that a clock shows twice, no two zones call anything equal.
        assert CreateKey.model_validate(body).expires_at == at.astimezone(dt.UTC)
    elif not now < at < now + dt.timedelta(days=37_000):
        assert wrong(CreateKey, body) == {"expires_at"}


@pytest.mark.parametrize("at", [4_000_000_000, 4e9, "4000000000", "4e9", "2100-01-01", True])
def test_an_expiry_is_written_out(at: object) -> None:
    assert wrong(CreateKey, {"name": "X", "scopes": ["admin"], "expires_at": at}) == {"expires_at"}


@pytest.mark.parametrize("scopes", [[], ["root"], ["Admin"], "admin", ["admin", None], [["admin"]]])
def test_a_scope_that_is_not_known_is_refused(scopes: object) -> None:
    assert wrong(CreateKey, {"name": "X", "scopes": scopes}) == {"scopes"}


def test_a_body_read_by_hand_keeps_what_was_sent_for_a_name_only() -> None:
    """It may hold a secret elsewhere; of a name that is none of a few, the answer suggests one."""
    sent = b'{"environment": "prodction", "ownerEmail": "nobody"}'
    with pytest.raises(RequestValidationError) as refused:
        parsed(MigrateMany, sent)
    found = {each["loc"][-1]: each for each in refused.value.errors()}
    assert found["environment"]["input"] == "prodction"
    assert "'production'" in found["environment"]["ctx"]["expected"]
    assert found["ownerEmail"]["input"] is None


def asked(path: str, query: str) -> Request:
    """A request of the list that this route of the API returns."""
    (route,) = [
        route
        for module in app._RESOURCES
        for route in module.router.routes
        if isinstance(route, APIRoute) and route.path == path and route.methods == {"GET"}
    ]
    scope = {"type": "http", "route": route, "query_string": query.encode(), "path": path,
        "headers": [], "server": ("localhost", 3000), "scheme": "http"}  # fmt: skip
    return Request(scope)


@pytest.mark.parametrize(
    ("path", "query"),
    [
        ("/api/databases", "owner=a@example.com&limit=1&cursor=x&unused_since="),
        ("/api/databases", ""),
        ("/api/plans", "limit=1000"),  # all fit on one page
        ("/api/databases/{identifier}/metrics", "from=x&to=y"),
        ("/api/databases/{identifier}/rows/csv", "schema=public&table=t&order=asc"),
    ],
)
def test_parameters_that_a_route_takes_are_known(path: str, query: str) -> None:
    deps._require_known_parameters(asked(path, query))


def test_a_parameter_that_is_not_known_is_refused() -> None:
    with pytest.raises(InvalidInput) as refused:
        deps._require_known_parameters(asked("/api/databases", "serch=a&owner=b&bogus=1"))
    assert [each.field for each in refused.value.fields] == ["bogus", "serch"]
    assert refused.value.hint == (
        "It takes blueprint, environment, owner, search, status, tag, unused_since."
    )
    with pytest.raises(InvalidInput) as refused:
        deps._require_known_parameters(asked("/api/operations", "resource=1&" + "x" * 5000))
    assert [len(each.field) for each in refused.value.fields] == [8, 100]
    assert refused.value.hint == "Did you mean resource_id?"
    with pytest.raises(InvalidInput):
        deps._require_known_parameters(asked("/api/databases/{identifier}/metrics", "start=x"))
