"""What clients and schemas may cost: each attempt to take more is refused early."""

import json

import pytest

from tenantry_rest.answer import Answer, _overridden, error_answer
from tenantry_rest.config import Config
from tenantry_rest.errors import ApiError, is_header
from tenantry_rest.openapi import document_of
from tenantry_rest.request import media
from tenantry_rest.request.media import Media
from tenantry_rest.request.parsing import MOST_TERMS
from tenantry_rest.request.payload import MOST_CELLS, MOST_FIELDS, MOST_NODES, parse_payload
from tenantry_rest.request.query import parse_query
from tenantry_rest.schema.fuzzy import similar
from tenantry_rest.schema.model import (
    AnyRelationship,
    Column,
    Name,
    Relationship,
    Schema,
    Table,
)
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
    many = [foreign_key(f"fk{number}", "a") for number in range(4000)]
    with pytest.raises(ApiError, match="PGRST002"):
        all_relationships(many, ViewColumns(), keyed("a"), [], ["public"])
    found = all_relationships(many, ViewColumns(), keyed("b"), [], ["public"])
    assert len(found[CHILD, "public"]) == len(many)
    found = all_relationships(many[:3], ViewColumns(), keyed("a"), [], ["public"])
    related = [each for each in found[PARENT, "public"] if isinstance(each, Relationship)]
    assert [each.kind for each in related].count("m2m") == 3 * 2


def test_a_table_has_few_relationships() -> None:
    many = [foreign_key(f"fk{number}", "a") for number in range(5001)]
    with pytest.raises(ApiError, match="A table has more than 5,000"):
        all_relationships(many, ViewColumns(), keyed("b"), [], ["public"])


