"""The pgBackRest commands, each with a deadline, and the command that PostgreSQL archives with.

A *stanza* is pgBackRest's word for one cluster's part of the repositories. Every repository holds
all stanzas: their write-ahead log, and their backups, each whole (full), or the changes since the
last full (diff) or the last of any kind (incr).

When a repository is unreachable pgBackRest retries for minutes, so every command has a deadline
here.
"""

import asyncio
import datetime as dt
import json
import re
import shlex
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

from tenantry.base.secrets import Secret
from tenantry.host import commands, files, packages
from tenantry.pg import reduced_backups
from tenantry.pg.pgbackrest_output import (
    MISSING,
    SEGMENT,
    BackupDamaged,
    BackupType,
    Contents,
    Progress,
    RepositoryError,
    failure,
    read_verification,
)
from tenantry.pg.repositories import (
    Repository,
    Stanza,
    is_configured,
    render,
    spare_workers,
    workers,
)

ReportProgress = Callable[[int, int | None], Awaitable[None]]
Moment = dt.datetime | Literal["latest", "immediate"]

_ENV = "/usr/bin/env"  # coreutils'
# Its whole environment. It names backups by the local time, and refuses to make one whose name is
# not after the last one's: the time zone must never change.
_ENVIRONMENT = {"TZ": "UTC"}
_SECOND_TIMELINE = "00000002"
# The errors of a file that is not as it was written: its hash, its form, or its cipher.
_DAMAGED = re.compile(r"ChecksumError|FormatError|CryptoError|unable to flush|decompress")
_HEAVY = {"backup", "verify"}  # run in the background, without slowing others down
_ASK_SECONDS = 30.0
_LOG_SECONDS = 300.0  # of one segment, by a slow line; a silent connection is given up much sooner
_WORK_SECONDS = 24 * 3600.0
_FULL_BYTES = 1024 * 1024  # a disk with less left counts as full


