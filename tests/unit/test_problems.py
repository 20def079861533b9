"""Problems of fields, in words that do not depend on the library that validates them."""

from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from tenantry.services.bodies.access import CreateKey, Login
from tenantry.services.bodies.databases import CreateDatabase, UpdateDatabase
from tenantry.services.bodies.faults import message as message_of


@pytest.mark.parametrize(
    ("model", "body", "message"),
    [
        (CreateDatabase, {"name": ""}, "must not be empty"),
        (CreateDatabase, {"name": "a" * 64}, "must have at most 63 characters"),
        (CreateDatabase, {"name": "a", "owner_email": "a"}, "must have at least 3 characters"),
        (UpdateDatabase, {"max_connections": 1000}, "must be less than or equal to 500"),
        (UpdateDatabase, {"max_connections": "x"}, "must be a whole number"),
        (CreateDatabase, {"name": "a", "nme": "b"}, "is no field of this request"),
        (CreateKey, {"name": "ci"}, "is required"),
        (CreateKey, {"name": "ci", "scopes": []}, "must not be empty"),
        (Login, {"email": "ann@example.com", "password": ""}, "must not be empty"),
    ],
)
def test_a_problem_is_reported_in_plain_words(
    model: type[BaseModel], body: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValidationError) as found:
        model.model_validate(body)
    assert [message_of(each) for each in found.value.errors()] == [message]
