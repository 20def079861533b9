"""What tables were and are, in two clusters: counted, compared, and brought back.

Each task is a process of its own (``past_program``, ``bringing_back_program``), with two sessions
that have the rights of the database's owner role and no more. A policy that would hide rows is an
error.
"""

import json
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

from psycopg.conninfo import make_conninfo

from tenantry.base.errors import Conflict, InvalidInput, Unavailable
from tenantry.host import children
from tenantry.host.commands import CommandFailed
from tenantry.pg import bringing_back_program, logins, past_program, tenant_settings, visitors
from tenantry.pg.connections import CONNECT_SECONDS, Address, startup_options
from tenantry.pg.long_statements import StatementTooLong

Kind = Literal["deleted", "changed", "added"]
LOST: tuple[Kind, ...] = ("deleted", "changed")  # that can be brought back

_MEMORY_BYTES = 256 * 1024 * 1024
_START_SECONDS = 15.0  # for the process to begin
_LOCK_SECONDS = 10


class CannotCompare(InvalidInput):
    """A table cannot be compared, or its rows cannot be brought back."""

    code = "cannot_compare"
    title = "That is not possible with this table"


class RowsRejected(Conflict):
    """PostgreSQL rejects rows that are brought back: by a constraint, a trigger or missing rights.

    ``sqlstate`` is its code.
    """

    code = "rows_rejected"
    title = "PostgreSQL rejects the rows"

    def __init__(self, message: str, *, sqlstate: str | None) -> None:
        super().__init__(
            message, hint="Nothing was changed. Bring other rows back first, or fewer."
        )
        self.sqlstate = sqlstate


