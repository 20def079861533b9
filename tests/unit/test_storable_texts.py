"""Texts in the parameters of requests: what PostgreSQL cannot store is the caller's error."""

from typing import Any, get_type_hints

import pytest
from pydantic import TypeAdapter, ValidationError

from tenantry.api import alerts, customers, queries
from tenantry.services.bodies.insights import FindingObject

OBJECT: TypeAdapter[Any] = TypeAdapter(FindingObject)
PARAMETERS: list[TypeAdapter[Any]] = [
    TypeAdapter(get_type_hints(route, include_extras=True)[name])
    for route, name in (
        (queries.queries, "search"),
        (customers.index, "email"),
        (alerts.index, "rule"),
    )
]


@pytest.mark.parametrize("name", ['public." a"', " s.t ", "public.two\nlines", "public.é"])
def test_a_finding_may_be_of_any_name(name: str) -> None:
    assert OBJECT.validate_python(name) == name


@pytest.mark.parametrize("name", ["", "a\x00b", "\ud800", "x" * 301])
def test_a_finding_is_of_what_can_be_a_name(name: str) -> None:
    with pytest.raises(ValidationError):
        OBJECT.validate_python(name)


@pytest.mark.parametrize("parameter", PARAMETERS)
def test_a_null_character_in_a_query_is_refused(parameter: TypeAdapter[Any]) -> None:
    assert parameter.validate_python(None) is None
    assert parameter.validate_python(" a\nb") == " a\nb"
    for wrong in ("a\x00b", "\ud800", "x" * 400):
        with pytest.raises(ValidationError):
            parameter.validate_python(wrong)
