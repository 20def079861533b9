"""How the pooler's server connections are shared out, and its files."""

import configparser
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tenantry.control.attributes import PoolMode
from tenantry.control.pools import PoolLimits
from tenantry.pg.connections import POOLER, Address
from tenantry.services.pooling import plan
from tenantry.services.pooling.plan import (
    IGNORED,
    POOL_SIZE,
    SMALLEST_FULL_LIMIT,
    TRACKED,
    PoolerConfig,
)

usernames = st.from_regex(r"user_[a-z0-9]{12}", fullmatch=True)
limits = st.integers(1, 500)
held = st.integers(0, POOL_SIZE)
pools = st.tuples(usernames, usernames)

CLUSTERS = ("shared-2", "ssd", "a-b")
clusters = st.sampled_from(CLUSTERS)

CONFIG = PoolerConfig(
    folder=Path("/home/pooler"),
    socket_dir=Path("/home/run/pooler"),
    log_file=Path("/home/logs/pgbouncer.log"),
    pid_file=Path("/home/run/pgbouncer.pid"),
    port=6432,
    backend=Address(Path("/home/run/shared-1"), 5432),
    certificate=Path("/home/tls/server.pem"),
    max_clients=10_000,
    packet_bytes=64 * 1024 * 1024,
)


def test_growth_is_shared_out_by_what_came_meanwhile() -> None:
    caused = plan.share_out_growth({}, before=100, now=200, received={"a": 30, "b": 10, "c": 0})
    assert caused == {"a": 75, "b": 25}
    caused = plan.share_out_growth(caused, before=200, now=260, received={"b": 5})
    assert caused == {"a": 75, "b": 85}
    assert plan.share_out_growth(caused, before=260, now=130, received={"c": 9}) == {
        "a": 37,
        "b": 42,
    }


def test_growth_that_nothing_came_with_is_nobodys() -> None:
    assert plan.share_out_growth({"a": 1}, before=100, now=200, received={"a": 0}) == {"a": 1}


def test_a_login_has_less_time_where_many_or_large_ones_are_unfinished() -> None:
    assert plan.login_seconds(10, held=0) == plan.LOGIN_SECONDS
    assert plan.login_seconds(501, held=0) == 2
    assert plan.login_seconds(3001, held=0) == 1
    assert plan.login_seconds(1, held=59 * 1024 * 1024) == 1


@given(limits)
def test_a_pool_leaves_room_for_direct_connections(limit: int) -> None:
    size = plan.pool_size(limit)
    assert 1 <= size <= POOL_SIZE
    assert size < limit or limit == 1


@given(limits, limits)
def test_a_pool_is_never_larger_than_was_asked_for(limit: int, wanted: int) -> None:
    assert plan.pool_size(limit, wanted) == min(wanted, plan.pool_size(limit))


@given(limits, limits)
def test_a_larger_limit_never_means_a_smaller_pool(one: int, other: int) -> None:
    small, large = sorted((one, other))
    assert plan.pool_size(small) <= plan.pool_size(large)


@given(st.integers(1, 1000), st.dictionaries(pools, held, max_size=100), st.data())
def test_all_pools_together_stay_within_the_budget(
    budget: int, held: dict[plan.Pool, int], data: st.DataObject
) -> None:
    some = st.sampled_from(sorted({role for _, role in held})) if held else usernames
    reserves = data.draw(st.dictionaries(some, st.integers(1, POOL_SIZE), max_size=10))
    beyond = plan.allowances(budget=budget, held=held, reserves=reserves)
    assert sum(beyond.values()) <= budget // 5
    assert all(0 < each <= reserves[role] for (_, role), each in beyond.items())
    size = plan.fair_pool_size(budget=budget, held=held, beyond=beyond)
    assert 1 <= size <= POOL_SIZE

    def together(size: int) -> int:
        return sum(
            max(min(POOL_SIZE, size + beyond.get(pool, 0)), each) for pool, each in held.items()
        )

    if size > 1:
        assert together(size) <= budget
    if size < POOL_SIZE:
        assert together(size + 1) > budget, "more would have fitted"


def test_a_reserve_is_had_beyond_the_share_and_within_a_fifth_of_the_budget() -> None:
    held = {("a", "busy"): 9, ("b", "plain"): 9, ("c", "plain"): 6}
    beyond = plan.allowances(budget=24, held=held, reserves={"busy": 3, "gone": 20})
    assert beyond == {("a", "busy"): 3}
    assert plan.overfull(budget=24, held=held, beyond=beyond) == {("b", "plain")}
    both = plan.allowances(budget=24, held=held, reserves={"busy": 20, "plain": 5})
    assert both == {("a", "busy"): 2}
    assert plan.fair_pool_size(budget=24, held=dict.fromkeys(held, 0), beyond=beyond) == 7
    assert plan.allowances(budget=3, held=held, reserves={"busy": 3}) == {}


