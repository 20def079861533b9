"""Later majors of PostgreSQL answer as the installed one does, catalogs and message texts included.

Other modules test what the answers are.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from rest_clients import Client, connected, token
from rest_server import LATER, Server, programs_of, running

SINGULAR = {"Accept": "application/vnd.pgrst.object+json"}
FULL = {"Prefer": "return=representation"}
MISSING = {"Prefer": "return=representation,missing=default"}
HEADERS = {"Prefer": "return=headers-only"}


@dataclass(frozen=True)
class Request:
    """What is sent; ``body`` is JSON."""

    method: str
    path: str
    headers: dict[str, str] = field(default_factory=dict)
    body: object = None


READS = [
    "/",
    "/items?id=in.(1,3)&select=id,name,cost::text&order=cost.desc.nullslast",
    "/items?select=id,always_true&or=(id.eq.1,and(id.gt.3,id.lt.6))",
    "/items?select=cost.sum(),count()",
    "/items?nope=eq.1",
    "/itemz",
    '/documents?select=data->a->b->0,data->>c,tags&binary_data=cs.{"k":1}&span=ov.[1,3)',
    "/documents?body=fts(english).cat",
    "/essays?words=fts.rain&select=id,felt,of_body",
    "/painted?select=*&color=eq.%230000ff",
    "/clients?select=id,projects(id,tasks(name,users(name)))&order=id",
    "/projects?select=id,...clients(client:name),c:computed_clients(id)&clients.id=eq.1",
    "/projects_of_view?select=project,clients(name)",
    "/clients?select=id,things(id)",
    "/country?select=name,capital(name)",
    "/orders?select=addresses(street)",
    "/orders?select=billing(street),s:addresses!shipping(street)",
    "/web_content?select=name,web_content(name),parent(name)",
    "/%C3%9Cn%C3%AFcode%20tab-le$?select=%22sp%20ace%22",
    "/secrets",
    "/rpc/some_projects?above=2&select=id,clients(name)&order=id",
    "/rpc/joined?parts=a&parts=b",
    "/rpc/outs",
    "/rpc/a_table",
    "/rpc/all_essays?words=fts.sun",
    "/rpc/ambiguous?a=1",
    "/rpc/never?a=1",
    "/rpc/adds",
    "/rpc/page",
    "/rpc/teapot",
    "/rpc/raises?state=PT402",
]
REQUESTS = [
    *(Request("GET", path) for path in READS),
    Request("GET", "/items?id=eq.1", SINGULAR),
    Request("GET", "/items", SINGULAR),
    Request("GET", "/items?select=id", {"Accept": "text/csv"}),
    Request("GET", "/items", {"Accept": "application/vnd.lines"}),
    Request("GET", "/items?limit=2", {"Prefer": "count=exact"}),
    Request("GET", "/secrets", token(role="author")),
    Request("GET", "/clients", token(role="nobody")),
    Request("GET", "/animals", {"Accept-Profile": "other"}),
    Request("OPTIONS", "/projects_view"),
    Request("POST", "/items?select=name,cost", FULL, [{"name": "a"}, {"name": "b"}]),
    Request("POST", "/items?columns=name&select=name", MISSING, [{}]),
    Request("POST", "/generated?select=a,double", FULL, {"a": 2}),
    Request("POST", "/generated", FULL, {"double": 2}),
    Request("POST", "/painted", FULL, {"id": 3, "color": "#00000a"}),
    Request("POST", "/clients", FULL, {"id": 1, "name": "taken"}),
    Request("POST", "/clients", FULL, {"id": 9}),
    Request("POST", "/projects", FULL, {"id": 9, "name": "x", "client_id": 77}),
    Request("POST", "/users_tasks", HEADERS, {"user_id": 3, "task_id": 3}),
    Request(
        "POST",
        "/unique_names?on_conflict=name&select=name,rank",
        {"Prefer": "return=representation,resolution=merge-duplicates"},
        [{"name": "C", "rank": 1}],
    ),
    Request("PUT", "/compound?a=eq.1&b=eq.x", FULL, {"a": 1, "b": "x"}),
    Request("PATCH", "/items?id=lt.3&select=id,name", FULL, {"name": "changed"}),
    Request("DELETE", "/users_tasks?user_id=eq.1&select=tasks(name)", FULL),
    Request("POST", "/rpc/unnamed_json", {}, {"any": ["thing"]}),
    Request("POST", "/rpc/deallocates", {}, {}),
]


@pytest.fixture(scope="module", params=LATER)
def later(request: pytest.FixtureRequest) -> Iterator[Server]:
    """A server of PostgreSQL 17, and one of 18."""
    with running(programs_of(request.param)) as here:
        yield here


async def test_later_majors_answer_alike(server: Server, later: Server) -> None:
    majors = [int(each.value("SHOW server_version_num")) // 10000 for each in (server, later)]
    if majors[0] >= majors[1]:
        pytest.skip(f"all tests run on PostgreSQL {majors[0]} already")
    async with connected(server) as one, connected(later) as other:
        different = {
            (each.method, each.path): (before, after)
            for each in REQUESTS
            if (before := await answer(one, each)) != (after := await answer(other, each))
        }
    assert different == {}


async def answer(client: Client, request: Request) -> tuple[int, dict[str, str], str]:
    found = await client.request(
        request.method, request.path, headers=request.headers, json=request.body
    )
    return found.status_code, dict(found.headers), found.text
