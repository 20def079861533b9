"""Logging to a file during a block."""

import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from tenantry.base import logs


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    yield
    structlog.reset_defaults()
    root.handlers, root.level = handlers, level


def test_events_go_to_the_file_during_the_block_and_to_standard_error_after_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log, file = structlog.get_logger(), tmp_path / "tenantry.log"
    with logs.into(file, "tls"):
        log.info("during")
        logging.getLogger("library").warning("heard")
    log.info("after")
    logging.getLogger("library").warning("not lost")
    first, second = map(json.loads, file.read_text().splitlines())
    assert (first["event"], first["part"], second["event"]) == ("during", "tls", "heard")
    shown = capsys.readouterr().err
    assert ("after" in shown, "not lost" in shown) == (True, True)
