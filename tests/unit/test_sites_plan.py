"""Sites without a server: their files, who may do what, and what there is room for."""

import ipaddress
import uuid
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from database_rows import plan_row, site_row
from tenantry.base.errors import Conflict, Forbidden, InvalidInput
from tenantry.base.home import Home
from tenantry.base.networks import Network
from tenantry.base.secrets import Secret
from tenantry.control.sites import Eviction, SiteRow, Taken
from tenantry.host.redis_engines import RedisVersion
from tenantry.services.sites import plan
from tenantry.services.sites.model import (
    Reach,
    Site,
    Wanted,
    digest,
    key_prefix,
    platform_password,
    socket_of,
)
from tenantry.services.sites.plan import Place

OLD, NEWER = RedisVersion("redis", (7, 0, 15)), RedisVersion("redis", (7, 2, 4))
NEWEST, VALKEY = RedisVersion("redis", (8, 0, 2)), RedisVersion("valkey", (8, 1, 1))
ROW = site_row(uuid.UUID("0b7c1a52-f3aa-4c8d-a021-3b0daf01c7d5"))
PLACE = Place(Path("/h/sites/x"), Path("/h/run/redis.sock"), Path("/h/server.pem"), Path("/h/log"))


@given(
    st.builds(
        lambda port, memory, clients, eviction, aof: replace(
            ROW,
            port=port,
            memory_mb=memory,
            max_clients=clients,
            eviction=eviction,
            persistence="aof" if aof else "none",
        ),
        st.integers(1, 65535),
        st.integers(8, 4096),
        st.integers(1, 10_000),
        st.sampled_from(get_args(Eviction)),
        st.booleans(),
    )
)
def test_the_configuration_says_each_thing_once(row: SiteRow) -> None:
    lines = [line for line in plan.render_config([row], PLACE).splitlines() if line[0] != "#"]
    said = dict(line.split(" ", 1) for line in lines)
    assert len(said) == len(lines)
    assert said["port"] == "0"  # nothing without TLS
    assert said["tls-port"] == str(row.port)
    assert said["maxmemory"] == str(row.memory_mb * 1024 * 1024)
    assert said["maxmemory-policy"] == row.eviction
    assert said["appendonly"] == ("yes" if row.persistence == "aof" else "no")
    assert said["bind"] == "* -::*"


@pytest.mark.parametrize("networks", [[], [ipaddress.ip_network("203.0.113.7/32")]])
def test_a_site_with_an_allowlist_begins_closed(networks: list[Network]) -> None:
    listed = replace(ROW, networks=networks)
    assert plan.parameters([listed])["bind"] == "127.0.0.1 -::1"
    closed, obeyed = Reach("this_machine", "why"), Reach("allowlist")
    url = Site.of(listed).redis_url("db.example.com", "p", closed)
    assert url == "rediss://site:p@localhost:6379/0"
    url = Site.of(listed).redis_url("db.example.com", "p", obeyed)
    assert url == "rediss://site:p@db.example.com:6379/0"
    url = Site.of(ROW).redis_url("2001:db8::1", "p", Reach("everywhere"))
    assert url == "rediss://site:p@[2001:db8::1]:6379/0"


def test_lists_are_of_sites_that_have_one() -> None:
    parts = [ipaddress.ip_network(f"203.0.113.{part}/25") for part in (0, 128)]
    rows = [ROW, replace(ROW, port=6380, networks=parts), replace(ROW, port=6381, networks=[])]
    assert plan.lists(rows) == {6380: (ipaddress.ip_network("203.0.113.0/24"),), 6381: ()}


CLIENTS = [
    {"id": "1", "addr": "/run/redis.sock:0", "laddr": "/run/redis.sock:0", "user": "platform"},
    {"id": "2", "addr": "127.0.0.1:5000", "laddr": "127.0.0.1:6379", "user": "site"},
    {"id": "3", "addr": "[::1]:5000", "laddr": "[::1]:6379", "user": "default"},
    {"id": "4", "addr": "198.51.100.1:5000", "laddr": "198.51.100.1:6379", "user": "site"},
    {"id": "5", "addr": "203.0.113.7:5000", "laddr": "198.51.100.1:6379", "user": "site"},
    {"id": "6", "addr": "203.0.113.8:5000", "laddr": "198.51.100.1:6379", "user": "default"},
    {"id": "7", "addr": "[2001:db8::7]:5000", "laddr": "[2001:db8::1]:6379", "user": "site"},
    {"id": "8", "addr": "[::ffff:203.0.113.7]:5000", "laddr": "[2001:db8::1]:6379", "user": "site"},
    {"id": "9", "addr": "?:0", "laddr": "?:0", "user": "site"},  # it has just gone
]


