"""What clients and schemas may cost: each attempt to take more is refused early."""

import json

import pytest

from tenantry_rest.answer import Answer, _overridden
from tenantry_rest.errors import ApiError
from tenantry_rest.schema.model import Name, Table
from tenantry_rest.schema.relationships import (
    MOST,
    ForeignKey,
    ViewColumns,
    all_relationships,
)
from tenantry_rest.schema.views import base_columns
from tenantry_rest.sqlstates import from_database
from tenantry_rest.transaction import Outcome

CHILD, PARENT, VIEW = (Name("public", name) for name in ("child", "parent", "view"))


def foreign_key(name: str, *columns: str) -> ForeignKey:
    return ForeignKey(name, CHILD, PARENT, tuple((each, each) for each in columns), False)


def keyed(*columns: str) -> dict[Name, Table]:
    return {CHILD: Table(CHILD, None, False, True, True, True, columns, {})}


def test_views_with_many_names_for_columns_are_counted_before_they_are_paired() -> None:
    views = ViewColumns()
    for column in "abcd":
        for number in range(16):
            views.add(VIEW, f"{column}{number}", CHILD, column)
    with pytest.raises(ApiError, match="PGRST002"):
        all_relationships([foreign_key("fk", *"abcd")], views, keyed(), [], ["public"])
    found = all_relationships([foreign_key("fk", "a", "b")], views, keyed(), [], ["public"])
    assert len(found[VIEW, "public"]) == 16**2


def test_views_that_are_only_looked_at_are_counted_too() -> None:
    views = ViewColumns()
    for number in range(2 * MOST):
        views.add(Name("public", str(number)), "x", CHILD, "ab"[number % 2])
    with pytest.raises(ApiError, match="PGRST002"):
        all_relationships([foreign_key("fk", *"ab")], views, keyed(), [], ["public"])


def test_pairs_of_foreign_keys_are_counted_before_they_are_made() -> None:
    many = [foreign_key(f"fk{number}", "a") for number in range(9000)]
    with pytest.raises(ApiError, match="PGRST002"):
        all_relationships(many, ViewColumns(), keyed("a"), [], ["public"])
    found = all_relationships(many, ViewColumns(), keyed("b"), [], ["public"])
    assert len(found[CHILD, "public"]) == len(many)
    found = all_relationships(many[:3], ViewColumns(), keyed("a"), [], ["public"])
    assert [each.kind for each in found[PARENT, "public"]].count("m2m") == 3 * 2


def test_views_of_views_are_followed_once() -> None:
    trees = {number: {1: (number + 1, 1)} for number in range(20_000)}
    for view in trees:
        assert dict(base_columns(view, trees)) == {1: (20_000, 1)}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Transfer-Encoding", "chunked "),
        ("content-length", "5"),
        ("Connection", "close"),
        ("Upgrade", "h2c"),
        ("Date", "now"),
        ("X", "a\r\nb"),
    ],
)
def test_functions_set_no_headers_that_end_an_answer_elsewhere(name: str, value: str) -> None:
    outcome = Outcome(0, b"", headers=json.dumps([{name: value}]))
    with pytest.raises(ApiError, match="PGRST111"):
        _overridden(Answer(200), outcome)
    said = json.dumps({"status": 402, "headers": {name: value}})
    raised = from_database("PGRST", '{"code":"1","message":"m"}', said, None, anonymous=False)
    assert raised.code == "PGRST121"


@pytest.mark.parametrize("status", ["100", "101", "199", "600", "x"])
def test_functions_set_no_status_that_ends_no_answer(status: str) -> None:
    with pytest.raises(ApiError, match="PGRST112"):
        _overridden(Answer(200), Outcome(0, b"", status=status))
    assert from_database(f"PT{status}", "m", None, None, anonymous=False).status == 500
