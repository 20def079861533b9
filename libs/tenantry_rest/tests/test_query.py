"""Query strings: any of them is a query or an error of PostgREST's, with its words."""

import json
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenantry_rest.config import Config
from tenantry_rest.errors import ApiError
from tenantry_rest.plan.planning import make_plan
from tenantry_rest.request.model import HttpRequest, parse_request
from tenantry_rest.request.query import parse_query
from tenantry_rest.schema.model import Column, Name, Relationship, Schema, Table
from tenantry_rest.shapes import Shapes
from tenantry_rest.sql.statements import main_statement, statements_of

COLUMNS = {
    name: Column(name, None, True, kind, kind, None, None)
    for name, kind in (("id", "integer"), ("name", "text"), ("data", "json"), ("p_id", "integer"))
}


def table(name: str) -> Table:
    return Table(Name("public", name), None, False, True, True, True, ("id",), COLUMNS)


CHILD, PARENT = Name("public", "child"), Name("public", "parent")
SCHEMA = Schema(
    {name: table(name.name) for name in (CHILD, PARENT)},
    {
        (CHILD, "public"): [Relationship(CHILD, PARENT, "m2o", "fk", (("p_id", "id"),))],
        (PARENT, "public"): [Relationship(PARENT, CHILD, "o2m", "fk", (("id", "p_id"),))],
    },
)
CONFIG = Config(db_anon_role="anonymous", db_aggregates_enabled=True, db_plan_enabled=True)


@pytest.mark.parametrize(
    ("query", "column", "details"),
    [
        (
            "select=id,clients(name[])",
            16,
            'unexpected \'[\' expecting letter, digit, "-", "->>", "->", "::", ".", ")", "," '
            "or end of input",
        ),
        ("select=name::", 7, "unexpected end of input expecting letter or digit"),
        ("id=noop.0", 1, 'unexpected "o" expecting "not" or operator (eq, gt, ...)'),
        ("id=eq().value", 4, 'unexpected ")" expecting operator (eq, gt, ...)'),
        (
            "order=id.ac",
            4,
            'unexpected "c" expecting "asc", "desc", "nullsfirst" or "nullslast"',
        ),
        (
            "or=()",
            4,
            'unexpected ")" expecting field name (* or [a..z0..9_$]), negation operator (not) or '
            "logic operator (and, or)",
        ),
        ("or=(id.in.1,2)", 10, 'unexpected "1" expecting "("'),
    ],
)
def test_errors_say_what_was_expected(query: str, column: int, details: str) -> None:
    with pytest.raises(ApiError) as raised:
        parse_query(query)
    assert raised.value.code == "PGRST100"
    assert raised.value.message.endswith(f"(line 1, column {column})")
    assert raised.value.details == details


def test_nesting_has_an_end() -> None:
    deep = "a(" * 2000 + ")" * 2000
    with pytest.raises(ApiError, match="nested too deeply"):
        parse_query(f"select={deep}")


WORDS = r"""id name data parent child * -> ->> :: text ! inner ( ) , . : ... " \\ eq not in is null
    or and fts { } count() sum() asc nullsfirst -1 0 %20 %00 %22 ';-- é any"""
KEYS = """select order or and not.or limit offset id name data->a parent.id parent parent.order
    columns on_conflict"""
VALUES = st.lists(st.sampled_from(WORDS.split()), max_size=12).map("".join) | st.text(max_size=20)
NAMES = st.sampled_from(KEYS.split())
QUERIES = st.lists(st.tuples(NAMES | VALUES, VALUES), max_size=5).map(
    lambda pairs: "&".join(f"{key}={value}" for key, value in pairs)
)


@given(QUERIES, st.sampled_from(["GET", "PATCH", "DELETE", "POST", "PUT"]))
def test_any_query_is_a_statement_or_an_error(query: str, method: str) -> None:
    http = HttpRequest(method, "/child", query, [], b'{"id": 1}')
    try:
        request = parse_request(http, CONFIG)
        statement, values = main_statement(make_plan(request, SCHEMA, CONFIG)).render()
    except ApiError:
        return
    assert b"\0" not in statement
    assert statement.count(b"$") >= len(values)


@given(st.text(min_size=1, max_size=30))
def test_values_are_parameters_and_names_are_quoted(text: str) -> None:
    marked = f"q{text}q".replace("&", "").replace("%", "").replace("+", "").replace("=", "")
    kept = marked.partition("\0")[0]
    request = parse_request(HttpRequest("GET", "/child", f"name=eq.{marked}"), CONFIG)
    statement, values = main_statement(make_plan(request, SCHEMA, CONFIG)).render()
    assert kept in values
    assert len(kept) < 8 or kept.encode() not in statement
    name = marked.replace('"', "").replace("\\", "")
    request = parse_request(HttpRequest("GET", "/child", f'select="{name}"'), CONFIG)
    statement, _ = main_statement(make_plan(request, SCHEMA, CONFIG)).render()
    quoted = '"' + name.partition("\0")[0] + '"'
    assert quoted.encode() in statement


