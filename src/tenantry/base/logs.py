"""Structured logs: one JSON line per event, or a coloured line on a terminal."""

import logging
import sys
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

import structlog


def configure(part: str, *, to: TextIO | None = None) -> None:
    """Log the events of this process and its libraries as ``part``, on standard error.

    ``to`` is a file to log to instead, until the next call.
    """
    stream = sys.stderr if to is None else to
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    person = stream.isatty()
    renderer: Any = (
        structlog.dev.ConsoleRenderer() if person else structlog.processors.JSONRenderer()
    )

    def say_part(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        event["part"] = part
        return event

    structlog.configure(
        processors=[*shared, say_part, structlog.processors.format_exc_info, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(stream),
        cache_logger_on_first_use=to is None,
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, say_part],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.WARNING)


@contextmanager
def into(file: Path, part: str) -> Iterator[None]:
    """Append the events to a file during a block, and log on standard error after it."""
    with file.open("a") as opened:
        configure(part, to=opened)
        try:
            yield
        finally:
            configure(part)
