"""One installation for each test process, killed again and again."""

from collections.abc import Generator, Iterator

import pytest
from scene import Scene


@pytest.fixture(scope="session")
def only_scene() -> Iterator[Scene]:
    scene = Scene()
    try:
        scene.up()
        yield scene
    finally:
        scene.remove()


@pytest.fixture
def scene(only_scene: Scene) -> Scene:
    """The installation, ready, with nothing in it but a bystander's database."""
    only_scene.reset()
    return only_scene


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
