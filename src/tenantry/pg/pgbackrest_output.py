"""Parse the output of pgBackRest: repositories' contents, progress, and errors."""

import datetime as dt
import re
from dataclasses import dataclass, replace
from typing import Any, Literal, Self

from tenantry.base.errors import Conflict, MachineError
from tenantry.pg import timelines

BackupType = Literal["full", "diff", "incr"]

# "backup file /…/1255 (bundle 1/2449520, 768KB, 97.69%) checksum …", and so for a restore
_FILE = re.compile(r"\((?:[^()]*, )?([\d.]+)([KMGTP]?B), ([\d.]+)%\)")
_UNITS = {unit: 1024**power for power, unit in enumerate(("B", "KB", "MB", "GB", "TB", "PB"))}
SEGMENT = re.compile(r"[0-9A-F]{24}-[0-9a-f]{40}")
_VERIFIED = re.compile(r"(archiveId: \S+, .*|backup: \S+, status: invalid.*)")
_COUNTS = re.compile(r"(missing|checksum invalid|size invalid|other): \d")
_UNHARMED = re.compile(r"total WAL checked: (\d+), total valid WAL: \1$")
_MEANINGS = {
    "No space left on device": "its disk is full",
    "unable to connect to": "its server does not answer",
    "key/value found outside of section": "it is encrypted with another key, or damaged",
    "unable to flush": "it is encrypted with another key, or damaged",
    "missing stanza path": "nothing of this cluster is there: is its disk mounted?",
    "missing stanza data": "nothing of this cluster is there: is its disk mounted?",
    "unable to open missing file": "a file of it is not there: is its disk mounted?",
}
_SECOND = dt.timedelta(seconds=1)  # the end of a backup is reported without fractions
MISSING = 55  # an error number of pgBackRest; its source's src/build/error/error.yaml
_LOCKED = 50


class RepositoryError(MachineError):
    """A failure of pgBackRest. ``number`` is its own error number, if it reported one."""

    code = "repository_error"
    title = "The backup repository cannot do that"

    def __init__(self, detail: str, *, hint: str | None = None, number: int | None = None) -> None:
        super().__init__(detail, hint=hint)
        self.number = number


class BackupDamaged(RepositoryError):
    code = "backup_damaged"
    title = "A backup is damaged"


class RepositoryBusy(Conflict):
    code = "backup_in_progress"
    title = "Another backup of this cluster is being made or removed"


@dataclass(frozen=True, slots=True)
class Backup:
    """A backup that is in a repository. Sizes are in bytes.

    ``prior`` is the backup that it is based on, ``references`` are all whose files it needs.
    ``wal_start`` and ``wal_stop`` are the segments that make it consistent. ``stored`` is its size
    in the repository itself; ``damaged`` means pages whose checksum is wrong, and ``left`` that the
    cluster was restored to a moment before it: it is no longer part of its history. ``stop_lsn`` is
    where it is consistent.
    """

    repository: int
    label: str
    type: BackupType
    started: dt.datetime
    stopped: dt.datetime
    prior: str | None
    references: tuple[str, ...]
    wal_start: str
    wal_stop: str
    size: int
    stored: int
    damaged: bool
    stop_lsn: int = 0
    left: bool = False

    @property
    def reachable_from(self) -> dt.datetime:
        """Return the first moment that it can be recovered to: when all its files were there."""
        return self.stopped + _SECOND

    @property
    def usable(self) -> bool:
        """Whether the cluster in its present history can be restored from it."""
        return not self.damaged and not self.left

    @classmethod
    def read(cls, listed: dict[str, Any]) -> Self:
        """Parse an entry of ``info``."""
        return cls(
            repository=listed["database"]["repo-key"],
            label=listed["label"],
            type=listed["type"],
            started=dt.datetime.fromtimestamp(listed["timestamp"]["start"], dt.UTC),
            stopped=dt.datetime.fromtimestamp(listed["timestamp"]["stop"], dt.UTC),
            prior=listed["prior"],
            references=tuple(listed["reference"] or ()),
            wal_start=listed["archive"]["start"],
            wal_stop=listed["archive"]["stop"],
            size=listed["info"]["size"],
            stored=listed["info"]["repository"]["delta"],
            damaged=bool(listed["error"]),
            stop_lsn=timelines.read_lsn(listed["lsn"]["stop"]),
        )


