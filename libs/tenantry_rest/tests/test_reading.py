"""Reading tables: filters, logic, select, order, ranges and counts."""

from typing import Any

import pytest
from rest_clients import Client


async def get(api: Client, path: str, **headers: str) -> Any:
    answer = await api.get(path, headers=headers)
    assert answer.status_code in {200, 206}, answer.text
    return answer.json()


async def ids(api: Client, path: str) -> list[int]:
    return [row["id"] for row in await get(api, path)]


async def test_the_answer_is_as_postgresql_makes_it(api: Client) -> None:
    answer = await api.get("/clients")
    assert answer.text == '[{"id":1,"name":"Microsoft"}, \n {"id":2,"name":"Apple"}]'
    assert dict(answer.headers) == {
        "content-range": "0-1/*",
        "content-location": "/clients",
        "content-type": "application/json; charset=utf-8",
        "vary": "Accept, Prefer, Range",
        "content-length": str(len(answer.content)),
    }


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("id=eq.5", [5]),
        ("id=not.eq.5&id=lte.6", [1, 2, 3, 4, 6]),
        ("id=neq.1&id=lt.4", [2, 3]),
        ("id=gt.13", [14, 15]),
        ("id=gte.14", [14, 15]),
        ("name=like.item 1*&id=lt.13", [1, 10, 11, 12]),
        ("name=ilike.ITEM%252", [2, 12]),
        ("name=match.^item 1.$&id=lt.12", [10, 11]),
        ("name=imatch.^ITEM 3$", [3]),
        ("id=in.(1,3,5)", [1, 3, 5]),
        ("id=in.()", []),
        ('name=in.("item 1","item, 2",item 3)', [1, 3]),
        ("id=eq(any).{3,4}", [3, 4]),
        ("name=like(all).{item*,*5}", [5, 15]),
        ("id=isdistinct.1&id=lt.3", [2]),
        ("or=(id.eq.1,id.eq.2)", [1, 2]),
        ("and=(id.gt.2,or(id.eq.1,id.eq.3,and(id.gt.4,id.lt.6)))", [3, 5]),
        ("not.or=(id.gt.3,id.eq.2)", [1, 3]),
        ('or=(name.in.("item 1"),id.not.lt.15)', [1, 15]),
        ("always_true=is.true&id=lt.3", [1, 2]),
    ],
)
async def test_filters(api: Client, query: str, found: list[int]) -> None:
    assert await ids(api, f"/items?{query}&order=id") == found


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("flag=is.null", [3]),
        ("flag=is.NULL", [3]),
        ("flag=is.not_null", [1, 2]),
        ("flag=not.is.null", [1, 2]),
        ("flag=is.true", [1]),
        ("flag=is.unknown", [3]),
        ('label=in.("z,\\"(y)")', [3]),
        ('or=(label.eq."z,\\"(y)",id.eq.1)', [1, 3]),
    ],
)
async def test_nulls_and_quotes(api: Client, query: str, found: list[int]) -> None:
    assert await ids(api, f"/nullable?{query}&order=id") == found


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("data->a->b->>0=eq.3", [2]),
        ("data->>c=eq.x", [1]),
        ("data->a->b->-1=eq.2", None),
        ("binary_data->k=eq.2", [2]),
        ("tags=cs.{a}", [1]),
        ("tags=cd.{c,d}", [2]),
        ("tags=ov.{b,c}", [1, 2]),
        ("span=sl.[6,9)", [1]),
        ("span=adj.[9,12)", [2]),
        ("words=fts.cat", [1]),
        ("body=plfts(english).thin dogs", [2]),
        ("body=wfts.dog", [2]),
        ("body=phfts(english).fat cat", [1]),
        ("words=not.fts.cat", [2]),
    ],
)
async def test_filters_of_types(api: Client, query: str, found: list[int] | None) -> None:
    if found is None:  # json has no equality
        answer = await api.get(f"/documents?{query}")
        assert (answer.status_code, answer.json()["code"]) == (404, "42883")
    else:
        assert await ids(api, f"/documents?select=id&{query}&order=id") == found


@pytest.mark.parametrize(
    ("select", "row"),
    [
        ("id,name", {"id": 1, "name": "item 1"}),
        ("key:id,*", {"key": 1, "id": 1, "name": "item 1", "cost": 1.5}),
        ("id::text", {"id": "1"}),
        ("x:id::text, name", {"x": "1", "name": "item 1"}),
        ("always_true", {"always_true": True}),
        ("", {"id": 1, "name": "item 1", "cost": 1.5}),
    ],
)
async def test_select(api: Client, select: str, row: dict[str, Any]) -> None:
    assert await get(api, f"/items?id=eq.1&select={select}") == [row]


async def test_paths_into_json_name_their_columns(api: Client) -> None:
    select = "data->a->b,data->>c,d:data->a,tags->1"
    assert await get(api, f"/documents?id=eq.1&select={select}") == [
        {"b": [1, 2], "c": "x", "d": {"b": [1, 2]}, "tags": "b"}
    ]
    assert await get(api, "/documents?id=eq.1&select=data->a->b->0") == [{"b": 1}]


async def test_odd_names(api: Client) -> None:
    path = "/%C3%9Cn%C3%AFcode%20tab-le$"
    assert await get(api, f'{path}?select=sp ace,"do,t.s"&"do,t.s"=eq.one') == [
        {"sp ace": 1, "do,t.s": "one"}
    ]


