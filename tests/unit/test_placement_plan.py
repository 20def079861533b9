"""On which cluster a new database is placed, and why."""

import datetime as dt
import uuid
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenantry.base.errors import InvalidInput, Unavailable
from tenantry.control.clusters import LoadedCluster
from tenantry.services.clusters.plan import place


def cluster(number: int, **differing: Any) -> LoadedCluster:
    """An empty shared cluster, but for what differs."""
    usual: dict[str, Any] = {
        "id": uuid.UUID(int=number),
        "name": f"shared-{number}",
        "kind": "shared",
        "driver": "process",
        "version": 15,
        "socket_dir": "/nowhere",
        "port": 5432,
        "max_databases": 2000,
        "created_at": dt.datetime(2026, 12, 1, tzinfo=dt.UTC),
        "full_backup_since": None,
        "ready": True,
        "wanted": "running",
        "cpus": None,
        "memory_mb": None,
        "container_name": None,
        "auto_suspend_seconds": None,
        "auto_suspend_direct": None,
        "databases": 0,
        "placed": 0,
        "allotted": 0,
        "used_bytes": 0,
    }
    return LoadedCluster(**(usual | differing))


@pytest.mark.parametrize(
    ("clusters", "chosen"),
    [
        ([cluster(1, allotted=50), cluster(2, allotted=49)], 2),
        ([cluster(1, allotted=50, used_bytes=2), cluster(2, allotted=50, used_bytes=1)], 2),
        ([cluster(1), cluster(2)], 1),  # of equals the oldest
        ([cluster(1, placed=2000), cluster(2, placed=1999, allotted=99_950)], 2),
        ([cluster(1, kind="dedicated"), cluster(2, ready=False), cluster(3, allotted=9)], 3),
        ([cluster(1, kind="control"), cluster(2, wanted="stopped"), cluster(3, allotted=9)], 3),
    ],
)
def test_it_is_the_one_that_has_given_away_least(
    clusters: list[LoadedCluster], chosen: int
) -> None:
    assert place(clusters).cluster.id == uuid.UUID(int=chosen)


def test_databases_of_one_customer_are_spread() -> None:
    clusters = [cluster(1, allotted=10), cluster(2, allotted=20), cluster(3, allotted=30)]
    owned: dict[uuid.UUID, int] = {}
    chosen = []
    for _ in range(4):
        found = place(clusters, of_customer=owned).cluster
        owned[found.id] = owned.get(found.id, 0) + 1
        chosen.append(found.id.int)
    assert chosen == [1, 2, 3, 1]


def test_the_reason_is_what_was_compared() -> None:
    clusters = [
        cluster(1, allotted=1_200, used_bytes=3 * 2**30),
        cluster(2, allotted=50, used_bytes=2**29),
        cluster(3, placed=2000),
    ]
    assert place(clusters).reason == (
        "shared-2: 50 connections given away, 0.5 GiB; shared-1: 1,200 connections given away,"
        " 3.0 GiB; 1 full."
    )
    owned = {uuid.UUID(int=2): 3}
    assert place(clusters, of_customer=owned).reason == (
        "shared-1: 0 databases of the customer, 1,200 connections given away, 3.0 GiB;"
        " shared-2: 3 databases of the customer, 50 connections given away, 0.5 GiB; 1 full."
    )
    many = [cluster(number, allotted=number) for number in range(1, 6)]
    assert place(many).reason.endswith("; 2 others with more.")
    assert place(clusters, name="shared-1").reason == "shared-1 was asked for."


def test_one_that_is_named_has_to_be_a_shared_one_with_room() -> None:
    clusters = [cluster(1), cluster(2, placed=2000), cluster(3, kind="dedicated", name="db-x")]
    assert place(clusters, name="shared-1").cluster.name == "shared-1"
    with pytest.raises(Unavailable, match=r"^shared-2 has no room for another database"):
        place(clusters, name="shared-2")
    with pytest.raises(InvalidInput, match="there are shared-1, shared-2"):
        place(clusters, name="db-x")
    with pytest.raises(Unavailable, match=r"^No cluster has room for another database"):
        place(clusters[1:])
    with pytest.raises(Unavailable):
        place([])


@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.integers(0, 9), st.integers(0, 9), st.integers(0, 2)),
        min_size=1,
        max_size=9,
    )
)
def test_no_cluster_with_room_is_better(loads: list[tuple[int, int, int, int]]) -> None:
    clusters = [
        cluster(number, max_databases=3, placed=placed, allotted=allotted, used_bytes=used)
        for number, (placed, allotted, used, _) in enumerate(loads, 1)
    ]
    owned = {each.id: load[3] for each, load in zip(clusters, loads, strict=True)}
    free = [each for each in clusters if each.placed < 3]
    if not free:
        with pytest.raises(Unavailable):
            place(clusters, of_customer=owned)
        return
    found = place(clusters, of_customer=owned).cluster
    assert found.placed < 3
    assert all(
        (owned[found.id], found.allotted, found.used_bytes)
        <= (owned[each.id], each.allotted, each.used_bytes)
        for each in free
    )
