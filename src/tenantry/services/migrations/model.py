"""Migrations, the state of a database, the steps between states, and the errors.

TenantryError
├── InvalidInput
│   ├── BadMigrations        422  the folder's files cannot be migrations
│   └── MigrationFailed      422  PostgreSQL refused a file
├── NotFound
│   └── MigrationNotFound    404  no file has the requested version
└── Conflict
    ├── DirtyDatabase        409  an earlier file may be half done
    ├── EditedMigrations     409  files were changed since they were applied
    ├── SkippedMigrations    409  files were never run, though later ones were
    ├── ForeignLedger        409  another tool's record has the table's name
    ├── LimitShort           409  fewer migrations than requested; those that exist were run
    └── MigrationsLocked     409  another run is in progress
"""

import datetime as dt
import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from tenantry.base.errors import Conflict, InvalidInput, NotFound
from tenantry.pg import statements
from tenantry.pg.statements import Statement, Unreadable

NO_VERSION = -1  # how golang-migrate writes "before the first migration"
HIGHEST_VERSION = 2**63 - 1  # what schema_migrations.version, a bigint, can hold

_ABOVE = re.compile(r"(?:\s*--[^\n]*)*")  # the comments above the first statement
_BLANK = re.compile(r"(?:[ \t\r\n\f\v;]|--[^\n]*)*")
_NO_TRANSACTION = re.compile(r"--\s*tenantry:\s*no-transaction\s*")


class Direction(StrEnum):
    UP = "up"
    DOWN = "down"


@dataclass(frozen=True, slots=True)
class Script:
    """One file."""

    name: str
    sql: str

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.sql.encode()).hexdigest()

    @property
    def transactional(self) -> bool:
        """Whether it runs inside a transaction.

        Not if it has a statement that cannot, or the comment ``-- tenantry: no-transaction`` above
        the first one.
        """
        above = _ABOVE.match(self.sql)
        lines = above[0].splitlines() if above else []
        if any(_NO_TRANSACTION.fullmatch(line.strip()) for line in lines):
            return False
        parts = statements.without_rows(self.statements)
        return not any(map(statements.refuses_transaction, parts))

    @property
    def is_empty(self) -> bool:
        """Whether it contains no statement. It is applied like any other."""
        blank = _BLANK.match(self.sql)
        rest = self.sql[blank.end() if blank else 0 :]
        if not rest.startswith("/*"):
            return not rest
        try:
            return not statements.split(self.sql)
        except Unreadable:
            return False

    @property
    def statements(self) -> Sequence[Statement]:
        """The statements that are sent one by one; none if the parser refuses the file."""
        try:
            return statements.split(self.sql)
        except Unreadable:
            return ()


@dataclass(frozen=True, slots=True)
class Migration:
    """One version, and its one or two files. Where a file is missing, nothing is run."""

    version: int
    title: str
    up: Script | None = None
    down: Script | None = None


@dataclass(frozen=True, slots=True)
class State:
    """The last migration that is in force in a database, or None before the first.

    ``dirty``: a file that cannot be rolled back stopped in the middle.
    """

    version: int | None = None
    dirty: bool = False

    def __str__(self) -> str:
        version = "no version" if self.version is None else f"version {self.version}"
        return f"dirty at {version}" if self.dirty else f"clean at {version}"


@dataclass(frozen=True, slots=True)
class Step:
    """One file to run, of migration ``version``; afterwards the database is at ``target``."""

    version: int
    direction: Direction
    script: Script | None
    target: int | None

    def row(self) -> dict[str, object]:
        """Return it as results show it; ``empty`` is whether its file contains no statement."""
        return {
            "version": self.version,
            "direction": str(self.direction),
            "file": self.script.name if self.script else None,
            "empty": self.script is not None and self.script.is_empty,
        }


@dataclass(frozen=True, slots=True)
class Applied:
    """A file at the time when it was applied. golang-migrate does not record this."""

    version: int
    file: str
    sha256: str
    applied_at: dt.datetime


