"""How large the pools of an application's replicas are advised to be."""

import json

import pytest
from cli_support import Cli
from hypothesis import given
from hypothesis import strategies as st

from tenantry.base.errors import InvalidInput
from tenantry.services.pooling.advice import advise

replicas = st.integers(1, 400)
servers = st.integers(1, 5000)
reserves = st.integers(0, 100)


@pytest.mark.parametrize(
    ("replicas", "size", "total"), [(1, 50, 50), (2, 25, 50), (3, 20, 60), (5, 10, 50)]
)
@pytest.mark.parametrize("max_connections", [100, 200, 300])
def test_the_usual_table(replicas: int, size: int, total: int, max_connections: int) -> None:
    advised = advise(replicas=replicas, max_connections=max_connections)
    assert (advised.pool_size, advised.total) == (size, total)


@pytest.mark.parametrize(
    ("replicas", "low", "high"), [(1, 50, 50), (2, 50, 50), (3, 20, 30), (5, 20, 30), (8, 10, 20)]
)
@pytest.mark.parametrize("max_connections", [200, 300])
def test_up_to_what_is_recommended_for_a_server_of_the_recommended_size(
    replicas: int, low: int, high: int, max_connections: int
) -> None:
    assert low <= advise(replicas=replicas, max_connections=max_connections).at_most <= high


@given(replicas, servers, reserves)
def test_the_reserve_stays_free_and_each_has_a_connection(
    replicas: int, max_connections: int, reserve: int
) -> None:
    if (max_connections - reserve) // replicas < 1:
        with pytest.raises(InvalidInput):
            advise(replicas=replicas, max_connections=max_connections, reserve=reserve)
        return
    advised = advise(replicas=replicas, max_connections=max_connections, reserve=reserve)
    assert 1 <= advised.pool_size <= advised.at_most
    assert max_connections - replicas * advised.at_most >= reserve


@given(replicas, servers)
def test_more_connections_never_make_a_smaller_pool_nor_more_replicas_a_larger_one(
    replicas: int, max_connections: int
) -> None:
    server = max_connections + replicas + 21
    here = advise(replicas=replicas, max_connections=server)
    larger = advise(replicas=replicas, max_connections=server + 1)
    more = advise(replicas=replicas + 1, max_connections=server)
    assert more.pool_size <= here.pool_size <= larger.pool_size
    assert more.at_most <= here.at_most <= larger.at_most


@pytest.fixture(name="cli")
def _cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    return Cli(monkeypatch, capsys)


def test_the_command_says_what_to_set(cli: Cli) -> None:
    done = cli("pool", "advise", "--replicas", "3", "--max-connections", "200")
    assert done.code == 0
    assert "DB_POOL_MAX=20" in done.out
    assert "60: 3 of 20" in done.out
    assert "at most 30 each" in done.out
    reported = json.loads(cli("pool", "advise", "--replicas", "3", "--json").out)
    assert reported == {
        "replicas": 3,
        "max_connections": 100,
        "reserve": 20,
        "pool_size": 20,
        "at_most": 20,
        "total": 60,
        "left": 40,
    }


def test_too_many_replicas_are_sent_to_the_pooler(cli: Cli) -> None:
    done = cli("pool", "advise", "--replicas", "90")
    assert done.code == 1
    assert "6432" in done.err
