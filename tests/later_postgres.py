"""A folder of engines with a later major version of PostgreSQL than the machine's own."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from postgres_server import programs_of
from tenantry.host import backup_engines

# Where ./check has built a pgBackRest that knows later servers, if it could.
LATER_ENGINES = "TENANTRY_TEST_LATER_ENGINES"


@contextmanager
def engines() -> Iterator[Path]:
    """The machine's own engines in a folder to add to; for TENANTRY_ENGINES."""
    folder = Path(tempfile.mkdtemp(prefix="tnt-engines-"))
    try:
        folder.chmod(0o755)
        for place in (os.environ.get("TENANTRY_ENGINES"), os.environ.get(LATER_ENGINES)):
            for engine in Path(place).glob("pg*-*[0-9]") if place else ():
                (folder / engine.name).symlink_to(engine)
        for name in ("searched", "pgbackrest-searched"):  # nothing is built meanwhile
            (folder / name).touch()
        yield folder
    finally:
        shutil.rmtree(folder)


def offer(folder: Path, major: int) -> None:
    """Put a server of a later major version into a folder of engines, as an administrator does."""
    (folder / "postgresql").mkdir(exist_ok=True)
    (folder / "postgresql" / str(major)).symlink_to(programs_of(major).parent)


def can_be_backed_up(folder: Path, major: int) -> bool:
    """Whether this folder's pgBackRest, or the package's, knows a major version."""
    engine = backup_engines.find_pgbackrest(folder)
    return engine is not None and engine.knows(major)
