"""The statements that read, change and copy rows. Pure."""

import pglast
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenantry.base.errors import Conflict, InvalidInput
from tenantry.pg.tables import Column, Shape
from tenantry.services.sql_runs.plan import dangers, pieces
from tenantry.services.table_rows import plan
from tenantry.services.table_rows.plan import Change, Page

SHAPE = Shape(
    {"id": Column("integer", required=True), "v": Column("text"), "g": Column("text", True)},
    ("id",),
)
KEYLESS = Shape(SHAPE.columns, ())
TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))


def test_a_page_is_read_by_the_key() -> None:
    page = Page("v", "contains", "o'x", ("7",))
    assert plan.statement("a", 'T"t', SHAPE, page, limit=51) == (
        'SELECT xmin, * FROM "a"."T""t"\n'
        "WHERE strpos(lower(\"v\"::text), lower('o''x')) > 0 AND (\"id\") > ('7')\n"
        'ORDER BY "id"\nLIMIT 51'
    )
    assert plan.statement("a", "t", KEYLESS, Page(skip=50), limit=51) == (
        'SELECT * FROM "a"."t"\nLIMIT 51\nOFFSET 50'
    )
    sorted_ = Page(sort="v", descending=True, skip=50)
    assert plan.statement("a", "t", SHAPE, sorted_, limit=51) == (
        'SELECT xmin, * FROM "a"."t"\nORDER BY "v" DESC NULLS LAST, "id"\nLIMIT 51\nOFFSET 50'
    )
    for wrong in (Page("w"), Page(after=("1", "2")), Page(sort="w")):
        with pytest.raises(InvalidInput):
            plan.statement("a", "t", SHAPE, wrong, limit=1)


@given(TEXTS, st.sampled_from(["is", "is_not", "less", "greater", "contains"]))
def test_a_value_is_nothing_but_a_value(value: str, test: plan.Test) -> None:
    page = Page("v", test, value, (value,))
    text = plan.statement("a", "t", SHAPE, page, limit=1)
    plain = plan.statement("a", "t", SHAPE, Page("v", test, "x", ("x",)), limit=1)
    assert pglast.fingerprint(text) == pglast.fingerprint(plain)
    assert not dangers(pieces(text))


def test_changes_are_of_one_row() -> None:
    def changing(change: Change) -> str:
        return plan.changing("a", "t", SHAPE, change)

    update = Change("update", {"id": "7"}, "12", {"v": None})
    assert changing(update) == (
        'UPDATE "a"."t"\nSET "v" = NULL\nWHERE "id" = \'7\' AND xmin = \'12\''
    )
    assert changing(Change("delete", {"id": "7"})) == 'DELETE FROM "a"."t"\nWHERE "id" = \'7\''
    assert changing(Change("insert")) == 'INSERT INTO "a"."t" DEFAULT VALUES'
    inserted = changing(Change("insert", values={"id": "1", "v": "a"}))
    assert inserted == 'INSERT INTO "a"."t" ("id", "v")\nVALUES (\'1\', \'a\')'


@pytest.mark.parametrize(
    "change",
    [
        Change("update", {"id": "7"}),
        Change("update", {}, None, {"v": "a"}),
        Change("update", {"id": None}, None, {"v": "a"}),
        Change("delete", {"id": "7", "v": "a"}),
        Change("insert", values={"g": "a"}),
        Change("insert", values={"w": "a"}),
    ],
)
def test_a_change_that_is_none_is_refused(change: Change) -> None:
    with pytest.raises(InvalidInput):
        plan.changing("a", "t", SHAPE, change)


@pytest.mark.parametrize(
    ("kind", "key", "inserts"),
    [("r", (), True), ("v", (), False), ("m", (), False), ("f", ("id",), False)],
)
def test_rows_that_cannot_be_found_again_are_not_changed(
    kind: str, key: tuple[str, ...], inserts: bool
) -> None:
    shape = Shape(SHAPE.columns, key, kind)
    assert plan.fixed_because(shape)
    with pytest.raises(Conflict):
        plan.changing("a", "t", shape, Change("delete", {"id": "7"}))
    if inserts:
        plan.changing("a", "t", shape, Change("insert", values={"id": "1"}))
        return
    with pytest.raises(Conflict):
        plan.changing("a", "t", shape, Change("insert", values={"id": "1"}))


@given(TEXTS, TEXTS)
def test_values_of_a_change_are_nothing_but_values(key: str, value: str) -> None:
    text = plan.changing("a", "t", SHAPE, Change("update", {"id": key}, "1", {"v": value}))
    plain = plan.changing("a", "t", SHAPE, Change("update", {"id": "x"}, "1", {"v": "x"}))
    assert pglast.fingerprint(text) == pglast.fingerprint(plain)


def test_csv_is_copied_by_the_columns_of_its_first_line() -> None:
    assert plan.copied_in("a", "t", plan.loaded(["v", "id"], SHAPE)) == (
        'COPY "a"."t" ("v", "id") FROM STDIN (FORMAT csv, HEADER, ENCODING \'UTF8\')'
    )


def test_what_is_copied_out_can_be_copied_in() -> None:
    columns = {**SHAPE.columns, "c": Column("integer", generated=True, computed=True)}
    out = plan.copied_out("a", "t", Shape(columns, ("id",)), Page("c", "is", "{}"))
    # An identity, g, is copied; a computed column, c, would be refused.
    assert out.startswith('COPY (SELECT "id", "v", "g" FROM "a"."t"\nWHERE "c" = \'{}\'')
    assert plan.loaded(["id", "v", "g"], SHAPE)
    with pytest.raises(InvalidInput, match="no other value"):
        plan.loaded(["id", "c"], Shape(columns, ("id",)))


def test_a_required_column_may_be_filled_by_a_trigger() -> None:
    assert plan.loaded(["v"], SHAPE) == ["v"]


@pytest.mark.parametrize("names", [[""], ["id", "w"], ["id", "id"], ["ID"]])
def test_a_first_line_that_names_other_columns_is_refused(names: list[str]) -> None:
    with pytest.raises(InvalidInput):
        plan.loaded(names, SHAPE)
