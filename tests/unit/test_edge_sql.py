"""SQL at the edge: which instances it leads to, whom it admits, and whose sessions end."""

import datetime as dt
import ipaddress
import json
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenantry.base.errors import MachineError
from tenantry.base.home import Home
from tenantry.base.settings import Settings
from tenantry.control.whitelist import Admission, OnInstance
from tenantry.pg import names
from tenantry.pg.catalog import Session
from tenantry.services.clusters import sql_routes
from tenantry.services.clusters.members import Member
from tenantry.services.clusters.sql_routes import LINGER_SECONDS, SqlRoute
from tenantry.services.edge import sql_plan
from tenantry.services.edge.sql import SqlEdge
from tenantry.services.network import plan
from tenantry.services.network.plan import EDGE, Rulebook

DOMAIN = "db.example.com"
OFFICE, HOME, ALL_V6 = "192.0.2.0/24", "203.0.113.9/32", "::/0"


def member(name: str, **differing: Any) -> Member:
    fields = {"driver": "process", "port": 5500, "kind": "dedicated", "container_name": name}
    return Member(name=name, **fields | differing)


def listing(lists: dict[str, list[str]], *, on: str = "shop") -> Rulebook:
    """The lists of roles, all on one cluster; an empty one has expired."""
    return plan.compile_lists(
        [
            Admission(role, on, ipaddress.ip_network(each) if each else None)
            for role, networks in lists.items()
            for each in networks or [""]
        ]
    )


def networks(lists: dict[str, list[str]], **more: str) -> list[tuple[str, ...] | None]:
    """What the ways to an instance with these lists admit; none without a way."""
    return [each.networks for each in sql_plan.wanted([member("shop")], listing(lists, **more), "")]


V4 = st.builds(
    lambda address, bits: ipaddress.ip_network((address, bits), strict=False),
    st.integers(0, 15).map(ipaddress.IPv4Address),
    st.integers(28, 32),
)
LISTS = st.lists(st.lists(V4, max_size=4), min_size=1, max_size=4)


@given(LISTS, st.integers(0, 15).map(ipaddress.IPv4Address))
def test_a_way_admits_exactly_whom_every_database_of_the_instance_admits(
    lists: list[list[ipaddress.IPv4Network]], address: ipaddress.IPv4Address
) -> None:
    by_role = {f"user_{n}": [str(each) for each in found] for n, found in enumerate(lists)}
    by_name = [each for way in networks(by_role) for each in way or ("0.0.0.0/0",)]
    admitted = any(address in ipaddress.ip_network(each) for each in by_name)
    assert admitted is all(any(address in each for each in found) for found in lists)


def test_an_instance_without_a_list_is_reached_from_everywhere() -> None:
    assert networks({}) == [None]
    assert networks({"user_a": [HOME, OFFICE], "user_b": [OFFICE, HOME]}) == [(OFFICE, HOME)]
    assert networks({"user_a": [ALL_V6]}) == [(ALL_V6,)]
    assert networks({"user_a": [OFFICE]}, on="other") == [None]


def test_no_host_leads_past_one_list_by_another() -> None:
    assert networks({"user_a": [OFFICE, HOME], "user_b": ["192.0.2.7/32", ALL_V6]}) == [
        ("192.0.2.7/32",)
    ]
    assert networks({"user_a": [OFFICE], "user_b": [HOME]}) == []
    assert networks({"user_a": [OFFICE], "user_b": []}) == []
    assert networks({"user_a": []}) == []


def test_the_login_of_a_data_api_decides_nothing_and_is_admitted_from_nowhere() -> None:
    login = names.authenticator("user_abcdefghjkmn")
    assert networks({login: []}) == [None]
    assert networks({login: [], "user_abcdefghjkmn": [OFFICE]}) == [(OFFICE,)]
    own = listing({login: [], "user_abcdefghjkmn": [OFFICE]}).through_edge()
    assert own.networks == {
        login: set(),
        "user_abcdefghjkmn": {EDGE, ipaddress.ip_network(OFFICE)},
    }


