"""Computes the steps to take from file names and a state. Uses neither a disk nor a server."""

import datetime as dt
import re
import zlib
from collections.abc import Iterable, Mapping, Sequence

from tenantry.base.errors import InvalidInput
from tenantry.services.migrations.model import (
    HIGHEST_VERSION,
    Applied,
    BadMigrations,
    Direction,
    DirtyDatabase,
    Migration,
    MigrationNotFound,
    Script,
    State,
    Status,
    Step,
)

TABLE = "schema_migrations"
BESIDE = "tenantry_schema_migrations"  # where TABLE is another tool's
JOURNAL = "tenantry_migrations"

# All of golang-migrate's pattern, including any extension and its greediness: a file
# that one tool runs and the other ignores would make their histories diverge.
_NAME = re.compile(r"([0-9]+)_(.*)\.(down|up)\.(.*)")

_TITLE = re.compile(r"\w{1,100}")
_WIDTH = 6  # digits of a version, unless the folder has others

_LOCK_SALT = 1486364155  # advisoryLockIDSalt in golang-migrate's database/util.go


def lock_key(database: str, *others: str) -> int:
    """Return golang-migrate's advisory lock for these names (GenerateAdvisoryLockId, version 4)."""
    return zlib.crc32("\0".join((*others, database)).encode()) * _LOCK_SALT % 2**32


def lock_keys(database: str, schema: str, table: str = TABLE) -> tuple[int, int]:
    """Return the advisory locks that exclude every other run, golang-migrate's included.

    A database has two, and both are required: golang-migrate's command line takes the database's
    name from the path of the URL, with its slash, while a program that passes it an open connection
    uses the bare name.
    """
    return lock_key(f"/{database}", schema, table), lock_key(database, schema, table)


def parse_name(name: str) -> tuple[int, str, Direction] | None:
    """Return the version, title and direction in a file's name; None if it is no migration.

    Raises BadMigrations for a version that the database could not record.
    """
    match = _NAME.fullmatch(name)
    if match is None:
        return None
    # Digits are counted first: Python refuses to read very long ones.
    digits = match[1].lstrip("0") or "0"
    if len(digits) > len(str(HIGHEST_VERSION)) or int(digits) > HIGHEST_VERSION:
        raise BadMigrations(
            f"{name}: the version is larger than {HIGHEST_VERSION}, which is the largest that "
            f"{TABLE} can record.",
            hint="Give the file a smaller number; a timestamp in seconds will do.",
        )
    return int(digits), match[2], Direction(match[3])


def collect(files: Mapping[str, bytes]) -> tuple[Migration, ...]:
    """Return the migrations in ``files`` (name to content), by version. Ignores other files.

    Raises BadMigrations for two files of one version and direction, and for a content that cannot
    be sent to PostgreSQL.
    """
    scripts: dict[tuple[int, Direction], Script] = {}
    titles: dict[int, str] = {}
    for name in sorted(files):
        parsed = parse_name(name)
        if parsed is None:
            continue
        version, title, direction = parsed
        if other := scripts.get((version, direction)):
            raise BadMigrations(
                f"{other.name} and {name} are both the {direction} file of version {version}.",
                hint="Give one of them another version.",
            )
        scripts[version, direction] = Script(name, text_of(name, files[name]))
        titles.setdefault(version, title)
    return tuple(
        Migration(
            version,
            titles[version],
            up=scripts.get((version, Direction.UP)),
            down=scripts.get((version, Direction.DOWN)),
        )
        for version in sorted(titles)
    )


