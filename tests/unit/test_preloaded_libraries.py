"""Which libraries an instance's server loads, and what of their extensions is no tenant's data."""

import pytest

from tenantry.pg import parameters, preloading
from tenantry.pg.archives import Item
from tenantry.pg.parameters import PRELOADED, Machine
from tenantry.pg.reloading import is_platforms
from tenantry.services.instances.model import Libraries


def test_libraries_are_loaded_beside_the_platforms_own() -> None:
    sizing = parameters.size(Machine(1 << 30, 2))
    values = parameters.shared_parameters(sizing, version=15, certificate="", wal_mb=4096)
    assert parameters.overridden(values, {}) == values
    own = preloading.with_library({"work_mem": "8MB"}, "pg_prewarm")
    assert own == {"work_mem": "8MB", PRELOADED: "pg_prewarm"}
    both = parameters.overridden(values, own)
    assert (both[PRELOADED], both["work_mem"]) == ("pg_stat_statements,pg_prewarm", "8MB")
    # The platform's own is loaded once.
    own = preloading.with_library(own, "pg_stat_statements")
    assert preloading.libraries(own) == ["pg_prewarm", "pg_stat_statements"]
    assert parameters.overridden(values, own)[PRELOADED] == "pg_stat_statements,pg_prewarm"
    own = preloading.without_library(own, "pg_prewarm")
    assert preloading.without_library(own, "pg_stat_statements") == {"work_mem": "8MB"}
    assert preloading.without_library({}, "pg_prewarm") == {}


def test_no_library_is_both_allowed_and_refused() -> None:
    assert not preloading.ALLOWED.keys() & preloading.REFUSED.keys()
    for name in preloading.ALLOWED:
        assert parameters.loaded_libraries(f" {name} ,") == [name], "it can be in a list"


@pytest.mark.parametrize(
    ("loaded", "own", "pending"),
    [
        ([], [], False),
        ([], ["pg_prewarm"], True),
        (["pg_prewarm"], ["pg_prewarm"], False),
        (["pg_prewarm"], [], True),
    ],
)
def test_what_a_restart_changes_is_pending(
    loaded: list[str], own: list[str], pending: bool
) -> None:
    found = Libraries(["pg_stat_statements", *loaded], own, ["pg_stat_statements"])
    assert found.pending("pg_prewarm") is pending
    assert not found.pending("pg_stat_statements")


@pytest.mark.parametrize(
    ("line", "is_ours"),
    [
        ("7; 2615 16400 SCHEMA - platform_extensions tenantry_admin", True),
        ("2; 3079 16401 EXTENSION - pg_prewarm ", False),
        ("41; 0 0 COMMENT - EXTENSION pg_prewarm ", True),
        ("42; 0 0 ACL - SCHEMA platform_extensions tenantry_admin", True),
        ("43; 0 0 ACL platform_extensions FUNCTION autoprewarm_dump_now() tenantry_admin", True),
        ("7; 2615 16400 SCHEMA - platform_extensions user_x", False),
        ("42; 0 0 ACL - SCHEMA platform_extensions user_x", False),
        ("44; 0 0 COMMENT - EXTENSION citext ", False),
        ("45; 0 0 ACL - SCHEMA public user_x", False),
        ("46; 0 0 ACL public TABLE platform_extensions user_x", False),
        ("47; 1259 16500 TABLE public platform_extensions user_x", False),
        ("8; 2615 16400 SCHEMA - platform_extensions_of_mine user_x", False),
    ],
)
def test_what_goes_with_an_extension_is_not_loaded(line: str, is_ours: bool) -> None:
    assert is_platforms(Item.of(line)) is is_ours
