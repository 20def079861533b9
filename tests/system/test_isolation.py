"""A tenant tries everything that it could do to its neighbours, to us and to the server.

docs/reference/security.md is the list of these attempts. That each can tell a hole from a
wall is shown in test_isolation_lifted.py.
"""

import re
from collections.abc import Iterator

import pytest

from attempts import NOTHING, THROUGH, Attempt, World, two_tenants
from attempts_all import ATTEMPTS
from harness import Installation


@pytest.fixture(scope="module")
def world(platform: Installation) -> Iterator[World]:
    with two_tenants(platform) as world:
        yield world


def each_door() -> Iterator[tuple[Attempt, str]]:
    for attempt in ATTEMPTS:
        for door in attempt.doors:
            yield attempt, door


@pytest.mark.parametrize(
    ("attempt", "door"),
    [pytest.param(*each, id=f"{each[0].name}-{each[1]}") for each in each_door()],
)
def test_nobody_gets_through(world: World, attempt: Attempt, door: str) -> None:
    answer, expected = attempt.tries(world, door), attempt.expected(door)
    assert answer != THROUGH
    if expected == NOTHING:
        assert answer == NOTHING
    else:
        assert re.search(expected, answer), answer
