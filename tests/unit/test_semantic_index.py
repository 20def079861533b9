"""The index of a site: the nearest vectors of a partition, and of no other."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenantry.services.caching.semantic.index import Index
from tenantry_cache.rules.nearness import Vectors

_DIM = 8


def _unit(seed: int) -> Vectors:
    vector = np.random.default_rng(seed).standard_normal(_DIM).astype(np.float32)
    return vector / np.linalg.norm(vector)


_CHANGES = st.lists(
    st.tuples(st.sampled_from(["add", "remove"]), st.sampled_from("ab"), st.integers(0, 30)),
    max_size=60,
)


@given(_CHANGES, st.integers(0, 1000))
def test_it_finds_what_a_comparison_with_all_finds(
    changes: list[tuple[str, str, int]], seed: int
) -> None:
    index, expected = Index(_DIM), dict[str, tuple[str, Vectors]]()
    for change, partition, number in changes:
        if change == "add":
            expected[str(number)] = (partition, _unit(number))
            index.add(partition, str(number), _unit(number))
        else:
            expected.pop(str(number), None)
            index.remove(str(number))
    asked = _unit(seed)
    assert len(index) == len(expected)
    assert set(index.identifiers) == set(expected)
    for partition in "ab":
        cosines = {
            name: float(vector @ asked)
            for name, (where, vector) in expected.items()
            if where == partition
        }
        found = index.search(partition, asked, 4)
        assert [cosine for _, cosine in found] == pytest.approx(
            sorted(cosines.values(), reverse=True)[:4], abs=1e-5
        )
        assert all(cosines[name] == pytest.approx(cosine, abs=1e-5) for name, cosine in found)


def test_a_large_partition_is_a_graph_that_finds_the_same() -> None:
    exact, graph = Index(_DIM), Index(_DIM, exact_most=50)
    for index in (exact, graph):
        for number in range(300):
            index.add("a", str(number), _unit(number))
        for number in range(0, 300, 7):
            index.remove(str(number))
        index.add("b", "other", _unit(1000))
    same = 0
    for number in range(100):
        [(name, cosine)] = exact.search("a", _unit(2000 + number), 1)
        [(found, its_cosine)] = graph.search("a", _unit(2000 + number), 1)
        same += name == found
        assert int(found) % 7
        assert its_cosine == pytest.approx(cosine, abs=0.05)
    assert same >= 90
    assert [name for name, _ in graph.search("b", _unit(5), 4)] == ["other"]


def test_a_vector_moves_to_the_partition_in_which_it_is_added_again() -> None:
    index = Index(_DIM)
    index.add("a", "entry", _unit(1))
    index.add("b", "entry", _unit(1))
    assert index.search("a", _unit(1), 1) == []
    assert len(index.search("b", _unit(1), 1)) == len(index) == 1
    index.clear()
    assert index.search("b", _unit(1), 1) == []
