"""A tenant tries everything that it could do to its neighbours, to us and to the server.

docs/reference/security.md is the list of these attempts. That each can tell a hole from a
wall is shown in test_isolation_lifted.py.
"""

import re
from collections.abc import Iterator

import pytest

from attempts import NOTHING, THROUGH, Attempt, Scenario, two_tenants
from attempts_all import ATTEMPTS
from harness import Installation


@pytest.fixture(scope="module")
def scenario(platform: Installation) -> Iterator[Scenario]:
    with two_tenants(platform) as scenario:
        yield scenario


def each_endpoint() -> Iterator[tuple[Attempt, str]]:
    for attempt in ATTEMPTS:
        for endpoint in attempt.endpoints:
            yield attempt, endpoint


@pytest.mark.parametrize(
    ("attempt", "endpoint"),
    [pytest.param(*each, id=f"{each[0].name}-{each[1]}") for each in each_endpoint()],
)
def test_nobody_gets_through(scenario: Scenario, attempt: Attempt, endpoint: str) -> None:
    answer, expected = attempt.tries(scenario, endpoint), attempt.expected(endpoint)
    assert answer != THROUGH
    if expected == NOTHING:
        assert answer == NOTHING
    else:
        assert re.search(expected, answer), answer