@pytest.mark.parametrize(
    ("networks", "is_open", "ended"),
    [
        (["203.0.113.7/32"], True, ["6", "7"]),
        (["203.0.113.0/24", "2001:db8::/32"], True, []),
        ([], True, ["5", "6", "7", "8"]),
        # It listens on loopback only: its own other address is none of those.
        (["203.0.113.7/32"], False, ["4", "5", "6", "7", "8"]),
    ],
)
def test_clients_that_a_list_does_not_admit_are_disconnected(
    networks: list[str], is_open: bool, ended: list[str]
) -> None:
    found = plan.foreign(CLIENTS, [*map(ipaddress.ip_network, networks)], is_open=is_open)
    assert found == ended


def test_users_have_digests_and_the_default_one_is_off() -> None:
    password = platform_password(b"k" * 32, ROW.id)
    text = plan.render_acl(plan.users([ROW], OLD, {}), digest(password))
    default, platform, tenant = text.splitlines()
    assert default == "user default reset off"
    assert platform == f"user platform reset on #{digest(password).hex()} ~* &* +@all"
    prefix = f"site:{ROW.id}:"
    assert tenant.startswith(f"user site reset on #{ROW.password_hash.hex()} ~{prefix}* ")
    assert f"resetchannels &{prefix}* -@all +@read" in tenant
    assert "theirs" not in text
    assert password.reveal() not in text
    assert key_prefix(ROW.id) == prefix


def test_rules_have_no_word_that_a_server_does_not_know() -> None:
    """One unknown word makes Redis refuse the whole user."""
    old, newer, newest, valkey = (
        plan.tenant_rules(ROW, each) for each in (OLD, NEWER, NEWEST, VALKEY)
    )
    assert not {"-waitaof", "+client|setinfo", "+vadd"} & set(old)
    assert set(newer) - set(old) == {"-waitaof", "+client|setinfo"} == set(valkey) - set(old)
    assert {"+vadd", "+vsim"} <= set(newest)


TINY = replace(ROW, isolation="shared", memory_mb=4, max_clients=20, port=6380)
OTHER = replace(TINY, id=uuid.UUID("1b7c1a52-f3aa-4c8d-a021-3b0daf01c7d5"), memory_mb=5)


def test_a_shared_process_has_what_its_sites_have_together() -> None:
    found = plan.parameters([TINY, OTHER])
    assert (found["maxmemory"], found["maxclients"]) == (str(9 * 1024 * 1024), "41")
    assert found["proto-max-bulk-len"] == str(5 * 1024 * 1024)
    assert "tls-port 6380\n" in plan.render_config([TINY, OTHER], PLACE)


def test_each_site_of_a_shared_process_has_users_for_its_keys_only() -> None:
    hashes = {each.id: digest(Secret(str(each.id))) for each in (TINY, OTHER)}
    found = plan.users([TINY, OTHER], NEWEST, hashes)
    assert list(found) == [
        f"site-{TINY.id}",
        f"site-{OTHER.id}",
        f"cache-{TINY.id}",
        f"cache-{OTHER.id}",
    ]
    # Beside its name and port, what a program sees is that of a process of its own.
    alone = plan.users([replace(TINY, isolation="dedicated")], NEWEST, {})
    assert found[f"site-{TINY.id}"] == alone["site"]
    for site in (TINY, OTHER):
        rules = found[f"cache-{site.id}"]
        keys = [each for each in rules if each[0] == "~"]
        assert keys == [f"~site:{site.id}:*", f"~cache:{site.id}:*"]
        assert {"reset", f"#{hashes[site.id].hex()}", "-@dangerous", "-@admin"} <= set(rules)
    url = Site.of(TINY).redis_url("db.example.com", "p", Reach("everywhere"))
    assert url == f"rediss://site-{TINY.id}:p@db.example.com:6380/0"


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"networks": [ipaddress.ip_network("203.0.113.7/32")]}, "one port for all its sites"),
        ({"networks": []}, "networks: the shared Redis"),
        ({"eviction": "noeviction"}, "eviction: all sites of the shared Redis"),
        ({"persistence": "aof"}, "persistence: all sites of the shared Redis"),
    ],
)
def test_what_a_shared_redis_cannot_do_is_refused_with_the_reason(
    changes: dict[str, Any], why: str
) -> None:
    with pytest.raises(InvalidInput, match=why):
        plan.require_possible(replace(TINY, **changes))
    plan.require_possible(replace(ROW, **changes))
    plan.require_possible(TINY)
    with pytest.raises(InvalidInput, match="memory_mb: is at least 8"):
        plan.require_possible(replace(ROW, memory_mb=7))


def test_each_site_has_its_own_platform_password() -> None:
    one, other = platform_password(b"k" * 32, ROW.id), platform_password(b"k" * 32, uuid.uuid4())
    assert one == platform_password(b"k" * 32, ROW.id) != other
    assert platform_password(b"l" * 32, ROW.id) != one