def test_an_embed_is_five_terms() -> None:
    parse_query("select=" + ",".join(["x()"] * (MOST_TERMS // 5)))
    with pytest.raises(ApiError, match="terms"):
        parse_query("select=" + ",".join(["x()"] * (MOST_TERMS // 5 + 1)))


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
        ("X", "\ud800"),
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


def test_errors_are_short_whatever_a_function_raises() -> None:
    long = "x" * 10_000_000
    for raised in (
        from_database("PT402", long, long, long, anonymous=False),
        from_database("PGRST", long, long, None, anonymous=False),
        from_database(
            "PGRST",
            json.dumps({"code": long, "message": long, "details": long, "hint": long}),
            json.dumps({"status": 402, "headers": {}, "status_text": long}),
            None,
            anonymous=False,
        ),
        from_database(
            "PGRST",
            '{"code":"1","message":"m"}',
            json.dumps({"status": 402, "headers": {"X": long}}),
            None,
            anonymous=False,
        ),
    ):
        found = error_answer(raised, minimal=False)
        assert len(found.body) < 200_000
        assert sum(len(name) + len(value) for name, value in found.headers) < 40_000
        assert len(found.reason or "") < 2000


QUERIES = [
    ("select={}", "id", ","),
    ("select={}", "a:id", ","),
    ("select=x({})", "x()", ","),
    ("select=id{}", "->a", ""),
    ("or=({})", "id.eq.1", ","),
    ("x.order=id&child.order={}", "id", ","),
    ("columns={}", "id", ","),
    ("on_conflict={}", "id", ","),
    ("{}", "id=eq.1", "&"),
    ("{}", "limit=1", "&"),
    ("{}", "order=id,id,id&or=(id.eq.1,id.eq.2)", "&"),
]


@pytest.mark.parametrize(("text", "term", "between"), QUERIES)
def test_a_query_has_few_terms(text: str, term: str, between: str) -> None:
    parse_query(text.format(between.join([term] * 50)))
    with pytest.raises(ApiError, match=f"more than {MOST_TERMS} terms"):
        parse_query(text.format(between.join([term] * (MOST_TERMS + 1))))


def test_a_list_of_values_is_one_term() -> None:
    values = ",".join(map(str, range(4 * MOST_TERMS)))
    assert parse_query(f"id=in.({values})&or=(id.in.({values}),id.eq.1)").filters


@pytest.mark.parametrize("wanted", ["a" * 201, "add_note" * 1900])
def test_no_hint_is_looked_for_at_any_price(wanted: str) -> None:
    assert similar([wanted[:-1]], wanted, least=0) == []
    assert similar([wanted], wanted[:100], least=0) == []
    assert similar([f"name{number}" for number in range(1001)], "name", least=0) == []
    assert similar(["name1"], "name", least=0)[0][1] == "name1"


BODIES = [
    (media.JSON, b"[" + b"[]," * MOST_NODES + b"[]]"),
    (media.JSON, b"[" + b'{"a":1},' * MOST_NODES + b"{}]"),
    (media.JSON, b'{"a":' + b"[" * MOST_NODES),
    (media.JSON, b"{" + b'"a":1,' * MOST_NODES + b'"a":1}'),
    (media.CSV, b"a,b\n" + b"1,2\n" * (MOST_CELLS // 2)),
    (media.CSV, b"a\r" + b"1\r" * MOST_CELLS),
    (media.CSV, b"a" + b"," * (MOST_CELLS + 1)),
    (media.URLENCODED, b"&".join(b"a%d=1" % number for number in range(MOST_FIELDS + 1))),
]


@pytest.mark.parametrize(("content", "body"), BODIES, ids=range(len(BODIES)))
def test_bodies_of_too_many_values_are_not_read(content: Media, body: bytes) -> None:
    for is_call in (True, False):
        with pytest.raises(ApiError, match="too_many_values"):
            parse_payload(body, content, columns=None, is_call=is_call)


def test_bodies_are_read_up_to_their_limits() -> None:
    rows = b"[" + b'{"a":1},' * 1000 + b'{"a":1}]'
    assert parse_payload(rows, media.JSON, columns=None, is_call=False).keys == ("a",)
    many = b"[" + b'{"a":1},' * MOST_NODES + b'{"a":1}]'
    digits = b'{"a":' + b"9" * 100_000 + b"}"
    assert parse_payload(digits, media.JSON, columns=None, is_call=False).raw == digits
    assert parse_payload(many, media.JSON, columns=("a",), is_call=False).raw == many
    lines = b"a,b\r\n" + b"1,2\r\n" * 1000
    assert parse_payload(lines, media.CSV, columns=None, is_call=False).keys == ("a", "b")
    form = b"&".join(b"a%d=1" % number for number in range(MOST_FIELDS))
    assert len(parse_payload(form, media.URLENCODED, columns=None, is_call=True).keys) == 2000


def test_a_raised_code_is_no_header_of_its_own() -> None:
    said = json.dumps({"code": "1\r\nX: y", "message": "\ud800"})
    raised = from_database("PGRST", said, '{"status":402,"headers":{}}', None, anonymous=False)
    headers = error_answer(raised, minimal=False).headers
    assert all(is_header(*each) for each in headers)
    assert json.loads(raised.body()) == {
        "code": "1\r\nX: y",
        "details": None,
        "hint": None,
        "message": "\ud800",
    }


def test_the_description_reads_relationships_of_a_table_once() -> None:
    columns = {
        f"c{number}": Column(f"c{number}", None, True, "integer", "integer", None, "[" * 9000)
        for number in range(1500)
    }
    related: list[AnyRelationship] = [
        Relationship(CHILD, PARENT, "m2o", f"fk{number}", (("c7", "id"),), has_key=True)
        for number in range(MOST // 2)
    ]
    table = Table(CHILD, None, False, True, True, True, (), columns)
    schema = Schema({CHILD: table}, {(CHILD, "public"): related})
    found = document_of([table], [], schema, Config())["definitions"]["child"]["properties"]
    assert "Foreign Key to `parent.id`" in found["c7"]["description"]
    assert "description" not in found["c8"]
