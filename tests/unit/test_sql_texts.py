"""What of a text is run, what somebody should confirm, and how a page of rows is read. Pure."""

import pglast
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenantry.base.errors import InvalidInput
from tenantry.pg.tables import Shape
from tenantry.services.sql_runs import browsing, plan
from tenantry.services.sql_runs.browsing import Page
from tenantry.services.sql_runs.plan import dangers, is_alone, pieces, place, rows_of

SHAPE = Shape({"id": "integer", "v": "text"}, ("id",))


def test_statements_have_their_places() -> None:
    text = "SELECT 'ä';\n-- one; more\n  SELECT 'ä';;\nSELECT 2"
    found = pieces(text)
    assert [(each.offset, each.statement.line) for each in found] == [(0, 1), (27, 3), (40, 4)]
    assert all(text[each.offset :].startswith(each.statement.text) for each in found)
    assert place(text, found[1].offset + 1) == (3, 3)
    assert place(text, 1) == (1, 1)


@pytest.mark.parametrize(
    "text",
    ["", "-- nothing", "BEGIN", "SELECT 1; COMMIT", "SAVEPOINT a", "COPY t FROM STDIN",
     "COPY t TO STDOUT", "SELECT 1;" * 1001],
)  # fmt: skip
def test_what_a_run_cannot_have(text: str) -> None:
    with pytest.raises(InvalidInput):
        pieces(text)


@pytest.mark.parametrize(
    ("text", "alone"),
    [
        ("VACUUM t", True),
        ("CREATE INDEX CONCURRENTLY ON t (a)", True),
        ("CALL p()", True),
        ("DO 'BEGIN END'", True),
        ("CREATE INDEX ON t (a)", False),
        ("DELETE FROM t", False),
        ("VACUUM t; SELECT 1", False),
    ],
)
def test_what_runs_without_a_transaction(text: str, alone: bool) -> None:
    assert is_alone(pieces(text)) == alone


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("DELETE FROM a.t", [("DELETE", "t", (("a", "t"),))]),
        ("UPDATE t SET v = 1", [("UPDATE", "t", ((None, "t"),))]),
        ("EXPLAIN ANALYZE DELETE FROM t", [("DELETE", "t", ((None, "t"),))]),
        ("WITH d AS (DELETE FROM t RETURNING 1) SELECT 1", [("DELETE", "t", ((None, "t"),))]),
        ("TRUNCATE a.t, u", [("TRUNCATE", "a.t, u", (("a", "t"), (None, "u")))]),
        ("DROP TABLE a.t", [("DROP", "table a.t", (("a", "t"),))]),
        ("DROP SCHEMA a CASCADE", [("DROP", "schema a", ())]),
        ("DROP FUNCTION a.f(int)", [("DROP", "function a.f", ())]),
        ("DROP TYPE a.y", [("DROP", "type a.y", ())]),
        ("DROP TRIGGER g ON a.t", [("DROP", "trigger t.g", ())]),
        ("DROP OWNED BY r", [("DROP", "what roles own", ())]),
        ("DELETE FROM t WHERE true", []),
        ("SELECT 'DROP TABLE t' -- TRUNCATE t", []),
        ("INSERT INTO t VALUES (1)", []),
    ],
)
def test_what_somebody_should_confirm(text: str, found: list[tuple[object, ...]]) -> None:
    assert [(each.verb, each.what, each.tables) for each in dangers(pieces(text))] == found


def test_rows_are_those_of_the_tables_that_are_known() -> None:
    [both] = dangers(pieces("TRUNCATE a.t, u, other"))
    assert rows_of(both, {("a", "t"): 5, ("b", "t"): 70, ("b", "u"): 7, ("c", "u"): 9}) == 14
    [one] = dangers(pieces("DROP TABLE gone"))
    assert rows_of(one, {}) is None
    assert not one.cascades
    assert dangers(pieces("DROP TABLE t CASCADE"))[0].cascades


def test_a_page_is_read_by_the_key() -> None:
    page = Page("v", "contains", "o'x", ("7",))
    assert browsing.statement("a", 'T"t', SHAPE, page, limit=51) == (
        'SELECT * FROM "a"."T""t"\n'
        "WHERE strpos(lower(\"v\"::text), lower('o''x')) > 0 AND (\"id\") > ('7')\n"
        'ORDER BY "id"\nLIMIT 51'
    )
    keyless = Shape(SHAPE.columns, ())
    assert browsing.statement("a", "t", keyless, Page(skip=50), limit=51) == (
        'SELECT * FROM "a"."t"\nLIMIT 51\nOFFSET 50'
    )
    for wrong in (Page("w"), Page(after=("1", "2"))):
        with pytest.raises(InvalidInput):
            browsing.statement("a", "t", SHAPE, wrong, limit=1)


@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])), st.sampled_from(
    ["is", "contains"]))  # fmt: skip
def test_a_value_is_nothing_but_a_value(value: str, test: browsing.Test) -> None:
    page = Page("v", test, value, (value,))
    text = browsing.statement("a", "t", SHAPE, page, limit=1)
    plain = browsing.statement("a", "t", SHAPE, Page("v", test, "x", ("x",)), limit=1)
    assert pglast.fingerprint(text) == pglast.fingerprint(plain)
    assert not dangers(plan.pieces(text))