def test_roles_that_a_tenant_creates_pass_the_edge_by_the_list_of_the_database() -> None:
    role, (instance, _) = "user_abcdefghjkmn", names.instances_of("tenant_abcdefghjkmn")
    admissions = [Admission(role, instance, ipaddress.ip_network(OFFICE))]
    lists = plan.compile_lists(admissions, [OnInstance(instance, "tenant_abcdefghjkmn", role)])
    assert not lists.is_foreign("created", "192.0.2.7", instance)
    assert lists.is_foreign("created", "127.0.0.1", instance)
    own = lists.on(instance).through_edge()
    assert not own.is_foreign("created", "127.0.0.1", instance)
    assert own.is_foreign("created", "203.0.113.9", instance)


@pytest.mark.parametrize(
    "other",
    [
        {"kind": "shared"},  # whose databases have a list each
        {"driver": "docker"},
        {"auto_suspend_seconds": 300, "auto_suspend_direct": "wake"},
    ],
)
def test_only_servers_that_see_the_edge_as_it_is_are_led_to(other: dict[str, Any]) -> None:
    found = [member("shop", **other), member("crm", port=5501, wanted="stopped")]
    assert sql_plan.wanted(found, listing({}), DOMAIN) == [
        SqlRoute(cluster="crm", host="crm.db.example.com", port=5501)
    ]


@pytest.mark.parametrize(
    ("before", "after", "kept"),
    [
        (None, None, True),
        (None, (OFFICE,), False),
        ((OFFICE,), None, True),
        ((OFFICE,), (OFFICE, HOME), True),
        (("192.0.2.7/32",), (OFFICE,), True),
        ((OFFICE, HOME), (OFFICE,), False),
        ((OFFICE,), ("192.0.2.0/25",), False),
        ((OFFICE,), (ALL_V6,), False),
    ],
)
def test_sessions_of_before_are_looked_at_once_fewer_are_admitted(
    before: tuple[str, ...] | None, after: tuple[str, ...] | None, *, kept: bool
) -> None:
    old = SqlRoute(cluster="shop", host="h", port=1, networks=before, since=7.0)
    new = SqlRoute(cluster="shop", host="h", port=1, networks=after)
    (found,) = sql_plan.following([new], {"shop": old})
    assert found.since == (7.0 if kept else None)
    (unknown,) = sql_plan.following([new], {})
    assert unknown.since is None


def test_a_session_counts_from_when_the_list_was_in_force() -> None:
    route = SqlRoute(cluster="shop", host="h", port=1, networks=(OFFICE,), since=100.0)
    settled = 100.0 + LINGER_SECONDS
    assert not route.has_admitted(99.0, 100.0)
    assert route.has_admitted(100.5, settled - 1)
    # The edge may have accepted it before the change.
    assert not route.has_admitted(100.5, settled)
    assert route.has_admitted(settled, settled + 1)
    assert route.model_copy(update={"since": None}).has_admitted(0.0, 1.0)


# ── the endpoint ─────────────────────────────────────────────────────────────


class StandIn:
    """An edge without a process: ``ports`` are those of its connections to an instance."""

    def __init__(self, home: Home) -> None:
        self.home = home
        self.seen: list[list[Any]] = []
        self.refuses = False
        self.ports: set[int] = set()
        self.addresses: set[str] = set()

    async def keep(self) -> None:
        self.seen.append(json.loads((self.home.edge / "sql.json").read_text()))
        if self.refuses:
            raise MachineError("It does not.")

    def connections_to(self, _: int) -> set[int]:
        return self.ports

    def clients(self, _: int) -> set[str]:
        return self.addresses


class OfInstances:
    """A fleet of instances."""

    def __init__(self, *found: Member) -> None:
        self.found = found

    def members(self) -> list[Member]:
        return [*self.found]


@pytest.fixture
def home() -> Iterator[Home]:
    with tempfile.TemporaryDirectory(prefix="tnt-") as place:
        yield Home(Path(place))


@pytest.fixture
def edge(home: Home) -> StandIn:
    return StandIn(home)


@pytest.fixture
def sql(home: Home, edge: StandIn) -> SqlEdge:
    here = Settings(home=home.root, domain="example.com", edge=True, edge_sql=True, pg_port=5433)
    return SqlEdge(here, edge, OfInstances(member("shop")))  # type: ignore[arg-type]


