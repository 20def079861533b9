"""Filters on attributes: what is one, and of what it holds."""

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenantry.base.errors import InvalidInput
from tenantry.services.caching.vectors import filters

SHOE: dict[str, Any] = {"kind": "shoe", "price": 49.5, "new": True, "size": 0.0}


@pytest.mark.parametrize(
    ("given", "holds"),
    [
        ({"kind": "shoe"}, True),
        ({"kind": {"$eq": "boot"}}, False),
        ({"kind": "shoe", "price": {"$lt": 50}}, True),
        ({"kind": "shoe", "price": {"$gt": 49, "$lte": 49}}, False),
        ({"kind": {"$in": ["boot", "shoe"]}}, True),
        ({"kind": {"$nin": ["boot", "shoe"]}}, False),
        ({"$or": [{"kind": "boot"}, {"price": {"$gte": 49.5}}]}, True),
        ({"$and": [{"kind": "shoe"}, {"$not": {"new": True}}]}, False),
        ({"new": 1}, False),
        ({"size": False}, False),
        ({"size": -0.0}, True),
        ({"price": "49.5"}, False),
        ({"kind": {"$gt": 1}}, False),
        ({"new": {"$gte": 1}}, False),
        ({"none": "x"}, False),
        ({"none": {"$ne": "x"}}, True),
        ({"none": {"$exists": False}, "kind": {"$exists": True}}, True),
    ],
)
def test_of_what_a_filter_holds(given: object, holds: bool) -> None:
    assert filters.parse(given).holds(SHOE) is holds


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({}, "at least one condition"),
        ([], "at least one condition"),
        ({"$or": []}, "has a list of filters"),
        ({"$nor": [{"a": 1}]}, "none of \\$and"),
        ({"$not": "x"}, "is an object"),
        ({"a": {}}, "has no condition"),
        ({"a": {"$regex": "x"}}, "none of \\$eq"),
        ({"a": {"$lt": "x"}}, "compares numbers"),
        ({"a": {"$lt": True}}, "compares numbers"),
        ({"a": {"$lt": float("nan")}}, "not finite"),
        ({"a": 10**400}, "has a text, a number"),
        ({"a": None}, "has a text, a number"),
        ({"a": {"$in": "x"}}, "has a list of values"),
        ({"a": {"$in": ["x"] * 101}}, "more than 100 conditions"),
        ({"a": {"$exists": 1}}, "true or false"),
    ],
)
def test_what_is_no_filter(given: object, why: str) -> None:
    with pytest.raises(InvalidInput, match=why):
        filters.parse(given)


def test_a_filter_is_not_nested_without_end() -> None:
    nested: dict[str, Any] = {"a": 1}
    for _ in range(5000):
        nested = {"$not": nested}
    with pytest.raises(InvalidInput, match="nested more than 8 deep"):
        filters.parse(nested)


_JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.just("$or"), inner),
    max_leaves=8,
)


@given(_JSON, st.dictionaries(st.text(), st.text() | st.floats(allow_nan=False) | st.booleans()))
def test_anything_is_a_filter_or_refused(given: object, attributes: filters.Attributes) -> None:
    with suppress(InvalidInput):
        assert filters.parse(given).holds(attributes) in {True, False}
