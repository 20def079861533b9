"""How a database is copied follows from what that would disturb."""

import uuid

import pytest

from database_rows import database_row
from tenantry.base.errors import Conflict
from tenantry.services.branches.model import Method
from tenantry.services.branches.plan import SMALL_BYTES, methods, require_beside


@pytest.mark.parametrize(
    ("clones", "size_bytes", "sessions", "wanted"),
    [
        (False, SMALL_BYTES, 0, ["template", "dump"]),
        (False, SMALL_BYTES + 1, 0, ["dump"]),
        (False, 0, 1, ["dump"]),
        (True, SMALL_BYTES, 0, ["clone", "template", "dump"]),
        (True, 2**40, 0, ["clone", "dump"]),
        (True, 2**40, 1, ["dump"]),
    ],
)
def test_the_ways_to_copy(
    clones: bool, size_bytes: int, sessions: int, wanted: list[Method]
) -> None:
    assert methods(clones=clones, size_bytes=size_bytes, sessions=sessions) == wanted


def test_a_copy_is_made_on_the_cluster_of_its_source_only() -> None:
    here, there = uuid.uuid4(), uuid.uuid4()
    require_beside(database_row("a", cluster_id=here), database_row("b", cluster_id=here))
    with pytest.raises(Conflict, match="not on the same cluster"):
        require_beside(database_row("a", cluster_id=here), database_row("b", cluster_id=there))