@given(st.lists(st.tuples(st.sampled_from(["id", "name", "parent.id"]), st.text(max_size=9))))
def test_reads_of_one_shape_share_a_plan(filters: list[tuple[str, str]]) -> None:
    shapes = Shapes(10)
    for changed in ("", "x"):
        given_filters = [f"{key}=not.gte.{quote(value + changed)}" for key, value in filters]
        query = "&".join(["select=id,parent(id)", *given_filters])
        http = HttpRequest("GET", "/child", query, [("prefer", "count=exact")])
        planned = shapes.plan(http, SCHEMA, CONFIG)
        request = parse_request(http, CONFIG)
        plan = make_plan(request, SCHEMA, CONFIG)
        assert planned is not None
        assert planned.plan.media == plan.media
        assert planned.request.query.canonical == request.query.canonical
        assert planned.statements == [
            each.render() for each in statements_of(plan, request, CONFIG)
        ]
    assert len(shapes) == 1


VALUE = st.one_of(st.integers(), st.text(max_size=9), st.none())
OBJECT = st.fixed_dictionaries({"id": VALUE, "name": VALUE})


@given(
    st.sampled_from(["POST", "PATCH"]),
    st.sampled_from(["select=*", "columns=name", "select=id", "on_conflict=id"]),
    st.sampled_from(
        ["", "return=representation", "resolution=merge-duplicates", "missing=default"]
    ),
    st.one_of(
        st.tuples(OBJECT, OBJECT),
        st.tuples(st.lists(OBJECT, min_size=1, max_size=3), st.lists(OBJECT, min_size=1)),
    ),
)
def test_writes_of_one_shape_share_a_plan(
    method: str, query: str, prefer: str, bodies: tuple[object, object]
) -> None:
    shapes = Shapes(10)
    query += "&id=eq.7" if method == "PATCH" else ""  # an insert has no filters
    for body in bodies:
        headers = [("prefer", prefer), ("content-type", "application/json")]
        http = HttpRequest(method, "/child", query, headers, json.dumps(body).encode())
        planned = shapes.plan(http, SCHEMA, CONFIG)
        request = parse_request(http, CONFIG)
        plan = make_plan(request, SCHEMA, CONFIG)
        assert planned is not None
        assert planned.plan.media == plan.media
        assert planned.statements == [
            each.render() for each in statements_of(plan, request, CONFIG)
        ]
    assert len(shapes) == 1


@pytest.mark.parametrize(
    "bodies",
    [(b'{"id": 1}', b'{"name": 1}'), (b'{"id": 1}', b'[{"id": 1}]'), (b"[]", b'[{"id": 1}]')],
)
def test_bodies_with_other_keys_have_another_shape(bodies: tuple[bytes, bytes]) -> None:
    shapes = Shapes(10)
    for body in bodies:
        assert shapes.plan(HttpRequest("POST", "/child", "", [], body), SCHEMA, CONFIG) is not None
    assert len(shapes) == 2


@pytest.mark.parametrize(
    ("method", "path", "kind", "body"),
    [
        ("POST", "/child", "application/json", b'[{"id": 1}, {"name": 1}]'),
        ("POST", "/child", "application/json", b'{"id": '),
        ("POST", "/child", "application/json", b'{"unknown": 1}'),
        ("POST", "/child", "text/csv", b"id\n1"),
        ("POST", "/child/more", "application/json", b"{}"),
        ("PUT", "/child", "application/json", b'{"id": 1}'),
    ],
)
def test_others_have_no_shape(method: str, path: str, kind: str, body: bytes) -> None:
    shapes = Shapes(10)
    http = HttpRequest(method, path, "", [("content-type", kind)], body)
    assert shapes.plan(http, SCHEMA, CONFIG) is None
    assert len(shapes) == 0


def test_a_refusal_has_its_own_words() -> None:
    shapes = Shapes(10)
    assert shapes.plan(HttpRequest("GET", "/child", "parent.id=eq.secret"), SCHEMA, CONFIG) is None
    for number in range(20):
        shapes.plan(HttpRequest("GET", "/child", f"limit={number}"), SCHEMA, CONFIG)
    assert len(shapes) == 10