@dataclass(frozen=True, slots=True)
class Contents:
    """The contents of a repository for a stanza, the oldest backup first.

    ``system_id`` is the identity of the newest cluster that wrote to it, ``archive`` the folder of
    its log, ``wal`` the first and the last segment that are there; there may be gaps. ``problem``
    says why nothing could be read, and is None also where there is a stanza without any backup yet;
    ``absent`` is whether that is because there is no stanza.
    """

    stanza: str
    repository: int
    problem: str | None
    backups: tuple[Backup, ...]
    wal: tuple[str, str] | None
    system_id: int | None
    archive: str | None = None
    absent: bool = False

    @classmethod
    def read(cls, listed: dict[str, Any], repository: int) -> Self:
        status = next((each["status"] for each in listed["repo"]), listed["status"])
        wal = next((each for each in reversed(listed["archive"]) if each["min"]), None)
        return cls(
            stanza=listed["name"],
            repository=repository,
            problem=None if status["code"] in _FINE else explained(status["message"]),
            backups=tuple(Backup.read(each) for each in listed["backup"]),
            wal=(wal["min"], wal["max"]) if wal else None,
            system_id=listed["db"][-1]["system-id"] if listed["db"] else None,
            archive=wal["id"] if wal else None,
            absent=status["code"] in _ABSENT,
        )

    def on_its_timeline(self, history: str) -> Self:
        """Return it with the backups marked that the last segment's timeline has left behind.

        ``history`` is the history file of that timeline.
        """
        if self.wal is None:
            return self
        left_at, current = timelines.forks(history), _timeline(self.wal[1])
        backups = (
            replace(
                each,
                left=timelines.is_left(
                    _timeline(each.wal_start), each.stop_lsn, current=current, left_at=left_at
                ),
            )
            for each in self.backups
        )
        return replace(self, backups=tuple(backups))


def _timeline(segment: str) -> int:
    return int(segment[:8], 16)


# The codes of a stanza's status (pgBackRest's src/command/info/info.c).
_FINE = {0, 2}  # ok, no backup yet
_ABSENT = {1, 3}  # neither its folder, nor its description


@dataclass(slots=True)
class Progress:
    """The progress of a backup or a restore, from the lines that it prints for each file."""

    done_bytes: int = 0
    total_bytes: int | None = None

    def hear(self, line: str) -> None:
        """Parse a line that pgBackRest printed."""
        if found := _FILE.search(line):
            self.done_bytes += round(float(found[1]) * _UNITS[found[2]])
            if percent := float(found[3]):
                self.total_bytes = round(self.done_bytes * 100 / percent)


def read_verification(said: str) -> list[str]:
    """Return the errors in the output of ``verify``."""
    problems: list[str] = []
    for line in map(str.strip, said.splitlines()):
        if line.startswith("No usable"):
            problems.append(f"{line}: it is gone, damaged, or encrypted with another key")
        elif subject := _VERIFIED.match(line):
            problems.append(subject[1])
        elif problems and _COUNTS.match(line):
            problems[-1] += f", {line}"
    return [problem for problem in problems if not _UNHARMED.search(problem)]


def explained(reason: str) -> str:
    """Return an error of pgBackRest on one line, with an explanation where it needs one."""
    text = "".join(letter if letter.isprintable() else " " for letter in reason)
    text = " ".join(text.split())
    for sign, meaning in _MEANINGS.items():
        if sign in text:
            # The rest may be the garbage that a wrong key makes of a file.
            brief = re.split(r":? (?:HINT|FormatError|FileMissingError):", text)[0]
            return f"{meaning} ({brief[:300]})"
    return text[:1000]


def failure(
    verb: str, stanza: str | None, said: str, code: int
) -> RepositoryError | RepositoryBusy:
    """Return the error for an exit of pgBackRest with this code and output."""
    number, reason = read_error(said)
    if number == _LOCKED:
        return RepositoryBusy(
            f"A backup of {stanza} is being made or removed.", hint="Try again when it is done."
        )
    reason = explained(reason) or said.strip() or f"it ended with {code} and printed nothing"
    what = f"pgBackRest's {verb} of {stanza}" if stanza else f"pgBackRest's {verb}"
    return RepositoryError(f"{what} failed: {reason}", number=number)


def read_error(said: str) -> tuple[int | None, str]:
    """Return the number and the text of the error that pgBackRest printed; else (None, "")."""
    found = re.search(r"ERROR: \[(\d+)\]: (.*?)(?=\n(?:P\d+ +)?[A-Z]+: |\Z)", said, re.DOTALL)
    if found is None:
        return None, ""
    return int(found[1]), " ".join(found[2].split())
