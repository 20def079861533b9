"""What a new instance is called, which version it has, and whether its memory is left."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from database_rows import database_row, plan_row
from tenantry.base.errors import Conflict, Forbidden, InvalidInput
from tenantry.control.attributes import Environment
from tenantry.services.instances import plan
from tenantry.services.instances.model import Size

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


def test_the_version_is_one_that_is_installed_and_can_be_backed_up() -> None:
    def chosen(wanted: int) -> int:
        return plan.version(wanted, installed=[15, 17, 18], usable=[15, 17])

    assert (chosen(15), chosen(17)) == (15, 17)
    with pytest.raises(InvalidInput, match="is not installed; GET /api/versions: 15, 17"):
        chosen(16)
    with pytest.raises(InvalidInput, match="pgBackRest does not know PostgreSQL 18"):
        chosen(18)


def test_an_instance_without_a_size_has_the_plans() -> None:
    granted = plan_row(instance_cpus=2, instance_memory_mb=1024)
    machine = {"processors": 4, "otherwise_mb": 512}
    assert plan.size(None, None, granted, **machine) == Size(2, 1024)
    assert plan.size(0.5, 256, granted, **machine) == Size(0.5, 256)
    # No more processors than there are: containers refuse that.
    assert plan.size(None, None, granted, processors=1, otherwise_mb=512) == Size(1, 1024)
    for nothing in (None, plan_row()):
        assert plan.size(None, None, nothing, **machine) == Size(None, 512)


def test_a_customers_instance_is_as_large_as_its_plan_grants_or_as_it_was() -> None:
    granted = plan_row(instance_cpus=1.5, instance_memory_mb=1024)
    plan.require_granted(granted, Size(1.5, 1024))
    for cpus in (None, 1.6):
        with pytest.raises(Forbidden, match=r"cpus above what the plan small grants: 1\.5"):
            plan.require_granted(granted, Size(cpus, 256))
    with pytest.raises(Forbidden, match="memory_mb above what the plan small grants: 1,024"):
        plan.require_granted(granted, Size(1, 1025))
    plan.require_granted(granted, Size(None, 2048), had=Size(None, 2048))
    with pytest.raises(Forbidden, match="cpus"):
        plan.require_granted(granted, Size(None, 256), had=Size(1, 256))
    plan.require_granted(plan_row(), Size(None, 4096))


def test_a_customer_has_as_many_instances_as_its_plan_grants() -> None:
    plan.require_another(plan_row(max_instances=2), 1)
    plan.require_another(plan_row(), 1000)
    with pytest.raises(Conflict, match="with the plan small may have 2 instances, with") as refused:
        plan.require_another(plan_row(max_instances=2), 2)
    assert "GET /api/databases/{id}/replaced shows when" in (refused.value.hint or "")


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
