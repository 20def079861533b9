"""The process of the embedder as the rest of the platform sees it.

There is one for all sites, and it runs while any site needs it. The supervisor, which does not use
the control database, learns that from a file.
"""

from pathlib import Path
from typing import Protocol

from tenantry.base.home import Home
from tenantry.base.settings import Settings
from tenantry.control.sites import BY_MEANING
from tenantry.host import environment, files

NAME = "embedder"


class Modes(Protocol):
    """What knows the modes of the sites."""

    async def modes(self) -> set[str]: ...


def socket_of(home: Home) -> Path:
    """Return the Unix socket on which the process has OpenAI's ``/v1/embeddings``."""
    return home.run / "embedder.sock"


def is_wanted(home: Home) -> bool:
    """Whether the process has to run."""
    return _mark(home).exists()


def every(here: Settings) -> list[str]:  # noqa: ARG001 (as the data API's, which has several)
    """Return the process's name, whether or not it has to run."""
    return [NAME]


def wanted(here: Settings) -> list[str]:
    """Return the process's name, if it has to run."""
    return [NAME] if is_wanted(Home(here.home)) else []


async def note_wanted(here: Settings, source: Modes) -> None:
    """Note whether the process has to run. Raises Unavailable.

    It has to if a site compares questions, with a model on this machine that is installed.
    """
    home = Home(here.home)
    is_local = here.embedder.url is None and environment.has_embedder()
    if not is_local or not BY_MEANING & await source.modes():
        _mark(home).unlink(missing_ok=True)
    elif not is_wanted(home):
        files.write_atomically(_mark(home), "")


def _mark(home: Home) -> Path:
    return home.run / "embedder.wanted"
