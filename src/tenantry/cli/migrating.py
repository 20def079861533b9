"""The databases that ``tenantry migrate`` works on, and the ways to them."""

import asyncio
import datetime as dt
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from os import environ
from pathlib import Path
from typing import Literal, Protocol, TypeVar

import psycopg
import typer

from tenantry.base.errors import InvalidInput, Unavailable
from tenantry.cli.client import Row, connect
from tenantry.cli.finding import find
from tenantry.cli.operations import follow
from tenantry.services.migrations import plan, service
from tenantry.services.migrations.ledger import Connection
from tenantry.services.migrations.model import Applied, Limits, State, Status, Step

VARIABLE = "TENANTRY_DATABASE_URL"
_CONNECT_SECONDS = 10
_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class Order:
    """What a run is to do: golang-migrate's verb, and how far."""

    verb: Literal["up", "down", "goto"]
    n: int | None = None
    version: int | None = None
    accept_edited: bool = False


class Target(Protocol):
    """A database to migrate. All answers are as ``--json`` prints them."""

    def run(self, order: Order, folder: Path, limits: Limits) -> Row:
        """The steps taken, and where the database then stands."""

    def force(self, version: int) -> Row:
        """Where the database then stands."""

    def status(self, folder: Path | None) -> Row:
        """Where the database stands, and beside it the folder's migrations."""


def target(database: str | None, environment: str | None) -> Target:
    """The database of a connection string or of TENANTRY_DATABASE_URL, or a Tenantry one by name.

    Raises InvalidInput if there is none.
    """
    given = database or environ.get(VARIABLE, "").strip()
    if not given:
        raise InvalidInput(
            "Which database?",
            hint=f"Say it with --database, or put its connection string into {VARIABLE}.",
        )
    if "://" in given or "=" in given:  # libpq's two forms; no name has either
        return ByUrl(given)
    return ByName(given, environment)


@dataclass(frozen=True, slots=True)
class ByName:
    """A Tenantry database, through the API: no password is needed."""

    name: str
    environment: str | None

    def run(self, order: Order, folder: Path, limits: Limits) -> Row:
        body = {
            "action": order.verb,
            "n": order.n,
            "version": order.version,
            **how(folder, limits, accept_edited=order.accept_edited),
        }
        return self._begin({key: value for key, value in body.items() if value is not None})

    def force(self, version: int) -> Row:
        return self._begin({"action": "force", "version": version})

    def _begin(self, body: Row) -> Row:
        with connect() as api:
            path = f"/api/databases/{find(api, self.name, self.environment)['id']}/migrations"
            done: Row = follow(api, api.post(path, body)["id"])["result"]
        return done

    def status(self, folder: Path | None) -> Row:
        with connect() as api:
            row = find(api, self.name, self.environment)
            told = api.get(f"/api/databases/{row['id']}/migrations")
        journal = {
            each["version"]: Applied(
                each["version"],
                each["file"],
                each["sha256"],
                dt.datetime.fromisoformat(each["applied_at"]),
            )
            for each in told["applied"]
        }
        migrations = () if folder is None else service.load(folder)
        return _status(plan.status(migrations, State(told["version"], told["dirty"]), journal))


_SELECTORS = {"environment": "environment", "owner": "owner_email", "blueprint": "blueprint"}


def selected(selectors: Sequence[str]) -> Row:
    """Which databases ``environment=production`` and the like fit, as the API takes it.

    Raises InvalidInput for one that is not known, or given twice.
    """
    found: Row = {}
    for each in selectors:
        key, equals, value = each.partition("=")
        name = _SELECTORS.get(key)
        if name is None or not equals or not value or name in found:
            raise InvalidInput.of(
                "selector",
                f"{each} is not one of environment=…, owner=… and blueprint=…, each once",
            )
        found[name] = value
    return found


def how(folder: Path, limits: Limits, *, accept_edited: bool) -> Row:
    """A folder's files and the limits of a run, as the API takes them. Raises BadMigrations."""
    scripts = [script for each in service.load(folder) for script in (each.up, each.down) if script]
    return {
        "files": [{"name": each.name, "sql": each.sql} for each in scripts],
        "accept_edited": accept_edited,
        "lock_timeout_seconds": limits.lock_timeout,
        "statement_timeout_seconds": limits.statement_timeout,
        "retries": limits.retries,
    }


@dataclass(frozen=True, slots=True, repr=False)
class ByUrl:
    """Any database, by a connection string: straight to PostgreSQL, not through a pooler."""

    url: str

    def run(self, order: Order, folder: Path, limits: Limits) -> Row:
        async def work(conn: Connection) -> Row:
            accept = order.accept_edited
            if order.verb == "up":
                steps = await service.up(conn, folder, order.n, limits=limits, accept_edited=accept)
            elif order.verb == "down":
                steps = await service.down(
                    conn, folder, order.n, limits=limits, accept_edited=accept
                )
            else:
                steps = await service.goto(
                    conn, folder, order.version or 0, limits=limits, accept_edited=accept
                )
            return {**_state(await service.version(conn)), "steps": [_step(each) for each in steps]}

        return self._do(work)

    def force(self, version: int) -> Row:
        async def work(conn: Connection) -> Row:
            return _state(await service.force(conn, version))

        return self._do(work)

    def status(self, folder: Path | None) -> Row:
        async def work(conn: Connection) -> Row:
            return _status(await service.status(conn, {} if folder is None else folder))

        return self._do(work)

    def _do(self, work: Callable[[Connection], Awaitable[_Result]]) -> _Result:
        async def connected() -> _Result:
            async with await self._connect() as conn:
                return await work(conn)

        try:
            return asyncio.run(connected())
        except psycopg.Error as error:
            raise InvalidInput(
                f"PostgreSQL says: {str(error).strip()}",
                hint="Migrations need a role that may make tables, and a direct connection.",
            ) from error

    async def _connect(self) -> Connection:
        try:
            return await self._open()
        except psycopg.OperationalError as error:
            if "no password supplied" not in str(error) or not sys.stdin.isatty():
                raise Unavailable(f"The database cannot be reached: {error}".strip()) from error
        except psycopg.ProgrammingError as error:
            raise InvalidInput(
                f"This is no connection string: {error}".strip(),
                hint="It looks like postgresql://user@host:5432/database?sslmode=require.",
            ) from error
        return await self._open(typer.prompt("Password", hide_input=True, err=True))

    async def _open(self, password: str | None = None) -> Connection:
        return await psycopg.AsyncConnection.connect(
            self.url,
            autocommit=True,
            password=password,
            connect_timeout=_CONNECT_SECONDS,
            application_name="tenantry migrate",
        )


def _state(state: State) -> Row:
    return {"version": state.version, "dirty": state.dirty}


def _step(step: Step) -> Row:
    return {
        "version": step.version,
        "direction": str(step.direction),
        "file": step.script.name if step.script else None,
    }


def _status(found: Status) -> Row:
    edited = {each.version for each in found.edited}
    applied = [
        {
            "version": each.version,
            "title": each.title,
            "state": "edited" if each.version in edited else "applied",
            "applied_at": found.journal[each.version].applied_at.isoformat()
            if each.version in found.journal
            else None,
        }
        for each in found.applied
    ]
    pending = [
        {"version": each.version, "title": each.title, "state": "pending", "applied_at": None}
        for each in found.pending
    ]
    return {**_state(found.state), "known": found.known, "migrations": applied + pending}
