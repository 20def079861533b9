"""pgBackRest: the configuration it reads, and its verbs with deadlines, as typed values.

A *stanza* is pgBackRest's word for one cluster's part of the repositories. Every repository
holds all stanzas: their write-ahead log, and their backups, each whole (full), or what has
changed since the last full (diff) or the last of any kind (incr).

All secrets are in the configuration file alone. With a repository gone pgBackRest tries for
minutes, so that every verb has a deadline here.
"""

import datetime as dt
import json
import os
import re
import shlex
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, Self
from urllib.parse import urlsplit

from tenantry.base.errors import Conflict, MachineError
from tenantry.base.secrets import Secret
from tenantry.host import commands, files
from tenantry.pg import timelines
from tenantry.pg.connections import ADMIN, Address

BackupType = Literal["full", "diff", "incr"]
Tell = Callable[[int, int | None], Awaitable[None]]
Moment = dt.datetime | Literal["latest", "immediate"]

_ENV = "/usr/bin/env"  # coreutils'
# All that it gets of the environment. It names backups by the time of day, and refuses to make
# one whose name is not after the last one's: it must not have another zone one day.
_ENVIRONMENT = {"TZ": "UTC"}
_HEAVY = {"backup", "verify"}  # what nobody waits for, and nobody shall notice
_FOR_EVER = "9999999"  # what is no longer needed is services.repository's to say
# "backup file /…/1255 (bundle 1/2449520, 768KB, 97.69%) checksum …", and so for a restore
_FILE = re.compile(r"\((?:[^()]*, )?([\d.]+)([KMGTP]?B), ([\d.]+)%\)")
_UNITS = {unit: 1024**power for power, unit in enumerate(("B", "KB", "MB", "GB", "TB", "PB"))}
_SECOND_TIMELINE = "00000002"
_SEGMENT = re.compile(r"[0-9A-F]{24}-[0-9a-f]{40}")
_VERIFIED = re.compile(r"(archiveId: \S+, .*|backup: \S+, status: invalid.*)")
_COUNTS = re.compile(r"(missing|checksum invalid|size invalid|other): \d")
_UNHARMED = re.compile(r"total WAL checked: (\d+), total valid WAL: \1$")
_MEANINGS = {
    "unable to connect to": "its server does not answer",
    "key/value found outside of section": "it is encrypted with another key, or damaged",
    "unable to flush": "it is encrypted with another key, or damaged",
    "No space left on device": "its disk is full",
    "missing stanza path": "nothing of this cluster is there: is its disk mounted?",
    "missing stanza data": "nothing of this cluster is there: is its disk mounted?",
    "unable to open missing file": "a file of it is not there: is its disk mounted?",
}
_MISSING = 55
_LOCKED = 50  # what pgBackRest calls its errors; its source's src/build/error/error.yaml
_ASK_SECONDS = 30.0
_WORK_SECONDS = 24 * 3600.0


class RepositoryError(MachineError):
    """pgBackRest could not do it. ``number`` is what it calls the error, if it said so."""

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
class LocalRepository:
    """A folder of this machine."""

    path: Path

    def options(self) -> dict[str, str]:
        return {"type": "posix", "path": str(self.path)}

    def __str__(self) -> str:
        return str(self.path)


@dataclass(frozen=True, slots=True)
class S3Repository:
    """A path in a bucket of a server that speaks S3; ``endpoint`` is its https URL."""

    endpoint: str
    bucket: str
    region: str
    path: str
    key: Secret
    secret: Secret
    ca_file: Path | None = None

    def options(self) -> dict[str, str]:
        server = urlsplit(self.endpoint)
        host = server.hostname or ""
        found = {
            "type": "s3",
            "path": "/" + self.path.strip("/"),
            "s3-endpoint": f"[{host}]" if ":" in host else host,
            "s3-bucket": self.bucket,
            "s3-region": self.region,
            "s3-key": self.key.reveal(),
            "s3-key-secret": self.secret.reveal(),
            "s3-uri-style": "path",  # the one that every such server takes
            "storage-port": str(server.port or 443),
        }
        return found | ({} if self.ca_file is None else {"storage-ca-file": str(self.ca_file)})

    def __str__(self) -> str:
        return f"{self.endpoint}/{self.bucket}/{self.path.strip('/')}"


Repository = LocalRepository | S3Repository


@dataclass(frozen=True, slots=True)
class Stanza:
    """A cluster as pgBackRest knows it."""

    name: str
    data: Path
    address: Address


