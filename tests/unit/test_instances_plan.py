"""What a new instance is called, which version it has, and whether its memory is left."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from database_rows import database_row
from tenantry.base.errors import Conflict, InvalidInput
from tenantry.control.attributes import Environment
from tenantry.services.instances import plan

NAMES = st.from_regex(r"[a-z]([a-z0-9-]{0,30}[a-z0-9])?", fullmatch=True)
ENVIRONMENTS = st.sampled_from(["production", "staging", "development"])


@given(NAMES, ENVIRONMENTS)
def test_the_name_is_one_dns_label_that_nobody_has(name: str, environment: Environment) -> None:
    first = plan.container_name(name, environment, set(), "bcdfghjkmnpq")
    assert first == f"{name}-{environment}-postgres"
    second = plan.container_name(name, environment, {first}, "bcdfghjkmnpq")
    assert second == f"{first}-bcdf"
    for each in (first, second):
        assert re.fullmatch(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?", each)
        assert len(each) <= 63


def test_a_name_that_is_too_long() -> None:
    with pytest.raises(InvalidInput, match="38 characters"):
        plan.container_name("a" * 39, "production", set(), "bcdf")


def test_the_version_is_one_that_is_installed() -> None:
    assert plan.version(None, [15, 17]) == 17
    assert plan.version(15, [15, 17]) == 15
    with pytest.raises(InvalidInput, match="15, 17"):
        plan.version(16, [15, 17])


def test_memory_is_given_away_up_to_the_most() -> None:
    plan.require_memory(256, given=256, most=512)
    with pytest.raises(Conflict, match=r"512 MiB.*256 are given away: 257"):
        plan.require_memory(257, given=256, most=512)


def test_only_the_managed_database_of_an_instance_is_the_instance() -> None:
    row = database_row("bcdfghjkmnpq", kind="dedicated", cluster="db-bcdfgh")
    assert row.is_instance
    # It has moved back and forth, and its first instance is retained.
    assert database_row("bcdfghjkmnpq", kind="dedicated", cluster="db-jkmnpq").is_instance
    assert plan.cluster_name(row.database_name, {"db-zzzzzz"}) == "db-bcdfgh"
    assert plan.cluster_name(row.database_name, {"db-bcdfgh"}) == "db-jkmnpq"
    with pytest.raises(Conflict, match="two instances"):
        plan.cluster_name(row.database_name, {"db-bcdfgh", "db-jkmnpq"})
    assert not database_row("zzdfghjkmnpq", kind="dedicated", cluster="db-bcdfgh").is_instance
    assert not database_row("bcdfghjkmnpq").is_instance
