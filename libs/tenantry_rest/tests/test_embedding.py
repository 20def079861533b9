"""Embedding: relationships, hints, spreads, and what applies to embeds."""

from typing import Any

import pytest
from rest_clients import Client

from tenantry_rest.errors import ApiError
from tenantry_rest.plan.embedding import find_relationship
from tenantry_rest.schema.model import Name, Relationship, Schema, Table
from tenantry_rest.schema.relationships import ForeignKey, ViewColumns, all_relationships


@pytest.mark.parametrize(
    ("path", "found"),
    [
        (
            "/projects?select=id,clients(name),tasks(id,users(name))&id=in.(1,5)",
            [
                {
                    "id": 1,
                    "clients": {"name": "Microsoft"},
                    "tasks": [
                        {"id": 1, "users": [{"name": "Angela"}]},
                        {"id": 2, "users": [{"name": "Angela"}]},
                    ],
                },
                {"id": 5, "clients": None, "tasks": []},
            ],
        ),
        (
            "/orders?select=b:addresses!billing(street),shipping(street),shipping_id(id)",
            [
                {
                    "b": {"street": "First"},
                    "shipping": {"street": "Second"},
                    "shipping_id": {"id": 2},
                }
            ],
        ),
        (
            "/web_content?select=name,web_content(name),parent(name)&id=eq.2",
            [{"name": "left", "web_content": [{"name": "leaf"}], "parent": {"name": "root"}}],
        ),
        ("/country?select=capital(name)&id=eq.1", [{"capital": {"name": "Kabul"}}]),
        (
            "/projects_of_view?select=project,clients(name)&project=eq.1",
            [{"project": 1, "clients": {"name": "Microsoft"}}],
        ),
        ("/clients?select=things(id)&id=eq.1", [{"things": [{"id": 7}]}]),
        (
            "/projects?select=computed_clients(name)&id=eq.1",
            [{"computed_clients": {"name": "Microsoft"}}],
        ),
        (
            "/clients?select=computed_projects(id)&id=eq.1",
            [{"computed_projects": [{"id": 1}, {"id": 2}]}],
        ),
        (
            "/projects?select=id,...clients(client:name)&id=in.(1,5)",
            [{"id": 1, "client": "Microsoft"}, {"id": 5, "client": None}],
        ),
        (
            "/clients?select=id,...projects(pids:id,name)&projects.order=id.desc",
            [
                {"id": 1, "pids": [2, 1], "name": ["Windows 10", "Windows 7"]},
                {"id": 2, "pids": [4, 3], "name": ["OSX", "IOS"]},
            ],
        ),
        (
            "/clients?select=client:id,...projects(project:id,...clients(*))"
            "&id=eq.1&projects.order=id",
            [{"client": 1, "project": [1, 2], "id": [1, 1], "name": ["Microsoft", "Microsoft"]}],
        ),
        (
            "/projects?select=id,clients!inner()&clients.name=eq.Apple&order=id",
            [{"id": 3}, {"id": 4}],
        ),
        ("/projects?select=id,clients()&clients=is.null", [{"id": 5}]),
        (
            "/projects?select=id,c:clients()&or=(c.is.null,id.eq.1)&order=id",
            [{"id": 1}, {"id": 5}],
        ),
        (
            "/clients?select=id,projects(id)&projects.order=id.desc&projects.limit=1",
            [{"id": 1, "projects": [{"id": 2}]}, {"id": 2, "projects": [{"id": 4}]}],
        ),
        (
            "/clients?select=id,projects(id)&projects.or=(id.eq.1,id.eq.4)",
            [{"id": 1, "projects": [{"id": 1}]}, {"id": 2, "projects": [{"id": 4}]}],
        ),
        (
            "/projects?select=id,clients(name)&order=clients(name).desc,id&limit=2",
            [{"id": 5, "clients": None}, {"id": 1, "clients": {"name": "Microsoft"}}],
        ),
    ],
)
async def test_embeds(api: Client, path: str, found: Any) -> None:
    answer = await api.get(path)
    assert answer.json() == found


async def test_counts_follow_inner_embeds(api: Client) -> None:
    path = "/projects?select=id,clients!inner()&clients.name=eq.Apple&limit=1"
    answer = await api.get(path, headers={"Prefer": "count=exact"})
    assert answer.headers["content-range"] == "0-0/2"


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/projects?select=client(name)", "PGRST200"),
        ("/orders?select=addresses(street)", "PGRST201"),
        ("/projects?select=id&clients.name=eq.x", "PGRST108"),
        ("/projects?select=c:clients(id)&d.name=eq.x", "PGRST108"),
        ("/clients?select=projects(id)&order=projects(id)", "PGRST118"),
        ("/projects?select=clients(id)&clients=eq.1", "PGRST120"),
    ],
)
async def test_what_cannot_be_embedded(api: Client, path: str, code: str) -> None:
    answer = await api.get(path)
    assert answer.json()["code"] == code
    assert answer.status_code == (300 if code == "PGRST201" else 400)
    assert answer.headers["proxy-status"] == f"PostgREST; error={code}"