@dataclass(frozen=True, slots=True)
class Backup:
    """A backup that is in a repository. Sizes are in bytes.

    ``prior`` is the backup that it was made upon, ``references`` are all whose files it needs.
    ``wal_start`` and ``wal_stop`` are the segments that make it consistent. ``stored`` is
    what it takes in the repository itself; ``damaged`` means pages whose checksum is wrong, and
    ``left`` that the cluster was restored to a moment before it: it is none of its past any more.
    ``stop_lsn`` is where it is consistent.
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
    def usable(self) -> bool:
        """Whether the cluster as it is now can be brought back from it."""
        return not self.damaged and not self.left

    @classmethod
    def read(cls, told: dict[str, Any]) -> Self:
        """What ``info`` tells of one."""
        return cls(
            repository=told["database"]["repo-key"],
            label=told["label"],
            type=told["type"],
            started=dt.datetime.fromtimestamp(told["timestamp"]["start"], dt.UTC),
            stopped=dt.datetime.fromtimestamp(told["timestamp"]["stop"], dt.UTC),
            prior=told["prior"],
            references=tuple(told["reference"] or ()),
            wal_start=told["archive"]["start"],
            wal_stop=told["archive"]["stop"],
            size=told["info"]["size"],
            stored=told["info"]["repository"]["delta"],
            damaged=bool(told["error"]),
            stop_lsn=timelines.read_lsn(told["lsn"]["stop"]),
        )


@dataclass(frozen=True, slots=True)
class Contents:
    """What a repository holds of a stanza, the oldest backup first.

    ``system_id`` is the identity of the newest cluster that wrote to it, ``archive`` the folder
    of its log, ``wal`` the first and the last segment that are there; there may be gaps.
    ``problem`` says why nothing could be told, and is None also where there is a stanza
    without any backup yet.
    """

    stanza: str
    repository: int
    problem: str | None
    backups: tuple[Backup, ...]
    wal: tuple[str, str] | None
    system_id: int | None
    archive: str | None = None

    @classmethod
    def read(cls, told: dict[str, Any], repository: int) -> Self:
        status = next((each["status"] for each in told["repo"]), told["status"])
        wal = next((each for each in reversed(told["archive"]) if each["min"]), None)
        return cls(
            stanza=told["name"],
            repository=repository,
            problem=None if status["code"] in _FINE else explained(status["message"]),
            backups=tuple(Backup.read(each) for each in told["backup"]),
            wal=(wal["min"], wal["max"]) if wal else None,
            system_id=told["db"][-1]["system-id"] if told["db"] else None,
            archive=wal["id"] if wal else None,
        )


_FINE = {0, 2}  # ok, no backup yet


@dataclass(slots=True)
class Progress:
    """How far a backup or a restore is, by what it says of each file."""

    done_bytes: int = 0
    total_bytes: int | None = None

    def hear(self, line: str) -> None:
        """A line that pgBackRest printed."""
        if found := _FILE.search(line):
            self.done_bytes += round(float(found[1]) * _UNITS[found[2]])
            if percent := float(found[3]):
                self.total_bytes = round(self.done_bytes * 100 / percent)


@dataclass(frozen=True, slots=True)
class PgBackRest:
    """The program, on the configuration, the locks and the spool of one folder."""

    program: Path
    folder: Path
    _histories: dict[tuple[str, int, str], str] = field(
        default_factory=dict, compare=False, repr=False
    )

    @property
    def command(self) -> str:
        """The program for a shell that has whatever environment.

        pgBackRest takes every option from a variable as well: one that is set where somebody
        starts a server would have its log go elsewhere.
        """
        variables = [f"{name}={value}" for name, value in _ENVIRONMENT.items()]
        return shlex.join([_ENV, "-i", *variables, str(self.program)])

    @property
    def configuration(self) -> Path:
        return self.folder / "pgbackrest.conf"

    def complaint(self, stanza: str) -> Path:
        """Where the last try to archive a segment has left what was wrong."""
        return self.folder / f"{stanza}.complaint"

    def ensure_configuration(
        self, repositories: Sequence[Repository], stanzas: Sequence[Stanza], passphrase: Secret
    ) -> bool:
        """Have pgBackRest know these, the first repository as number 1.

        Returns whether something changed.
        """
        for each in (self.folder / "lock", self.folder / "spool"):
            files.ensure_folder(each)
        return files.ensure_file(
            self.configuration,
            render(self.command, self.folder, repositories, stanzas, passphrase),
        )

    def archive_command(self, stanza: str) -> str:
        """PostgreSQL's ``archive_command``: puts a segment into all repositories."""
        words = [f"--config={self.configuration}", f"--stanza={stanza}"]
        command = f"{self.command} {shlex.join(words)} archive-push"
        complaint = shlex.quote(str(self.complaint(stanza)))
        return f"{command.replace('%', '%%')} %p 2>{complaint.replace('%', '%%')}"

    # ── verbs ────────────────────────────────────────────────────────────────

    async def create_stanza(self, stanza: str, *, deadline: float = _ASK_SECONDS) -> None:
        """Have every repository know this cluster, which has to run. Idempotent.

        Raises RepositoryError if the name is that of another cluster there.
        """
        await self._run("stanza-create", stanza, deadline=deadline)

    async def check(self, stanza: str, *, deadline: float = 90.0) -> None:
        """Have a segment of the running cluster archived to every repository.

        Raises RepositoryError if that fails, with the reason.
        """
        await self._run("check", stanza, deadline=deadline)

    async def backup(
        self,
        stanza: str,
        kind: BackupType,
        *,
        repository: int = 1,
        tell: Tell | None = None,
        deadline: float = _WORK_SECONDS,
    ) -> None:
        """Make a backup of the running cluster; without a full one before it, a full one.

        ``tell`` is called about twice a second with the bytes that are done and to be done.

        Raises RepositoryBusy if one is being made, RepositoryError if it fails.
        """
        options = [f"--type={kind}", f"--repo={repository}"]
        await self._run("backup", stanza, *options, tell=tell, deadline=deadline)

    async def restore(
        self,
        stanza: str,
        into: Path,
        *,
        to: Moment = "latest",
        databases: Sequence[str] = (),
        label: str | None = None,
        repository: int | None = None,
        archiving: bool = False,
        tell: Tell | None = None,
        deadline: float = _WORK_SECONDS,
    ) -> None:
        """Put the files of a cluster into a folder, and have it recover ``to`` when it starts.

        ``to`` is a moment, the end of all there is, or ("immediate") the end of the backup
        ``label``; without a label the newest before the moment is taken. Where ``databases``
        are named, only those and PostgreSQL's own three are restored, and of the others there
        are sparse files of zeros. A cluster that starts without ``archiving`` archives nothing,
        and cannot disturb the one it was made from. ``tell`` is as for ``backup``.

        Raises RepositoryError if no backup or not all of its files are there.
        """
        files.ensure_folder(into)
        lock = into.with_name(f"{into.name}.lock")  # several at once, each into its own folder
        options = [
            f"--pg1-path={into}",
            f"--lock-path={lock}",
            f"--process-max={_workers()}",
        ]
        match to:
            case dt.datetime():
                options += ["--type=time", f"--target={to.astimezone(dt.UTC):%F %T.%f}+00"]
            case "immediate":
                options += ["--type=immediate"]
            case "latest":
                options += ["--type=default"]
        if to != "latest":
            options += ["--target-action=promote"]
        options += [f"--db-include={name}" for name in databases]
        options += [] if label is None else [f"--set={label}"]
        options += [] if repository is None else [f"--repo={repository}"]
        options += [] if archiving else ["--archive-mode=off"]
        await self._run("restore", stanza, *options, tell=tell, deadline=deadline)

    async def expire(
        self, stanza: str, label: str, *, repository: int, deadline: float = 3600.0
    ) -> None:
        """Remove a backup, and those that were made upon it.

        Raises RepositoryBusy while a backup is being made.
        """
        options = [f"--set={label}", f"--repo={repository}"]
        await self._run("expire", stanza, *options, deadline=deadline)

    async def expire_wal(
        self, stanza: str, *, keep_backups: int, repository: int, deadline: float = 3600.0
    ) -> None:
        """Remove the write-ahead log from before the oldest of the newest ``keep_backups``."""
        kept = f"--repo{repository}-retention-archive"
        options = [f"{kept}-type=incr", f"{kept}={keep_backups}", f"--repo={repository}"]
        await self._run("expire", stanza, *options, deadline=deadline)

    async def info(
        self, *, repository: int, stanza: str | None = None, deadline: float = _ASK_SECONDS
    ) -> list[Contents]:
        """What a repository holds of one stanza, or of all that it has.

        Raises RepositoryError if it does not answer.
        """
        told = await self._ask(stanza, f"--repo={repository}", deadline=deadline)
        found = [Contents.read(each, repository) for each in told]
        return [await self._on_its_timeline(each, deadline) for each in found]

    async def _on_its_timeline(self, contents: Contents, deadline: float) -> Contents:
        """Mark the backups that the cluster has left behind by a restore to an earlier moment."""
        if contents.wal is None or contents.wal[1] < _SECOND_TIMELINE:
            return contents
        name = f"archive/{contents.stanza}/{contents.archive}/{contents.wal[1][:8]}.history"
        key = (name, contents.repository, str(contents.system_id))
        if key not in self._histories:  # it never changes
            options = [name, f"--repo={contents.repository}"]
            try:
                done = await self._run("repo-get", None, *options, deadline=deadline)
            except RepositoryError as error:
                if error.number != _MISSING:
                    raise
                return contents  # nobody can tell any more
            self._histories[key] = done.stdout
        left_at = timelines.forks(self._histories[key])
        current = int(contents.wal[1][:8], 16)
        return replace(
            contents,
            backups=tuple(
                replace(
                    each,
                    left=timelines.is_left(
                        int(each.wal_start[:8], 16), each.stop_lsn, current=current, left_at=left_at
                    ),
                )
                for each in contents.backups
            ),
        )

    async def segments(
        self, stanza: str, archive: str, *, repository: int, deadline: float = 300.0
    ) -> list[str]:
        """The names of the segments that a repository has in a folder of a stanza's log."""
        path = f"archive/{stanza}/{archive}"
        options = [path, "--recurse", "--output=json", f"--repo={repository}"]
        done = await self._run("repo-ls", None, *options, deadline=deadline)
        names = (name.rpartition("/")[2] for name in json.loads(done.stdout))
        return [name[:24] for name in names if _SEGMENT.match(name)]

    async def verify(
        self, stanza: str, *, repository: int, deadline: float = _WORK_SECONDS
    ) -> list[str]:
        """Read all that a repository has of a stanza. Returns what is wrong with it.

        A segment that is not there at all is not missed (see ``segments``).
        """
        options = ["--output=text", f"--repo={repository}"]
        done = await self._run("verify", stanza, *options, deadline=deadline)
        return read_verification(done.stdout)

    async def databases(
        self, stanza: str, label: str, *, repository: int, deadline: float = _ASK_SECONDS
    ) -> dict[str, int]:
        """The databases that a backup knows, with their oids."""
        told = await self._ask(stanza, f"--repo={repository}", f"--set={label}", deadline=deadline)
        found = told[0]["backup"][0].get("database-ref") or []
        return {each["name"]: each["oid"] for each in found}

    # ── files of ours beside the backups ─────────────────────────────────────

    async def put_file(
        self, name: str, text: str, *, repository: int, deadline: float = _ASK_SECONDS
    ) -> None:
        """Have a repository hold a file as it is: pgBackRest does not encrypt this one.

        Raises RepositoryError if it does not take it.
        """
        await self._run(
            "repo-put", None, f"--repo={repository}", "--raw", name, deadline=deadline, stdin=text
        )

    async def get_file(self, name: str, *, repository: int, deadline: float = _ASK_SECONDS) -> str:
        """What a repository holds under that name. Raises RepositoryError."""
        options = [f"--repo={repository}", "--raw", name]
        return (await self._run("repo-get", None, *options, deadline=deadline)).stdout

    async def file_names(
        self, folder: str, *, repository: int, deadline: float = _ASK_SECONDS
    ) -> list[str]:
        """The names of the files below a folder of a repository, in order; none if it is not there.

        Raises RepositoryError if the repository does not answer.
        """
        options = [f"--repo={repository}", "--output=json", "--recurse", folder]
        told = json.loads((await self._run("repo-ls", None, *options, deadline=deadline)).stdout)
        return sorted(name for name, about in told.items() if about["type"] == "file")

    # ── the program ──────────────────────────────────────────────────────────

    async def _ask(self, stanza: str | None, *options: str, deadline: float) -> Any:
        done = await self._run("info", stanza, "--output=json", *options, deadline=deadline)
        # With a wrong key it quotes what it read, control characters and all.
        return json.loads(done.stdout, strict=False)

    async def _run(
        self,
        verb: str,
        stanza: str | None,
        *options: str,
        deadline: float,
        tell: Tell | None = None,
        stdin: str | None = None,
    ) -> commands.Completed:
        words: list[str | Path] = [self.program, verb, f"--config={self.configuration}", *options]
        if stanza is not None:
            words.append(f"--stanza={stanza}")
        run = partial(
            commands.run,
            env=_ENVIRONMENT,
            inherit=False,
            gently=verb in _HEAVY,
            deadline=deadline,
            check=False,
        )
        if tell is None:
            done = await run(words, stdin=stdin)
        else:
            progress = Progress()
            done = await run(
                [*words, "--log-level-stderr=detail"],
                on_error_line=progress.hear,
                while_running=lambda: tell(progress.done_bytes, progress.total_bytes),
            )
        if done.returncode != 0:
            raise failure(verb, stanza, done.stderr, done.returncode)
        return done


