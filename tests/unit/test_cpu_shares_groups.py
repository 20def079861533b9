"""Which group a server process belongs to, by its title; and whether there are groups at all."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenantry.base.settings import Settings
from tenantry.cli import findings
from tenantry.host.cgroups import PLATFORM
from tenantry.pg import names
from tenantry.services import cpu_shares
from tenantry.services.cpu_shares import DATABASES, group_of

POSTMASTER = ["/usr/lib/postgresql/15/bin/postgres", "-D", "/srv/clusters/shared-1/data"]
OF_A = f"{DATABASES}/tenant_a1"


@pytest.mark.parametrize(
    ("title", "group"),
    [
        ("postgres: user_a1 tenant_a1 127.0.0.1(50114) idle", OF_A),
        ("postgres: user_a1 tenant_a1_shadow [local] SELECT", OF_A),
        ("postgres: user_a1_reporting tenant_a1 2001:db8::1(50114) COPY waiting", OF_A),
        ("postgres: tenantry_visitor_x tenant_a1_restoring_0123456789ab [local] idle", OF_A),
        ("postgres: walsender user_a1 tenant_a1 127.0.0.1(50114) START_REPLICATION", OF_A),
        ("postgres: parallel worker for PID 4711 ", 4711),
        ("postgres: user_a1 tenant_a1 127.0.0.1(50114) authentication", None),
        ("postgres: tenantry_platform postgres [local] idle", PLATFORM),
        ("postgres: checkpointer ", PLATFORM),
        ("postgres: walwriter ", PLATFORM),
        ("postgres: autovacuum launcher ", PLATFORM),
        ("postgres: autovacuum worker tenant_a1", PLATFORM),
        ("postgres: logical replication worker for subscription 16384", PLATFORM),
    ],
)
def test_the_title_names_the_group(title: str, group: str | int | None) -> None:
    assert group_of([title], POSTMASTER) == group


def test_a_process_that_has_no_title_yet_is_looked_at_again() -> None:
    assert group_of(POSTMASTER, POSTMASTER) is None
    assert group_of([], POSTMASTER) is None


@given(st.from_regex(r"[a-z0-9]{12}", fullmatch=True), st.text())
def test_a_tenant_has_no_influence_on_its_group(suffix: str, activity: str) -> None:
    """What follows the address is the command's tag, whatever the statement is."""
    title = f"postgres: {names.owner(suffix)} {names.main(suffix)} [local] {activity}"
    group = group_of([title], POSTMASTER)
    assert group in {f"{DATABASES}/{names.main(suffix)}", None}


def test_doctor_says_why_there_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    here, why = Settings(home=Path("/nowhere")), "This user may not write there."
    assert findings._cpu_shares(here).level == "ok"
    monkeypatch.setattr(cpu_shares, "absence", lambda _: why)
    found = findings._cpu_shares(here)
    assert (found.level, found.detail) == ("warning", why)
