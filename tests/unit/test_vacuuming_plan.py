"""Which tables are rewritten."""

import pytest

from tenantry.base.errors import NotFound
from tenantry.pg.vacuuming import Table
from tenantry.services.vacuuming.service import chosen

BLOATED = Table("public", "bloated", None, 1000, 800)
TIGHT = Table("public", "tight", None, 1000, 950)
UNKNOWN = Table("public", "unknown", None, 1000, None)
EMPTY = Table("s", "empty", None, 0, 0)
PART = Table("s", "part", "s.whole", 2000, 2000)
OTHER = Table("s", "bloated", "s.whole", 3000, 0)
ALL = [EMPTY, BLOATED, TIGHT, UNKNOWN, PART, OTHER]


def test_what_is_worth_it_is_rewritten_unless_tables_are_named() -> None:
    assert chosen(ALL, []) == [BLOATED, OTHER]
    assert chosen(ALL, ["public.unknown", "s.whole"]) == [UNKNOWN, PART, OTHER]
    assert [each.returned_bytes for each in (BLOATED, UNKNOWN, EMPTY)] == [200, None, 0]


@pytest.mark.parametrize("name", ["bloated", "public.part", "whole", "s.*"])
def test_a_name_that_no_table_has_is_reported(name: str) -> None:
    with pytest.raises(NotFound, match="no table"):
        chosen(ALL, ["public.tight", name])
