"""Names of tables, and restores of tables, as callers send them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from tenantry.services.bodies.copies import Restore
from tenantry.services.bodies.lost_rows import table_of

LETTERS = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
NAMES = st.text(LETTERS, min_size=1).filter(lambda name: len(name.encode()) < 64)
MOMENT = "2026-11-30T12:00:00Z"


@given(NAMES, NAMES)
def test_a_quoted_name_is_read_as_it_is(schema: str, name: str) -> None:
    def quoted(text: str) -> str:
        return '"' + text.replace('"', '""') + '"'

    assert table_of(f"{quoted(schema)}.{quoted(name)}") == (schema, name)
    assert table_of(quoted(name)) == ("public", name)


def test_a_plain_name_keeps_its_letters() -> None:
    assert table_of("Shop.Orders") == ("Shop", "Orders")
    assert table_of("orders") == ("public", "orders")


@pytest.mark.parametrize("text", ["", ".", "a.", ".a", "a.b.c", '"a', 'a"b', '""', "x" * 64])
def test_what_is_no_name_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="must"):
        table_of(text)


def test_tables_are_restored_from_a_moment() -> None:
    body = Restore.model_validate({"to": MOMENT, "tables": ["orders", "orders"], "as": "rows"})
    wanted = body.wanted_tables()
    assert wanted is not None
    assert (wanted.tables, wanted.into) == ([("public", "orders")], "rows")
    assert Restore.model_validate({"to": MOMENT}).wanted_tables() is None


@pytest.mark.parametrize(
    "wrong",
    [
        {"to": "latest", "tables": ["a"]},
        {"to": MOMENT, "tables": ["a"], "as": "in_place"},
        {"to": MOMENT, "tables": ["a"], "name": "new"},
        {"to": MOMENT, "tables": []},
        {"to": MOMENT, "as": "rows"},
    ],
)
def test_what_does_not_go_together_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Restore.model_validate(wrong)