def read_verification(said: str) -> list[str]:
    """What is wrong, by what ``verify`` printed."""
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
    """An error of pgBackRest's, on one line, and what it means where that is not plain."""
    text = "".join(letter if letter.isprintable() else " " for letter in reason)
    text = " ".join(text.split())
    for sign, meaning in _MEANINGS.items():
        if sign in text:
            # What follows may be the garbage that a wrong key makes of a file.
            brief = re.split(r":? (?:HINT|FormatError|FileMissingError):", text)[0]
            return f"{meaning} ({brief[:300]})"
    return text[:1000]


def failure(
    verb: str, stanza: str | None, said: str, code: int
) -> RepositoryError | RepositoryBusy:
    """What it means that pgBackRest ended so, having said that."""
    number, reason = read_error(said)
    if number == _LOCKED:
        return RepositoryBusy(
            f"A backup of {stanza} is being made or removed.", hint="Try again when it is done."
        )
    reason = explained(reason) or said.strip() or f"it ended with {code} and printed nothing"
    what = f"pgBackRest's {verb} of {stanza}" if stanza else f"pgBackRest's {verb}"
    return RepositoryError(f"{what} failed: {reason}", number=number)


def read_error(said: str) -> tuple[int | None, str]:
    """The number and the text of the error that pgBackRest has printed; (None, "") without."""
    found = re.search(r"ERROR: \[(\d+)\]: (.*?)(?=\n(?:P\d+ +)?[A-Z]+: |\Z)", said, re.DOTALL)
    if found is None:
        return None, ""
    return int(found[1]), " ".join(found[2].split())