def text_of(name: str, content: bytes) -> str:
    """Return a file's text. Raises BadMigrations if it cannot be sent to PostgreSQL."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise BadMigrations(
            f"{name}, line {line}: the file is not UTF-8.", hint="Save it as UTF-8."
        ) from None
    if "\0" in text:
        # libpq would send what is before it, and ignore the rest without an error.
        line = text[: text.index("\0")].count("\n") + 1
        raise BadMigrations(
            f"{name}, line {line}: the file holds a NUL character.",
            hint="Remove it; PostgreSQL takes none. A file saved as UTF-16 is full of them.",
        )
    return text


def up(migrations: Sequence[Migration], state: State, n: int | None = None) -> list[Step]:
    """Return the next ``n`` steps up, or all; fewer if there are fewer.

    Raises DirtyDatabase, MigrationNotFound and InvalidInput, as ``down`` and ``goto`` do.
    """
    here = _index(migrations, state)
    if not migrations:
        raise MigrationNotFound(
            "There is no migration file.",
            hint="Is it the right folder? The names look like 000001_create_users.up.sql.",
        )
    return _upward(migrations[here + 1 :][: _limit(n)])


def down(migrations: Sequence[Migration], state: State, n: int | None) -> list[Step]:
    """Return the next ``n`` steps down, or all with None; fewer if there are fewer."""
    here = _index(migrations, state)
    return _downward(migrations, here, -1)[: _limit(n)]


def goto(migrations: Sequence[Migration], state: State, version: int | None) -> list[Step]:
    """Return the steps up or down to ``version``; None is before the first."""
    here = _index(migrations, state)
    there = -1 if version is None else _find(migrations, version)
    if here < there:
        return _upward(migrations[here + 1 : there + 1])
    return _downward(migrations, here, there)


def status(
    migrations: Sequence[Migration], state: State, journal: Mapping[int, Applied] | None = None
) -> Status:
    """Return which migrations are in force, which are pending, and which were skipped.

    ``dirty`` is reported, and raises nothing.
    """
    current = -1 if state.version is None else state.version
    there = tuple(m for m in migrations if m.version <= current)
    # The journal still has rows of migrations that golang-migrate has undone.
    known = {version: row for version, row in (journal or {}).items() if version <= current}
    # Each run records what others have applied before it. So a migration that the journal lacks
    # is either later than all of it, and another tool ran it; or it was added late and never run.
    last = max(known, default=-1)
    lacking = [m for m in there if m.up is not None and m.version not in known]
    skipped = tuple(m for m in lacking if m.version < last)
    applied = tuple(m for m in there if m not in skipped)
    return Status(
        state,
        applied=applied,
        pending=tuple(migrations[len(there) :]),
        known=state.version is None or any(m.version == current for m in applied),
        journal=known,
        edited=tuple(
            m
            for m in applied
            if m.up is not None and m.version in known and known[m.version].sha256 != m.up.sha256
        ),
        skipped=skipped,
        unnoted=tuple(m for m in lacking if m.version > last),
    )


def next_files(names: Iterable[str], title: str, now: dt.datetime) -> tuple[str, str]:
    """Return the names of a new migration's two files, after the existing ones.

    The version continues theirs: by one, as wide as the last; or with the time, where the last is a
    timestamp, of digits or of seconds since 1970. Raises InvalidInput for a title that is not valid
    as a name.
    """
    slug = re.sub(r"[\s-]+", "_", title.strip())
    if not _TITLE.fullmatch(slug):
        raise InvalidInput.of("name", "may hold letters, digits and underscores, 100 of them")
    parsed = ((name, parse_name(name)) for name in names)
    last, written = max(
        ((found[0], name.partition("_")[0]) for name, found in parsed if found), default=(0, "")
    )
    stamps = (int(f"{now:%Y%m%d%H%M%S}"), int(now.timestamp()))
    stamp = next((each for each in stamps if len(str(each)) == len(str(last))), None)
    if stamp is None:
        version = str(last + 1).zfill(len(written) or _WIDTH)
    else:
        version = str(max(stamp, last + 1))
    parse_name(f"{version}_{slug}.up.sql")
    return f"{version}_{slug}.up.sql", f"{version}_{slug}.down.sql"


def _limit(n: int | None) -> int | None:
    if n is not None and n < 0:
        raise InvalidInput.of("n", f"must be 0 or more, and is {n}")
    return n


def _find(migrations: Sequence[Migration], version: int) -> int:
    for index, migration in enumerate(migrations):
        if migration.version == version:
            return index
    raise MigrationNotFound(
        f"There is no migration of version {version}.",
        hint="Is it the right folder, and is it complete?",
    )


def _index(migrations: Sequence[Migration], state: State) -> int:
    """Return the index in the folder of the database's version; -1 before the first."""
    if state.dirty:
        raise DirtyDatabase(state)
    return -1 if state.version is None else _find(migrations, state.version)


def _upward(migrations: Sequence[Migration]) -> list[Step]:
    return [Step(m.version, Direction.UP, m.up, target=m.version) for m in migrations]


def _downward(migrations: Sequence[Migration], here: int, there: int) -> list[Step]:
    return [
        Step(
            migrations[index].version,
            Direction.DOWN,
            migrations[index].down,
            target=migrations[index - 1].version if index else None,
        )
        for index in range(here, there, -1)
    ]