@dataclass(frozen=True, slots=True)
class PgBackRest:
    """The program, on the configurations and the locks of one folder.

    There is a configuration of all repositories, and one of each alone: pgBackRest's
    ``archive-push`` puts a segment into all that it has configured, as slowly as the slowest.
    """

    program: Path
    folder: Path
    _histories: dict[tuple[str, int, str], str] = field(
        default_factory=dict, compare=False, repr=False
    )

    @property
    def command(self) -> str:
        """Return the program for a shell with any environment.

        pgBackRest takes every option from a variable as well: one that is set where the server is
        started would redirect its log.
        """
        variables = [f"{name}={value}" for name, value in _ENVIRONMENT.items()]
        return shlex.join([_ENV, "-i", *variables, str(self.program)])

    def configuration(self, repository: int | None = None) -> Path:
        """Return the configuration file of one repository, or of all."""
        name = "pgbackrest" if repository is None else f"repository-{repository}"
        return self.folder / f"{name}.conf"

    def complaint(self, stanza: str) -> Path:
        """Return the file with the error of the last try to archive a segment."""
        return self.folder / f"{stanza}.complaint"

    def ensure_configuration(
        self, repositories: Sequence[Repository], stanzas: Sequence[Stanza], passphrase: Secret
    ) -> bool:
        """Write the configuration of these repositories, the first as number 1, and stanzas.

        Returns whether something changed.
        """
        for each in (self.folder / "lock", self.folder / "spool"):
            files.ensure_folder(each)
        every = dict(enumerate(repositories, start=1))
        configured = {self.configuration(): every}
        configured |= {self.configuration(number): {number: each} for number, each in every.items()}
        changed = [
            files.ensure_file(path, render(self.command, self.folder, known, stanzas, passphrase))
            for path, known in configured.items()
        ]
        return any(changed)

    def knows(self, number: int, repository: Repository) -> bool:
        """Whether this repository is configured with this number now."""
        try:
            return is_configured(self.configuration().read_text(), number, repository)
        except FileNotFoundError:
            return False

    def archive_command(self, stanza: str) -> str:
        """Return PostgreSQL's ``archive_command``: puts a segment into the first repository."""
        words = [f"--config={self.configuration(1)}", f"--stanza={stanza}"]
        command = f"{self.command} {shlex.join(words)} archive-push"
        complaint = shlex.quote(str(self.complaint(stanza)))
        return f"{command.replace('%', '%%')} %p 2>{complaint.replace('%', '%%')}"

    # ── verbs ────────────────────────────────────────────────────────────────

    async def create_stanza(self, stanza: str, *, deadline: float = _ASK_SECONDS) -> None:
        """Create the stanza of this cluster, which has to run, in every repository. Idempotent.

        Raises RepositoryError if the name is that of another cluster there.
        """
        await self.run("stanza-create", stanza, deadline=deadline)

    async def backup(
        self,
        stanza: str,
        kind: BackupType,
        *,
        repository: int = 1,
        report: ReportProgress | None = None,
        deadline: float = _WORK_SECONDS,
    ) -> None:
        """Make a backup of the running cluster; without a full one before it, a full one.

        ``report`` is called about twice a second with the bytes done and the bytes in all.

        Raises RepositoryBusy if one is being made, RepositoryError if it fails.
        """
        processes = f"--process-max={await spare_workers()}"
        options = [f"--type={kind}", f"--repo={repository}", processes]
        await self.run("backup", stanza, *options, report=report, deadline=deadline)

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
        durable: bool = True,
        local: Path | None = None,
        report: ReportProgress | None = None,
        deadline: float = _WORK_SECONDS,
    ) -> None:
        """Restore the files of a cluster into a folder, to recover ``to`` when it starts.

        ``to`` is a moment, the end of the log ("latest"), or ("immediate") the end of the backup
        ``label``; without a label the newest before the moment is taken. Where ``databases`` are
        named, only those and PostgreSQL's own three are restored, and of the others there are
        sparse files of zeros. A cluster that starts without ``archiving`` archives nothing, and
        cannot disturb the one it was made from. What is not ``durable`` waits for no disk, and may
        be lost with the machine's power. ``local`` is where repository 1 is now. ``report`` is as
        for ``backup``.

        Raises RepositoryError if no backup or not all of its files are there, BackupDamaged if one
        cannot be read back as it was written, NotEnoughDisk if the folder's disk becomes full.
        """
        files.ensure_folder(into)
        lock = into.with_name(f"{into.name}.lock")  # for several at once, each into its own folder
        options = [
            f"--pg1-path={into}",
            f"--lock-path={lock}",
            f"--process-max={workers()}",
            "--job-retry=1",  # the next would come in 15 seconds, and damage does not go away
        ]
        options += _recovery_target(to)
        options += [f"--db-include={name}" for name in databases]
        options += [] if label is None else [f"--set={label}"]
        options += [] if repository is None else [f"--repo={repository}"]
        options += [] if local is None else [f"--repo1-path={local}"]
        options += [] if archiving else ["--archive-mode=off"]
        try:
            await self.run(
                "restore",
                stanza,
                *options,
                report=report,
                deadline=deadline,
                env={} if durable else packages.no_fsync(),
            )
        except RepositoryError as error:
            # Its report may name what failed next for lack of space.
            if files.NO_SPACE in error.detail or files.free_bytes(into) < _FULL_BYTES:
                raise files.became_full(f"that of {into}") from error
            if _DAMAGED.search(error.detail):
                raise BackupDamaged(error.detail, number=error.number) from error
            raise

    async def reduce(
        self,
        stanza: str,
        label: str,
        repository: Path,
        into: Path,
        *,
        choose: reduced_backups.Choose,
        deadline: float = 600.0,
    ) -> dict[str, int]:
        """Create a repository in a folder that links to the local one, with one backup reduced.

        That backup seems to contain only the databases that ``choose`` names, PostgreSQL's own, and
        the large files of others. Returns the databases that it lists, with their oids.

        Raises reduced_backups.Unknown or RepositoryError if that is not possible: this does not
        mean that the backup is unusable.
        """
        name = f"backup/{stanza}/{label}/{reduced_backups.MANIFEST}"
        listed = into.with_name("listed")
        listed.unlink(missing_ok=True)
        try:
            await self.run("repo-get", None, name, "--repo=1", deadline=deadline, into=listed)
            with listed.open() as lines:
                found = await asyncio.to_thread(reduced_backups.reduced, lines, choose)
        except UnicodeDecodeError as error:
            raise reduced_backups.Unknown("it is no text") from error
        finally:
            listed.unlink(missing_ok=True)  # it contains the key of the backup's files
        about = f"backup/{stanza}/backup.info"
        printed = await self.run("repo-get", None, about, "--repo=1", deadline=deadline)
        key = reduced_backups.cipher_key(printed.stdout)
        reduced_backups.link(repository, stanza, label, into)
        options = [name, f"--repo1-path={into}", "--repo=1"]
        secret = {"PGBACKREST_CIPHER_PASS": key}
        await self.run("repo-put", None, *options, deadline=deadline, stdin=found.text, env=secret)
        return found.known

    async def expire(
        self, stanza: str, label: str, *, repository: int, deadline: float = 3600.0
    ) -> None:
        """Remove a backup, and those that depend on it.

        Raises RepositoryBusy while a backup is being made.
        """
        options = [f"--set={label}", f"--repo={repository}"]
        await self.run("expire", stanza, *options, deadline=deadline)

    async def expire_wal(
        self, stanza: str, *, keep_backups: int, repository: int, deadline: float = 3600.0
    ) -> None:
        """Remove the write-ahead log from before the oldest of the newest ``keep_backups``."""
        kept = f"--repo{repository}-retention-archive"
        options = [f"{kept}-type=incr", f"{kept}={keep_backups}", f"--repo={repository}"]
        await self.run("expire", stanza, *options, deadline=deadline)

    async def info(
        self, *, repository: int, stanza: str | None = None, deadline: float = _ASK_SECONDS
    ) -> list[Contents]:
        """Return the contents of a repository for one stanza, or for all that it has.

        Raises RepositoryError if it does not answer.
        """
        printed = await self._ask(stanza, f"--repo={repository}", deadline=deadline)
        found = [Contents.read(each, repository) for each in printed]
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
                done = await self.run("repo-get", None, *options, deadline=deadline)
            except RepositoryError as error:
                if error.number != MISSING:
                    raise
                return contents  # nothing shows it any more
            self._histories[key] = done.stdout
        return contents.on_its_timeline(self._histories[key])

    async def segments(
        self, stanza: str, archive: str, *, repository: int, deadline: float = 300.0
    ) -> list[str]:
        """Return the names of the segments that a repository has in a folder of a stanza's log."""
        path = f"archive/{stanza}/{archive}"
        options = [path, "--recurse", "--output=json", f"--repo={repository}"]
        done = await self.run("repo-ls", None, *options, deadline=deadline)
        names = (name.rpartition("/")[2] for name in json.loads(done.stdout))
        return [name[:24] for name in names if SEGMENT.match(name)]

    async def fetch(
        self, stanza: str, name: str, into: Path, *, repository: int, deadline: float = _LOG_SECONDS
    ) -> None:
        """Write a file of the log that a repository has. Raises RepositoryError."""
        options = [name, str(into), f"--repo={repository}"]
        await self.run("archive-get", stanza, *options, deadline=deadline)

    async def push(
        self, stanza: str, file: Path, *, repository: int, deadline: float = _LOG_SECONDS
    ) -> None:
        """Write a file of the log to a repository, which may have it already.

        Raises RepositoryError if it rejects the file, or has another of that name.
        """
        config = self.configuration(repository)
        await self.run("archive-push", stanza, str(file), deadline=deadline, config=config)

    async def verify(
        self, stanza: str, *, repository: int, deadline: float = _WORK_SECONDS
    ) -> list[str]:
        """Read all that a repository has of a stanza. Returns what is wrong with it.

        A segment that is missing altogether is not reported (see ``segments``).
        """
        options = ["--output=text", f"--repo={repository}"]
        done = await self.run("verify", stanza, *options, deadline=deadline)
        return read_verification(done.stdout)

    async def databases(
        self, stanza: str, label: str, *, repository: int, deadline: float = _ASK_SECONDS
    ) -> dict[str, int]:
        """Return the databases of a backup, with their oids.

        Raises RepositoryError if the backup's list of them is gone, or cannot be read.
        """
        printed = await self._ask(
            stanza, f"--repo={repository}", f"--set={label}", deadline=deadline
        )
        if not printed[0]["backup"]:
            why = Contents.read(printed[0], repository).problem or "it is not there"
            raise RepositoryError(f"The backup {label} cannot be read: {why}.")
        found = printed[0]["backup"][0].get("database-ref") or []
        return {each["name"]: each["oid"] for each in found}

    async def remove_stanza(
        self, stanza: str, *, repository: int, deadline: float = _ASK_SECONDS
    ) -> None:
        """Delete all that a repository holds of a cluster that is gone. Raises RepositoryError."""
        for folder in ("archive", "backup"):
            options = [f"--repo={repository}", "--recurse", f"{folder}/{stanza}"]
            await self.run("repo-rm", None, *options, deadline=deadline)

    # ── the program ──────────────────────────────────────────────────────────

    async def _ask(self, stanza: str | None, *options: str, deadline: float) -> Any:
        done = await self.run("info", stanza, "--output=json", *options, deadline=deadline)
        # With a wrong key it quotes what it read, control characters included.
        return json.loads(done.stdout, strict=False)

    async def run(
        self,
        verb: str,
        stanza: str | None,
        *options: str,
        deadline: float,
        config: Path | None = None,
        report: ReportProgress | None = None,
        stdin: str | Path | None = None,
        env: Mapping[str, str] | None = None,
        into: Path | None = None,
    ) -> commands.Completed:
        """Run one of its commands; the parameters are those of ``commands.run``.

        Raises RepositoryError if it fails, CommandFailed if it is too slow.
        """
        config = config or self.configuration()
        words: list[str | Path] = [self.program, verb, f"--config={config}", *options]
        if stanza is not None:
            words.append(f"--stanza={stanza}")
        run = partial(
            commands.run,
            env={**_ENVIRONMENT, **(env or {})},
            inherit=False,
            gently=verb in _HEAVY,
            deadline=deadline,
            check=False,
            into=into,
            as_owner_of=self.folder,  # files that only root can read are of no use to a restore
        )
        if report is None:
            done = await run(words, stdin=stdin)
        else:
            progress = Progress()
            done = await run(
                [*words, "--log-level-stderr=detail"],
                on_error_line=progress.hear,
                while_running=lambda: report(progress.done_bytes, progress.total_bytes),
            )
        if done.returncode != 0:
            raise failure(verb, stanza, done.stderr, done.returncode)
        return done


def _recovery_target(to: Moment) -> list[str]:
    match to:
        case dt.datetime():
            moment = f"{to.astimezone(dt.UTC):%F %T.%f}+00"
            return ["--type=time", f"--target={moment}", "--target-action=promote"]
        case "immediate":
            return ["--type=immediate", "--target-action=promote"]
        case "latest":
            return ["--type=default"]