def render(
    command: str,
    folder: Path,
    repositories: Sequence[Repository],
    stanzas: Sequence[Stanza],
    passphrase: Secret,
) -> str:
    """pgBackRest's configuration, whole. ``command`` is what it writes into restore_command."""
    general = {
        "cmd": command,
        "lock-path": str(folder / "lock"),
        "spool-path": str(folder / "spool"),
        "log-level-file": "off",
        "log-level-console": "off",
        "log-level-stderr": "warn",
        "log-timestamp": "n",
        "compress-type": "zst",
        "process-max": str(_workers()),
        "start-fast": "y",
        "expire-auto": "n",
        "io-timeout": "5",  # seconds; with a server gone, what asks it takes four times as long
    }
    for number, repository in enumerate(repositories, start=1):
        options = repository.options() | {
            "bundle": "y",  # an empty database has 298 files
            "cipher-type": "aes-256-cbc",
            "cipher-pass": passphrase.reveal(),
            "retention-full": _FOR_EVER,
        }
        general |= {f"repo{number}-{name}": value for name, value in options.items()}
    sections = {"global": general}
    if any(isinstance(repository, S3Repository) for repository in repositories):
        # A segment takes a moment there: several go at once. Into a folder one by one is faster.
        # Three tries have to end before a server that is being stopped is given up (60 seconds).
        sections["global:archive-push"] = {
            "archive-async": "y",
            "archive-timeout": "15",
            "process-max": "4",
        }
    for stanza in stanzas:
        sections[stanza.name] = {
            "pg1-path": str(stanza.data),
            "pg1-socket-path": str(stanza.address.socket_dir),
            "pg1-port": str(stanza.address.port),
            "pg1-user": ADMIN,
        }
    lines = ["# Written by Tenantry."]
    for section, values in sections.items():
        lines += ["", f"[{section}]"]
        for name, value in values.items():
            if not value or value != value.strip() or len(value.splitlines()) != 1:
                raise ValueError(f"{name} cannot be written into a configuration file")
            lines.append(f"{name}={value}")
    return "\n".join(lines) + "\n"


def _workers() -> int:
    """How many processes a backup or a restore takes: tenants need the other cores."""
    return max(1, min(4, len(os.sched_getaffinity(0)) // 2))