async def test_a_list_is_noted_once_it_is_in_force(home: Home, edge: StandIn, sql: SqlEdge) -> None:
    began = time.time()
    await sql.apply(listing({"user_a": [OFFICE]}), unread=False)
    ((written,),) = edge.seen
    assert written == {
        "cluster": "shop",
        "host": "shop.db.example.com",
        "port": 5500,
        "networks": [OFFICE],
        "since": None,
    }
    (route,) = sql_routes.read(home)
    assert route.since is not None
    assert began <= route.since <= time.time()
    assert sql.has_way_to("shop")
    assert not sql.has_way_to("crm")
    # Nothing has changed: whether the edge answers is in nobody's way.
    edge.refuses = True
    await sql.apply(listing({"user_a": [OFFICE]}), unread=True)
    assert len(edge.seen) == 1
    assert sql_routes.read(home) == (route,)


async def test_a_list_that_the_edge_does_not_take_is_put_back(
    home: Home, edge: StandIn, sql: SqlEdge
) -> None:
    await sql.apply(listing({"user_a": [OFFICE]}), unread=False)
    before, edge.refuses = sql_routes.read(home), True
    with pytest.raises(MachineError):
        await sql.apply(listing({"user_a": [HOME]}), unread=False)
    assert sql_routes.read(home) == before


async def test_a_change_that_was_killed_is_completed(
    home: Home, edge: StandIn, sql: SqlEdge
) -> None:
    route = SqlRoute(cluster="shop", host="shop.db.example.com", port=5500, networks=(OFFICE,))
    sql_routes.write(home, [route])
    await sql.apply(listing({"user_a": [OFFICE]}), unread=False)
    assert len(edge.seen) == 1
    (found,) = sql_routes.read(home)
    assert found.since is not None


async def test_sessions_of_before_a_list_are_looked_for_until_nobody_can_have_one(
    home: Home, edge: StandIn, sql: SqlEdge
) -> None:
    async def since(ago: float, clients: set[str]) -> float | None:
        edge.addresses = clients
        began = time.time() - ago
        route = SqlRoute(cluster="shop", host="shop.db.example.com", port=5500)
        sql_routes.write(home, [route.model_copy(update={"networks": (OFFICE,), "since": began})])
        await sql.apply(listing({"user_a": [OFFICE]}), unread=False)
        (found,) = sql_routes.read(home)
        return None if found.since == began else found.since

    assert await since(LINGER_SECONDS + 1, {"192.0.2.8"}) == 0.0
    assert await since(LINGER_SECONDS + 1, {"192.0.2.8", "198.51.100.4"}) is None
    assert await since(LINGER_SECONDS - 5, {"192.0.2.8"}) is None


async def test_a_damaged_file_admits_nobody_and_is_written_again(
    home: Home, edge: StandIn, sql: SqlEdge
) -> None:
    await sql.apply(listing({"user_a": [OFFICE]}), unread=False)
    (home.edge / "sql.json").write_text("half a fi")
    assert not sql.has_way_to("shop")
    await sql.apply(listing({"user_a": [OFFICE]}), unread=False)
    assert sql.has_way_to("shop")
    assert len(edge.seen) == 2


def session(port: int, address: str = "127.0.0.1", ago: float = 3600) -> Session:
    began = dt.datetime.now(dt.UTC) - dt.timedelta(seconds=ago)
    return Session(port, began, "user_a", address, port)


async def test_whose_sessions_end(home: Home, edge: StandIn, sql: SqlEdge) -> None:
    lists = listing({"user_a": [OFFICE, "127.0.0.1/32"]})
    await sql.apply(lists, unread=False)
    edge.ports, edge.addresses = {1, 2, 3}, {"192.0.2.8", "198.51.100.4"}
    there = [
        session(1),  # by the edge, of before the list
        session(2, ago=-1),  # by the edge, of after it
        session(8),  # a program of this machine, which is listed
        session(9, "198.51.100.5"),
    ]

    def foreign() -> list[int]:
        found = sql.judged("shop", 5500, there)
        return [
            each.port for each in found if lists.is_foreign(each.username, each.address, "shop")
        ]

    assert foreign() == [9, 1]
    edge.addresses = {"192.0.2.8", "127.0.0.1"}  # nobody from elsewhere is at the edge
    assert foreign() == [9]
    # An instance that the edge does not lead to any more has no session from there.
    sql_routes.write(home, [])
    assert foreign() == [9, 1, 2]
    # A local program is none of the edge's, whatever port that has.
    edge.ports = set()
    assert foreign() == [9]
    everywhere = listing({"user_a": ["0.0.0.0/0"]})
    edge.ports = {1}
    (found,) = sql.judged("shop", 5500, [session(1)])
    assert not everywhere.is_foreign(found.username, found.address, "shop")