@given(st.integers(1, 1000), st.dictionaries(pools, held, max_size=100))
def test_who_must_give_back_holds_more_than_an_equal_share(
    budget: int, held: dict[plan.Pool, int]
) -> None:
    reported = plan.overfull(budget=budget, held=held)
    kept = {name: each for name, each in held.items() if name not in reported}
    if held:
        share = max(1, budget // len(held))
        assert all(held[name] > share for name in reported)
        assert all(each <= share for each in kept.values())
    if sum(held.values()) > max(budget, len(held)):
        assert reported, "somebody holds too many"


modes: st.SearchStrategy[PoolMode] = st.sampled_from(("transaction", "session"))


@given(
    st.dictionaries(
        usernames,
        st.tuples(limits, st.integers(1, POOL_SIZE), st.integers(0, 2), modes, st.booleans()),
        max_size=20,
    ),
    st.booleans(),
)
def test_only_pools_that_are_or_were_unusual_have_a_line(
    limits: dict[str, tuple[int, int, int, PoolMode, bool]], has_reserves: bool
) -> None:
    pools = [PoolLimits(name, *each[:4]) for name, each in limits.items()]
    listed = {name for name, each in limits.items() if each[4]}
    text = plan.render_users(pools, listed=listed, reserves=has_reserves)
    parser = configparser.ConfigParser(delimiters=(" = ",))
    parser.read_string(text)
    assert dict(parser["users"]) == {
        name: f"max_user_connections={plan.pool_size(most, pooled)} pool_mode={mode}"
        + (f" reserve_pool_size={reserve}" if has_reserves else "")
        for name, (most, pooled, reserve, mode, before) in limits.items()
        if before
        or most < SMALLEST_FULL_LIMIT
        or pooled < POOL_SIZE
        or (has_reserves and reserve)
        or mode == "session"
    }
    assert plan.listed_users(text) == set(parser["users"])
    assert plan.listed_reserves(text) == {
        name: each[2] for name, each in limits.items() if has_reserves and each[2]
    }


@given(
    st.permutations(
        [
            PoolLimits("user_b", 5, 25, 0, "transaction"),
            PoolLimits("user_a", 20, 25, 0, "session"),
            PoolLimits("user_c", 31, 25, 0, "transaction"),
            PoolLimits("user_d", 32, 25, 0, "transaction"),
            PoolLimits("user_e", 50, 7, 0, "transaction"),
            PoolLimits("user_f", 50, 25, 0, "session"),
            PoolLimits("user_g", 50, 25, 5, "transaction"),
        ]
    )
)
def test_the_same_limits_are_the_same_file(limits: list[PoolLimits]) -> None:
    assert plan.render_users(limits) == (
        "; Written by Tenantry.\n[users]\n"
        "user_a = max_user_connections=16 pool_mode=session reserve_pool_size=0\n"
        "user_b = max_user_connections=4 pool_mode=transaction reserve_pool_size=0\n"
        "user_c = max_user_connections=24 pool_mode=transaction reserve_pool_size=0\n"
        "user_e = max_user_connections=7 pool_mode=transaction reserve_pool_size=0\n"
        "user_f = max_user_connections=25 pool_mode=session reserve_pool_size=0\n"
        "user_g = max_user_connections=25 pool_mode=transaction reserve_pool_size=5\n"
    )


def test_the_config_asks_for_tls_and_rules_and_has_an_entry_for_every_name() -> None:
    text = plan.render_config(CONFIG)
    parser = configparser.ConfigParser(interpolation=None, delimiters=(" = ",))
    body, *includes = text.split("%include ")
    assert includes == ["/home/pooler/databases.ini\n", "/home/pooler/users.ini\n"]
    parser.read_string(body)
    assert list(parser["databases"]) == ["*"]
    assert f"auth_user={POOLER}" in parser["databases"]["*"]
    settings = parser["pgbouncer"]
    assert settings["auth_type"] == "hba"
    assert settings["client_tls_sslmode"] == "require"
    assert settings["pool_mode"] == "transaction"
    assert "admin_users" not in settings


@given(st.dictionaries(st.from_regex(r"tenant_[a-z0-9]{12}", fullmatch=True), clusters))
def test_a_database_of_another_cluster_has_a_line(placed: dict[str, str]) -> None:
    addresses = {name: Address(Path(f"/home/run/{name}"), 5500) for name in CLUSTERS}
    text = plan.render_databases(addresses, placed | {"tenant_gone": "shared-7"})
    parser = configparser.ConfigParser(interpolation=None, delimiters=(" = ",))
    parser.read_string(text)
    lines = dict(parser["databases"])
    assert plan.placed(text) == placed
    for name, cluster in placed.items():
        assert f"host=/home/run/{cluster} port=5500 auth_user={POOLER} " in lines[name]
        auth = lines[name].rpartition("auth_dbname=")[2]
        assert lines[auth] == f"host=/home/run/{cluster} port=5500 dbname=tenantry_auth"
        assert plan.is_platforms(auth)
        assert not plan.is_platforms(name)


def test_databases_are_read_once_whatever_the_number_of_clusters() -> None:
    class Counted(dict[str, str]):
        reads = 0

        def items(self) -> Any:
            self.reads += 1
            return super().items()

    names = [f"shared-{number}" for number in range(2, 52)]
    placed = Counted({f"tenant_{number:012}": names[number % 50] for number in range(200)})
    addresses = {name: Address(Path(f"/home/run/{name}"), 5500) for name in names}
    text = plan.render_databases(addresses, placed)
    assert placed.reads == 1
    assert text.count(f"auth_user={POOLER} ") == len(placed)


def test_no_parameter_that_matters_is_ignored_or_reaches_the_lookup() -> None:
    """With ``options`` among the ignored ones, PgBouncer would ignore all that come in it."""
    assert not {"options", "search_path", "role", "statement_timeout"} & {*IGNORED, *TRACKED}
    text = plan.render_config(CONFIG)
    assert f"\nignore_startup_parameters = {', '.join(IGNORED)}, client-" in text
    assert ", extra-float-digits, " in text
    assert ", JIT, " in text
    assert ", EXTRA-FLOAT-DIGITS, " in text
    assert f"\ntrack_extra_parameters = {', '.join(TRACKED)}\n" in text
