"""What of a text is run, and what somebody should confirm. Pure."""

import uuid
from typing import Any

import pytest

from tenantry.base.errors import InvalidInput
from tenantry.control.audit import PLATFORM
from tenantry.services.sql_runs.plan import dangers, is_alone, pieces, place, rows_of
from tenantry.services.sql_runs.texts import SqlTexts


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


@pytest.mark.parametrize(
    "text",
    ["SELECT 'api_key=sk_live'", "SET my.pwd = 'x'", "SELECT pgp_sym_decrypt(a, 'x')",
     "ALTER ROLE r PASSWORD 'x'", "SELECT 'token'"],
)  # fmt: skip
async def test_what_may_have_a_secret_is_not_remembered(text: str) -> None:
    nothing: Any = None  # what a text that is remembered needs
    texts = SqlTexts(nothing, nothing, nothing)
    await texts.remember(PLATFORM, uuid.UUID(int=1), text)
    with pytest.raises(AttributeError):
        await texts.remember(PLATFORM, uuid.UUID(int=1), "SELECT 1")