async def test_order(api: Client) -> None:
    assert await ids(api, "/nullable?order=label.desc.nullslast") == [3, 1, 2]
    assert await ids(api, "/nullable?order=label.nullsfirst,id.desc") == [2, 1, 3]
    assert await ids(api, "/documents?order=data->>c.desc") == [2, 1]
    assert await ids(api, "/items?order=always_true,id.desc&limit=2") == [15, 14]


async def test_ranges(api: Client) -> None:
    assert await ids(api, "/items?order=id&limit=2&offset=3") == [4, 5]
    assert await get(api, "/items?limit=0") == []
    assert await ids(api, "/items?order=id&limit=2&offset=-3") == [1, 2]
    answer = await api.get("/items?order=id", headers={"Range": "3-4", "Prefer": "count=exact"})
    assert [row["id"] for row in answer.json()] == [4, 5]
    assert (answer.status_code, answer.headers["content-range"]) == (206, "3-4/15")
    assert answer.headers["preference-applied"] == "count=exact"
    answer = await api.get("/items?id=gt.20", headers={"Prefer": "count=exact"})
    assert (answer.status_code, answer.headers["content-range"]) == (200, "*/0")
    limit, order = "Limit should be", "The lower boundary must be"
    for path, header, details in (
        ("/items?limit=-1", {}, limit),
        ("/items", {"Range": "5-2"}, order),
        ("/items?limit=-1", {"Range": "5-2"}, order),
        ("/items?offset=5", {"Range": "0-2"}, limit),
    ):
        answer = await api.get(path, headers=header)
        assert (answer.status_code, answer.json()["code"]) == (416, "PGRST103")
        assert answer.json()["details"].startswith(details)
    answer = await api.get("/items?offset=99", headers={"Prefer": "count=exact"})
    assert answer.status_code == 416
    assert answer.json()["details"] == (
        "An offset of 99 was requested, but there are only 15 rows."
    )


@pytest.mark.parametrize(
    ("header", "query", "found"),
    [
        ("0-5", "limit=2", [1, 2]),  # what both have in common
        ("1-2", "limit=9&offset=2", [3]),
        ("0-0", "limit=0", []),
        ("5-2", "limit=0", []),
        ("3-", "limit=4", [4]),
        ("-2", "limit=1", [1]),  # this and the following ones are no range
        ("items=0-0", "limit=2", [1, 2]),
        ("1-\u00b2", "limit=2", [1, 2]),
    ],
)
async def test_the_range_header_and_the_limit(
    api: Client, header: str, query: str, found: list[int]
) -> None:
    headers = {b"Range": header.encode("latin-1")}
    answer = await api.get(f"/items?order=id&{query}", headers=headers)
    assert [row["id"] for row in answer.json()] == found


async def test_counts_that_the_planner_estimates(server: Any, serve: Any) -> None:
    server.execute("ANALYZE test.items")
    api = await serve(db_max_rows="10")
    for count in ("planned", "estimated"):
        answer = await api.get("/items", headers={"Prefer": f"count={count}"})
        assert answer.headers["content-range"] == "0-9/15"
        assert answer.status_code == 206


async def test_an_estimate_counts_where_no_maximum_says_when_to_count(
    server: Any, api: Client
) -> None:
    server.execute("ANALYZE test.items")
    path = "/items?cost=gt.15&name=like.*item*"
    answer = await api.get(path, headers={"Prefer": "count=planned"})
    planned = int(answer.headers["content-range"].partition("/")[2])
    answer = await api.get(path, headers={"Prefer": "count=estimated"})
    assert answer.headers["content-range"] == f"0-4/{max(5, planned)}"


async def test_head_has_no_body(api: Client) -> None:
    answer = await api.head("/items?limit=1")
    assert (answer.status_code, answer.content) == (200, b"")
    assert "content-length" not in answer.headers
    assert answer.headers["content-range"] == "0-0/*"


async def test_content_location_is_sorted(api: Client) -> None:
    answer = await api.get("/items?select=id&id=eq.1&limit=1")
    assert answer.headers["content-location"] == "/items?id=eq.1&limit=1&select=id"


async def test_domains_are_represented(api: Client) -> None:
    assert await get(api, "/painted?order=id") == [
        {"id": 1, "color": "#0000ff"},
        {"id": 2, "color": "#00ff00"},
    ]
    assert await ids(api, "/painted?select=id,color&color=eq.%2300ff00") == [2]
    assert await ids(api, "/painted?select=id&color=in.(%2300ff00,%230000ff)&order=id") == [1, 2]


async def test_aggregates(serve: Any) -> None:
    api = await serve(db_aggregates_enabled="true")
    assert await get(api, "/projects?select=client_id,id.count()&order=client_id") == [
        {"client_id": 1, "count": 2},
        {"client_id": 2, "count": 2},
        {"client_id": None, "count": 1},
    ]
    assert await get(api, "/items?select=count(),cost.sum()::int,m:cost.max()") == [
        {"count": 15, "sum": 180, "m": 22.5}
    ]


async def test_aggregates_are_off_by_default(api: Client) -> None:
    answer = await api.get("/items?select=count()")
    assert (answer.status_code, answer.json()["code"]) == (400, "PGRST123")


@pytest.mark.parametrize("table", ["/essays", "/rpc/all_essays"])
async def test_what_is_a_tsvector_is_not_made_one(api: Client, table: str) -> None:
    """A domain of domains, and a column that a function computes."""
    for condition in ("words=fts.snow", "of_body=fts(simple).rain", "body=fts.rain"):
        assert (await api.get(f"{table}?{condition}&select=id")).json() == [{"id": 1}]
