"""How a database is copied follows from what that would disturb."""

import pytest

from tenantry.services.branches.model import Method
from tenantry.services.branches.plan import SMALL_BYTES, methods


@pytest.mark.parametrize(
    ("version", "size_bytes", "sessions", "wanted"),
    [
        (15, SMALL_BYTES, 0, ["template", "dump"]),
        (15, SMALL_BYTES + 1, 0, ["dump"]),
        (15, 0, 1, ["dump"]),
        (17, SMALL_BYTES, 0, ["template", "dump"]),
        (18, SMALL_BYTES, 0, ["clone", "template", "dump"]),
        (18, 2**40, 0, ["clone", "dump"]),
        (18, 2**40, 1, ["dump"]),
    ],
)
def test_the_ways_to_copy(
    version: int, size_bytes: int, sessions: int, wanted: list[Method]
) -> None:
    assert methods(version=version, size_bytes=size_bytes, sessions=sessions) == wanted
