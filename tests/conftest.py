"""Shared by all tests; being here also puts this folder on the import path (harness)."""

import os
from collections import Counter, defaultdict
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from harness import SHARED, Installation

# How long one example takes says more about what else the machine does.
settings.register_profile(
    "tenantry",
    max_examples=50,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    # The same examples each time; others with TENANTRY_TEST_EXAMPLES=new.
    derandomize=os.environ.get("TENANTRY_TEST_EXAMPLES") != "new",
)
settings.load_profile("tenantry")

SLOWEST = 20  # modules that are named at the end
BROUGHT_UP = "installations brought up"
_users = pytest.StashKey[set[Path]]()


# Order


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave long runs to bench/kills.py, and sort modules by what they need."""
    if os.environ.get("TENANTRY_TEST_KILLS") != "all":
        left = [item for item in items if item.get_closest_marker("long_run")]
        items[:] = [item for item in items if item not in left]
        config.hook.pytest_deselected(items=left)
    users = {item.path for item in items if "shared" in getattr(item, "fixturenames", ())}
    config.stash[_users] = users

    def rank(item: pytest.Item) -> int:
        """Modules that take minutes first: at the end, all others would wait for those.

        Then those with installations of their own, so that a shared one, which computes also
        while nobody uses it, is not up meanwhile; then those that share one, one kind of it
        after the other; then those without, which have many short tests.
        """
        folder = item.path.parent.name
        if item.get_closest_marker("takes_minutes"):
            return 0
        if folder not in {"crash", "system"}:
            return 4
        if item.path not in users:
            return 1
        return 2 if folder == "crash" else 3

    items.sort(key=rank)


@pytest.fixture(scope="session")
def shared() -> Iterator[None]:
    """Marks who uses an installation that modules share; it is up until another kind is used."""
    yield
    SHARED.release()


@pytest.fixture(scope="module", autouse=True)
def nothing_unused(request: pytest.FixtureRequest) -> None:
    """Before a module that shares no installation, remove what others have shared."""
    if request.path not in request.config.stash[_users]:
        SHARED.release()


# Durations


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Note with each report how many installations have been brought up for it."""
    report = yield
    if count := Installation.take_brought_up():
        report.user_properties.append((BROUGHT_UP, count))
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Name the modules that took longest."""
    took: dict[str, float] = defaultdict(float)
    prepared: dict[str, float] = defaultdict(float)
    brought_up: Counter[str] = Counter()
    every = [each for reports in terminalreporter.stats.values() for each in reports]
    for report in every:
        if isinstance(report, pytest.TestReport):
            module = report.nodeid.partition("::")[0]
            took[module] += report.duration
            prepared[module] += report.duration if report.when == "setup" else 0
            counts = [int(str(n)) for name, n in report.user_properties if name == BROUGHT_UP]
            brought_up[module] += sum(counts)
    terminalreporter.section(f"slowest {SLOWEST} modules")
    for module in sorted(took, key=took.__getitem__, reverse=True)[:SLOWEST]:
        terminalreporter.write_line(
            f"{took[module]:6.1f}s {module}: {prepared[module]:.1f}s to set up,"
            f" {brought_up[module]} installations brought up"
        )
    terminalreporter.write_line(f"{brought_up.total()} installations were brought up in all.")