def test_sockets_fit_into_the_longest_home() -> None:
    assert len(str(socket_of(Home(Path("/" + "h" * 69)), 65535))) <= 107


def test_what_does_not_fit_is_refused_with_the_figures() -> None:
    taken = Taken(3, 400, 9_950, [6379], None)
    plan.require_room(taken, 9, 50, budget=409)
    with pytest.raises(Conflict, match="have 400 of 409 MiB already, and 10 more do not fit"):
        plan.require_room(taken, 10, 1, budget=409)
    with pytest.raises(Conflict, match="9,950 of 10,000 connections"):
        plan.require_room(taken, 1, 51, budget=409)
    plan.require_room(replace(taken, memory_mb=500), -8, 0, budget=409)  # a smaller one


def test_the_budget_is_a_part_of_the_memory_unless_it_is_set() -> None:
    gib = 1024**3
    assert plan.budget_mb(gib, None) == 409
    assert plan.budget_mb(64 * gib, None) == 4096
    assert plan.budget_mb(gib, 100) == 100


@given(st.integers(1, 65_000), st.sets(st.integers(1, 65_535), max_size=30))
def test_a_port_is_the_next_free_one(first: int, taken: set[int]) -> None:
    busy = {port + 1 for port in taken}
    found = plan.next_port(first, taken, lambda port: port not in busy)
    assert found >= first
    assert found not in taken | busy
    assert all(port in taken | busy for port in range(first, found))


def wanted(**changes: Any) -> Wanted:
    like = {name: getattr(ROW, name) for name in Wanted.__annotations__}
    return Wanted(**{**like, "memory_mb": None, "max_clients": None, **changes})


def test_a_site_without_a_size_has_the_plans() -> None:
    plan_ = plan_row(site_memory_mb=64, site_max_clients=10)
    assert plan.sizes(wanted(), plan_) == (64, 10)
    assert plan.sizes(wanted(memory_mb=8, max_clients=5), plan_) == (8, 5)
    assert plan.sizes(wanted(isolation="shared"), plan_) == (4, 10)
    for nothing in (None, plan_row()):
        assert plan.sizes(wanted(), nothing) == (32, 100)
        assert plan.sizes(wanted(isolation="shared"), nothing) == (4, 20)


def test_a_customers_site_is_as_large_as_its_plan_grants_or_as_it_was() -> None:
    plan_ = plan_row(site_memory_mb=16, site_max_clients=100)
    with pytest.raises(Forbidden, match="memory_mb above what the plan small grants: 16"):
        plan.require_granted(plan_, ROW)
    plan.require_granted(plan_, replace(ROW, memory_mb=16))
    plan.require_granted(plan_, replace(ROW, memory_mb=24), had=ROW)  # a smaller one
    with pytest.raises(Forbidden, match="max_clients above what the plan small grants: 100"):
        plan.require_granted(plan_, replace(ROW, max_clients=101), had=ROW)
    plan.require_granted(plan_row(), replace(ROW, memory_mb=4096, max_clients=10_000))


def test_a_customer_has_as_many_sites_as_its_plan_or_the_settings_grant() -> None:
    plan.require_another(plan_row(max_sites=2), 1, otherwise=1)
    with pytest.raises(Conflict, match="A customer with the plan small may have 2 sites"):
        plan.require_another(plan_row(max_sites=2), 2, otherwise=10)
    plan.require_another(plan_row(), 9, otherwise=10)
    with pytest.raises(Conflict, match="A customer may have 10 sites") as refused:
        plan.require_another(plan_row(), 10, otherwise=10)
    assert "TENANTRY_CUSTOMER_SITES" in (refused.value.hint or "")


def test_no_port_is_left() -> None:
    with pytest.raises(Conflict, match="No port from 65535 on is free"):
        plan.next_port(65_535, (), lambda _: False)


@pytest.mark.parametrize(
    ("said", "version"),
    [
        ("Redis server v=7.0.15 sha=00000000:0 malloc=jemalloc-5.3.0", (7, 0, 15)),
        ("7.2.4+dfsg1-3ubuntu1", (7, 2, 4)),
        ("8.0-1", (8, 0, 0)),
        ("unknown", (0, 0, 0)),
    ],
)
def test_versions_are_read(said: str, version: tuple[int, ...]) -> None:
    assert RedisVersion.read("redis", said).version == version


def test_the_server_with_vector_sets_is_preferred() -> None:
    assert max((OLD, NEWER, VALKEY), key=lambda each: each.rank) == VALKEY
    assert max((VALKEY, NEWEST), key=lambda each: each.rank) == NEWEST
    assert str(NEWEST) == "Redis 8.0.2"
