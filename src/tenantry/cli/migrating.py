"""The databases on which ``tenantry migrate`` works, by name or by connection string."""

import datetime as dt
import io
import json
import tarfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from os import environ
from pathlib import Path
from tempfile import TemporaryFile
from typing import BinaryIO, Literal, Protocol, cast

from tenantry.base.errors import InvalidInput
from tenantry.cli.client import Api, Row, connect
from tenantry.cli.finding import find
from tenantry.cli.operations import follow
from tenantry.services.migrations import plan
from tenantry.services.migrations.folder import load
from tenantry.services.migrations.model import (
    Acceptance,
    Applied,
    BadMigrations,
    Limits,
    Migration,
    State,
    Status,
)
from tenantry.services.tenant_migrations import folders

VARIABLE = "TENANTRY_DATABASE_URL"


@dataclass(frozen=True, slots=True)
class Order:
    """A run to do: golang-migrate's verb, and how far."""

    verb: Literal["up", "down", "goto"]
    accept: Acceptance
    n: int | None = None
    version: int | None = None
    beside: bool = False


def number(text: str) -> int:
    """Return how many migrations are meant. Raises ValueError."""
    if not text.isdecimal():
        raise ValueError(f"“{text}” is not a whole number. A database is named by --database.")
    return int(text)


class Target(Protocol):
    """A database to migrate. All results are as ``--json`` prints them."""

    def run(self, order: Order, folder: Path, limits: Limits) -> Row:
        """Run migrations. Return the steps taken, and the resulting version."""

    def force(self, version: int, *, beside: bool) -> Row:
        """Set the version. Return the resulting version."""

    def status(self, folder: Path | None) -> Row:
        """Return the version of the database, and the folder's migrations compared with it."""


def target(database: str | None, environment: str | None) -> Target:
    """Return a Tenantry database by name, or that of a connection string or TENANTRY_DATABASE_URL.

    Raises InvalidInput if there is none.
    """
    given = database or environ.get(VARIABLE, "").strip()
    if not given:
        raise InvalidInput(
            "Which database?",
            hint=f"Say it with --database, or put its connection string into {VARIABLE}.",
        )
    if "://" in given or "=" in given:  # libpq's two forms; no name contains either
        from tenantry.cli.migrating_by_url import ByUrl  # noqa: PLC0415 (it loads psycopg)

        return ByUrl(given)
    return ByName(given, environment)


@dataclass(frozen=True, slots=True)
class ByName:
    """A Tenantry database, migrated through the API, without its password."""

    name: str
    environment: str | None

    def run(self, order: Order, folder: Path, limits: Limits) -> Row:
        asked = {
            "action": order.verb,
            "n": order.n,
            "version": order.version,
            **how(limits, order.accept, beside=order.beside),
        }

        def begin(api: Api, path: str) -> Row:
            return send(api, path, folder, asked)

        return self._follow(begin)

    def force(self, version: int, *, beside: bool) -> Row:
        body = {"action": "force", "version": version, "beside": beside}

        def begin(api: Api, path: str) -> Row:
            row: Row = api.post(path, body)
            return row

        return self._follow(begin)

    def _follow(self, begin: Callable[[Api, str], Row]) -> Row:
        with connect() as api:
            path = f"/api/databases/{find(api, self.name, self.environment)['id']}/migrations"
            done: Row = follow(api, begin(api, path)["id"])["result"]
        return done

    def status(self, folder: Path | None) -> Row:
        with connect() as api:
            row = find(api, self.name, self.environment)
            reported = api.get(f"/api/databases/{row['id']}/migrations")
        journal = {
            each["version"]: Applied(
                each["version"],
                each["file"],
                each["sha256"],
                dt.datetime.fromisoformat(each["applied_at"]),
            )
            for each in reported["applied"]
        }
        migrations = () if folder is None else load(folder)
        found = plan.status(migrations, State(reported["version"], reported["dirty"]), journal)
        return status_row(replace(found, running=reported["running"]))


def how(limits: Limits, accept: Acceptance, *, beside: bool) -> Row:
    """Return the options of a run as the API takes them."""
    return {
        "accept_edited": accept.edited,
        "accept_skipped": accept.skipped,
        "beside": beside,
        "lock_timeout_seconds": limits.lock_timeout,
        "statement_timeout_seconds": limits.statement_timeout,
        "retries": limits.retries,
    }


def send(api: Api, path: str, folder: Path, asked: Row) -> Row:
    """Send a request with a folder's files to the API. Raises BadMigrations."""
    request = {key: value for key, value in asked.items() if value is not None}
    scripts = [script for each in load(folder) for script in (each.up, each.down) if script]
    with TemporaryFile() as file:
        with tarfile.open(fileobj=file, mode="w") as archive:
            _add(archive, folders.REQUEST, json.dumps(request))
            for each in scripts:
                _add(archive, each.name, each.sql)
        if file.tell() > folders.MOST_ARCHIVE_BYTES:
            raise BadMigrations(
                f"The folder has more than {folders.MOST_BYTES:,} bytes of files.",
                hint="Run it in parts, or with the database's connection string.",
            )
        row: Row = api.upload(path, cast("BinaryIO", file), media_type="application/x-tar")
    return row


def _add(archive: tarfile.TarFile, name: str, text: str) -> None:
    content = text.encode()
    member = tarfile.TarInfo(name)
    member.size = len(content)
    archive.addfile(member, io.BytesIO(content))


def state_row(state: State) -> Row:
    return {"version": state.version, "dirty": state.dirty}


def status_row(found: Status) -> Row:
    edited = {each.version for each in found.edited}

    def reported(migration: Migration, state: str) -> Row:
        journal = found.journal.get(migration.version)
        return {
            "version": migration.version,
            "title": migration.title,
            "state": state,
            "applied_at": journal.applied_at.isoformat() if journal else None,
        }

    migrations = [
        *(
            reported(each, "edited" if each.version in edited else "applied")
            for each in found.applied
        ),
        *(reported(each, "skipped") for each in found.skipped),
        *(reported(each, "pending") for each in found.pending),
    ]
    migrations.sort(key=lambda row: int(row["version"]))
    return {
        **state_row(found.state),
        "running": found.running,
        "known": found.known,
        "migrations": migrations,
    }
