"""JSON bodies take numbers and booleans as JSON's own, forms take texts."""

import pytest
from pydantic import ValidationError

from tenantry.services.bodies.copies import ImportDatabase
from tenantry.services.bodies.data_api import PutDataApi
from tenantry.services.bodies.fields import FORM
from tenantry.services.bodies.insights import RunSql
from tenantry.services.bodies.maintenance import VacuumFull


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"statementTimeoutSeconds": True}, "must be a number"),
        ({"statement_timeout_seconds": "5"}, "must be a number"),
        ({"lock_timeout_seconds": False}, "must be a number"),
    ],
)
def test_neither_a_boolean_nor_a_text_is_a_number(body: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message) as failed:
        VacuumFull.model_validate(body)
    assert failed.value.errors()[0]["loc"] == (next(iter(body)),)


@pytest.mark.parametrize("value", ["yes", "true", 1, 0, 1.0])
def test_only_true_and_false_are_booleans(value: object) -> None:
    with pytest.raises(ValidationError, match="must be true or false"):
        PutDataApi.model_validate({"anonymous": value})


def test_whole_numbers_are_numbers_also_where_fractions_may_be() -> None:
    assert VacuumFull.model_validate({"statementTimeoutSeconds": 5}).statement_timeout_seconds == 5
    assert RunSql.model_validate({"sql": "SELECT 1", "read_only": None}).read_only is None
    for jobs in (1.5, 1.0):
        with pytest.raises(ValidationError, match="must be a whole number"):
            ImportDatabase.model_validate({"from": "postgresql://a@b/c", "jobs": jobs})


def test_a_form_has_only_texts() -> None:
    read = PutDataApi.model_validate({"anonymous": "true", "max_rows": "5"}, context=FORM)
    assert (read.anonymous, read.max_rows) == (True, 5)