@dataclass(frozen=True, slots=True)
class Status:
    """A folder compared with a database.

    ``known`` is False if the folder lacks the database's version. ``journal`` has the applied ones,
    by version; ``edited`` are those whose file has changed since. ``skipped`` are not among the
    applied: they were added to the folder after a later one was applied, and were never run.
    ``unnoted`` are applied ones that another tool ran, which the journal does not have yet.
    ``running``: it is dirty because another run is in progress, as golang-migrate marks each file
    before it runs it.
    """

    state: State
    applied: tuple[Migration, ...]
    pending: tuple[Migration, ...]
    known: bool
    journal: Mapping[int, Applied] = field(default_factory=dict)
    edited: tuple[Migration, ...] = ()
    skipped: tuple[Migration, ...] = ()
    unnoted: tuple[Migration, ...] = ()
    running: bool = False


@dataclass(frozen=True, slots=True)
class Acceptance:
    """The files that a run accepts as applied in their present form.

    ``edited``: files that were changed since they were applied. ``skipped``: files that were added
    late and never run.
    """

    edited: bool = False
    skipped: bool = False


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits on how long a run may block others. Times are in seconds, and positive.

    ``lock_timeout``: how long a statement waits for a lock before it fails.
    ``statement_timeout``: how long one statement may run; None for any time.
    ``retries``: how often a lock that was not obtained is tried again. So the lock of the run
    itself is waited for ``lock_timeout * (retries + 1)``.
    ``back_off``: the pause before a file is tried again; it doubles each time.
    """

    lock_timeout: float = 5.0
    statement_timeout: float | None = None
    retries: int = 3
    back_off: float = 0.5

    @property
    def patience(self) -> float:
        """How long the lock of the run is waited for."""
        return self.lock_timeout * (self.retries + 1)


DEFAULT_LIMITS = Limits()


class BadMigrations(InvalidInput):
    code = "bad_migrations"
    title = "These files cannot be migrations"


class MigrationFailed(InvalidInput):
    """PostgreSQL refused ``file`` at ``line`` (None if it is not known, or was the commit).

    ``state`` is the database's present state; None if it could not be read.
    """

    code = "migration_failed"
    title = "A migration failed"

    def __init__(
        self, detail: str, *, file: str, line: int | None, state: State | None, hint: str
    ) -> None:
        super().__init__(detail, hint=hint)
        self.file = file
        self.line = line
        self.state = state


class MigrationNotFound(NotFound):
    code = "migration_not_found"
    title = "No such migration"


class DirtyDatabase(Conflict):
    code = "dirty_database"
    title = "The database is dirty"

    def __init__(self, state: State) -> None:
        version = NO_VERSION if state.version is None else state.version
        super().__init__(
            f"Dirty database version {version}: fix it, then force a version.",
            hint="A file stopped in the middle. See what it left, complete or undo that by hand, "
            "and force the version that the schema then really has.",
        )
        self.state = state


class EditedMigrations(Conflict):
    code = "migrations_edited"
    title = "Applied migrations were edited"

    def __init__(self, edited: Sequence[Migration]) -> None:
        names = ", ".join(each.up.name for each in edited if each.up)
        super().__init__(
            f"Changed since they were applied: {names}.",
            hint="A new migration says what is to be different. If it was only a comment, set "
            "accept_edited.",
        )


class SkippedMigrations(Conflict):
    code = "migrations_skipped"
    title = "Migrations were never run"

    def __init__(self, skipped: Sequence[Migration]) -> None:
        names = ", ".join(each.up.name for each in skipped if each.up)
        super().__init__(
            f"Never run here, though later ones were: {names}.",
            hint="Give them versions after the last one, and they are run next. If the database has"
            " what they do already, accept them as applied (accept_skipped, --accept-skipped).",
        )


class ForeignLedger(Conflict):
    """The table that would be the record of migrations belongs to another tool."""

    code = "foreign_ledger"
    title = "Another tool keeps its migrations in that table"


class LimitShort(Conflict):
    """``short`` fewer migrations existed than were requested. Those that exist were run."""

    code = "migration_limit_short"
    title = "Fewer migrations than asked for"

    def __init__(self, short: int, state: State) -> None:
        super().__init__(
            f"The limit is {short} short: no more migrations are there. The database is {state}."
        )
        self.short = short


class MigrationsLocked(Conflict):
    code = "migrations_locked"
    title = "Another migration run is under way"