@dataclass(frozen=True, slots=True)
class ThenAndNow:
    """A database on the side cluster ``then``, and on its own cluster, ``now``.

    ``purpose`` names the logins of a task, of which there is one at a time: the next one ends the
    sessions of one that a crash has left.
    """

    then: Address
    now: Address
    database: str
    role: str
    purpose: str

    async def tables(self, *, seconds: float) -> list[dict[str, Any]]:
        """Return the rows of each table then and now: ``schema``, ``table``, ``then``, ``now``.

        A number is None where ``then_why`` or ``now_why`` says why: "missing", "unlogged",
        "forbidden" or "no_time". Raises as ``bring_back``.
        """
        arguments = {"seconds": seconds * 0.9}
        found = await self._do(past_program, "tables", arguments, seconds=seconds)
        names = ("schema", "table", "then", "then_why", "now", "now_why")
        return [dict(zip(names, row, strict=True)) for row in found["tables"]]

    async def compare(
        self, schema: str, table: str, *, file: Path, seconds: float
    ) -> dict[str, Any]:
        """Compare a table, and write the differences to a file.

        Return its ``key``, () where whole rows are compared; the ``columns`` that are; those that
        are ``only_then`` and ``only_now``; the ``counts`` of rows; whether differences are
        ``truncated``: more than ``past_program.MOST_LISTED``, or ``MOST_BYTES``; and how many
        deleted rows may have ``moved``: an added row has their values. Raises as ``bring_back``.
        """
        arguments = {"schema": schema, "name": table, "file": str(file)}
        return await self._do(past_program, "compare", arguments, seconds=seconds)

    async def page(
        self, file: Path, kinds: Sequence[Kind], *, after: int, limit: int, seconds: float
    ) -> dict[str, Any]:
        """Return ``rows`` of a comparison after a place, with their values, and the next place.

        Raises as ``bring_back``.
        """
        arguments = {"file": str(file), "kinds": [*kinds], "after": after, "limit": limit}
        return await self._do(past_program, "page", arguments, seconds=seconds)

    async def bring_back(
        self,
        files: Sequence[Path],
        kinds: Sequence[Kind],
        *,
        places: Sequence[int] | None = None,
        seconds: float,
    ) -> dict[str, Any]:
        """Bring rows of comparisons back in one transaction.

        Return how many were ``inserted``, ``updated``, of both ``altered`` by a trigger, were
        ``already`` as they had been, and ``skipped``, of which ``rows`` names some.

        Raises CannotCompare, RowsRejected, StatementTooLong, Conflict, Unavailable.
        """
        arguments = {
            "files": [str(each) for each in files],
            "kinds": [*kinds],
            "places": None if places is None else [*places],
            "seconds": seconds,
        }
        return await self._do(bringing_back_program, "bring_back", arguments, seconds=seconds)

    async def copy(
        self, tables: Sequence[tuple[str, str]], into: str, *, seconds: float
    ) -> dict[str, Any]:
        """Copy whole tables as they were into a new schema of the live database.

        Return the ``schema``, and the ``tables`` with their ``rows``. Raises as ``bring_back``.
        """
        arguments = {"tables": [[*each] for each in tables], "into": into}
        return await self._do(bringing_back_program, "copy", arguments, seconds=seconds)

    async def _do(
        self, program: ModuleType, task: str, arguments: Mapping[str, Any], *, seconds: float
    ) -> dict[str, Any]:
        settings = await self._settings(seconds)
        async with AsyncExitStack() as stack:
            sessions = {}
            for side, address in (("then", self.then), ("now", self.now)):
                name, password = await stack.enter_async_context(
                    visitors.short_login(address, self.database, [self.role], purpose=self.purpose)
                )
                sessions[side] = make_conninfo(
                    address.conninfo(user=name, dbname=self.database),
                    password=password.reveal(),
                    options=startup_options(settings),
                )
            try:
                printed = await children.output(
                    program,
                    env={},
                    memory=_MEMORY_BYTES,
                    deadline=seconds + CONNECT_SECONDS + _START_SECONDS,
                    stdin=json.dumps({"task": task, "arguments": arguments, **sessions}),
                )
                found = children.read(program, printed)
            except CommandFailed as error:
                raise Unavailable(
                    f"The process that compares {self.database} ended too early.",
                    hint="Try it again: what it had not finished was rolled back.",
                ) from error
        if "failure" in found:
            raise self._error(found["failure"], seconds)
        return found

    async def _settings(self, seconds: float) -> dict[str, str]:
        """Return the settings of both sessions: the same, so that equal values are equal text."""
        settings = await tenant_settings.settings_of(self.now, self.role, self.database)
        return {
            **settings,
            **tenant_settings.EXACT,
            # The tenant's own, which its functions may depend on: both sides have the same.
            "timezone": settings.get("timezone", tenant_settings.EXACT["timezone"]),
            "client_encoding": "UTF8",
            "row_security": "off",
            "role": self.role,
            "statement_timeout": str(int(seconds * 1000)),
            "lock_timeout": f"{_LOCK_SECONDS}s",
        }

    def _error(self, failure: Mapping[str, Any], seconds: float) -> Exception:
        match failure["kind"]:
            case "refused":
                return CannotCompare(f"{failure['message'][:1].upper()}{failure['message'][1:]}.")
            case "time":
                return StatementTooLong(
                    f"It took longer than {seconds:g} s, and was cancelled.",
                    hint='Restore the table beside itself, with "tables" and "as": "new".',
                )
            case "memory" | "room":
                return Conflict(
                    "The rows are too large to be read or sorted.",
                    hint='Bring fewer back at once, or restore it, with "tables" and "as": "new".',
                )
            case "locked":
                return logins.busy(self.database)
            case "connection":
                return self._lost_session(failure["message"])
            case _:
                said = filter(None, (failure["message"], failure["detail"]))
                return RowsRejected(". ".join(said), sqlstate=failure["sqlstate"])

    def _lost_session(self, message: str) -> Exception:
        if (refused := logins.refusal(self.database, message)) is not None:
            return refused
        return Unavailable(
            f"{self.database} ended the session, or does not let one in.",
            hint="Try again. What was not finished was rolled back.",
        )