async def test_ambiguous_embeds_are_described(api: Client) -> None:
    answer = await api.get("/orders?select=addresses(street)")
    assert answer.json() == {
        "code": "PGRST201",
        "details": [
            {
                "cardinality": "many-to-one",
                "embedding": "orders with addresses",
                "relationship": f"{name} using orders({name}_id) and addresses(id)",
            }
            for name in ("billing", "shipping")
        ],
        "hint": "Try changing 'addresses' to one of the following: 'addresses!billing', "
        "'addresses!shipping'. Find the desired relationship in the 'details' key.",
        "message": "Could not embed because more than one relationship was found for 'orders' "
        "and 'addresses'",
    }


async def test_misspelled_embeds_have_a_hint(api: Client) -> None:
    answer = await api.get("/projects?select=client(name)")
    assert answer.json()["hint"] == "Perhaps you meant 'clients' instead of 'client'."
    answer = await api.get("/projectz")
    assert (answer.status_code, answer.json()["code"]) == (404, "PGRST205")
    assert answer.json()["hint"] == "Perhaps you meant the table 'test.projects'"


def test_there_is_no_other_name_for_a_table_that_only_a_hidden_junction_relates() -> None:
    first, second, third = (Name("api", name) for name in ("end_1", "end_2", "end_3"))
    junction = Name("hidden", "junction")
    keys = [
        ForeignKey("one", junction, first, (("a", "id"),), False),
        ForeignKey("two", junction, second, (("b", "id"),), False),
        ForeignKey("three", third, third, (("above", "id"),), False),
    ]
    tables = {junction: Table(junction, None, False, True, True, True, ("a", "b"), {})}
    found = all_relationships(keys, ViewColumns(), tables, [], ["api"])
    for name, hint in (
        ("end_1", None),
        ("end_2", None),
        ("end_10", "Perhaps you meant 'end_1' instead of 'end_10'."),
    ):
        with pytest.raises(ApiError) as refused:
            find_relationship(Schema(relationships=found), "api", name, "end_9", None)
        assert refused.value.hint == hint
    shown = all_relationships(keys, ViewColumns(), tables, [], ["api", "hidden"])
    schema = Schema(relationships=shown)
    relationship = find_relationship(schema, "api", "end_1", "end_2", None)
    assert isinstance(relationship, Relationship)


async def test_names_may_still_be_those_of_the_table(api: Client, serve: Any) -> None:
    path = "/projects?select=id,c:clients!inner(id)&limit=1"
    answer = await api.get(f"{path}&clients.name=eq.Apple")
    assert answer.json() == [{"id": 3, "c": {"id": 2}}]
    warning = answer.headers["warning"]
    assert warning.startswith("299 PostgRESTv")
    assert "Update `clients` to `c` in query string filters, orders or limits." in warning
    answer = await api.get(f"{path}&c.name=eq.Apple")
    assert answer.json() == [{"id": 3, "c": {"id": 2}}]
    assert "warning" not in answer.headers
    strict = await serve(url_use_legacy_target_names="false")
    answer = await strict.get(f"{path}&clients.name=eq.Apple")
    assert (answer.status_code, answer.json()["code"]) == (400, "PGRST108")
    assert answer.json()["details"] == (
        "Target names are not allowed in filters if they have an alias"
    )
    assert answer.json()["hint"] == "Change 'clients' to 'c' in filters, orders or limits."
    answer = await strict.get(f"{path}&orders.name=eq.Apple")
    assert answer.json()["details"] is None
    assert answer.json()["hint"] == (
        "Verify that 'orders' is included in the 'select' query parameter."
    )


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("client_id=eq.2", [3, 4]),
        ("client_id=not.in.(2)", [1, 2]),
        ("or=(client_id.gt.1,id.eq.1)", [1, 3, 4]),
        ("client_id=is.not_null", [1, 2, 3, 4]),
        # Whether there is a row is asked of the embed, which the join has not found here.
        ("client_id.name=eq.Apple&client_id=is.null", [1, 2, 5]),
        ("client_id.name=eq.Apple&client_id=not.is.null", [3, 4]),
    ],
)
async def test_an_embed_does_not_hide_the_column_of_its_name(
    api: Client, query: str, found: list[int]
) -> None:
    answer = await api.get(f"/projects?select=id,client_id(name)&order=id&{query}")
    assert [row["id"] for row in answer.json()] == found
    answer = await api.get(
        f"/projects?select=id,client_id(name)&order=id&{query}", headers={"Prefer": "count=exact"}
    )
    assert answer.headers["content-range"] == f"0-{len(found) - 1}/{len(found)}"


async def test_aggregates_in_embeds(serve: Any) -> None:
    api = await serve(db_aggregates_enabled="true")
    answer = await api.get("/clients?select=id,projects(count())&order=id")
    assert answer.json()[0] == {"id": 1, "projects": [{"count": 2}]}
    answer = await api.get("/projects?select=id.count(),...clients(client:name)&client_id=eq.1")
    assert answer.json() == [{"count": 2, "client": "Microsoft"}]
    answer = await api.get("/clients?select=name,...projects(id.count())")
    assert (answer.status_code, answer.json()["code"]) == (400, "PGRST127")
