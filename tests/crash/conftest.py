"""One installation for each test process, killed again and again."""

from collections.abc import Generator

import pytest
from scene import Scene

from harness import SHARED


def brought_up() -> Scene:
    scene = Scene()
    try:
        scene.up()
    except BaseException:
        scene.remove()
        raise
    return scene


@pytest.fixture
def scene(shared: None) -> Scene:  # noqa: ARG001
    """The installation, ready, with nothing in it but a bystander's database."""
    scene = SHARED.get(brought_up)
    scene.reset()
    return scene


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show with a failure what the platform logged meanwhile."""
    report = yield
    scene = getattr(item, "funcargs", {}).get("scene")
    if report.failed and isinstance(scene, Scene):
        report.sections.append(("tenantry.log", scene.log()))
    return report
