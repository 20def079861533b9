"""Copy CSV to and from a table with the rights of its owner role, in a process of its own."""

import json
import re
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import asdict, dataclass

from tenantry.base.errors import Conflict, InvalidInput, Unavailable
from tenantry.host import children
from tenantry.host.commands import Talk
from tenantry.pg import copy_program, logins, sql_program, sql_runs
from tenantry.pg.connections import Address
from tenantry.pg.copy_program import Outcome, Task

SECONDS = 600.0  # for all of it: it holds back VACUUM
_PIECE = 64 * 1024
_LINE = re.compile(r"^COPY .*, line (\d+)", re.MULTILINE)
_CANCELLED = "57014"
_APPLICATION = "tenantry rows"


@dataclass(frozen=True, slots=True)
class Table:
    """Where a table is, and the owner role of its database."""

    address: Address
    database: str
    role: str


async def out(table: Table, statement: str) -> AsyncGenerator[bytes, None]:
    """Yield the CSV that a ``COPY … TO STDOUT`` writes, in pieces.

    Raises InvalidInput, Conflict, Unavailable; what came before that is not all.
    """
    async with _talking(table, statement, reads=False) as talk:
        while piece := await talk.stdout.read(_PIECE):
            yield piece
        await _outcome(talk, table)


async def into(table: Table, statement: str, chunks: AsyncIterator[bytes]) -> int:
    """Copy CSV by a ``COPY … FROM STDIN``, as one transaction. Returns the number of rows.

    Raises InvalidInput for what PostgreSQL refuses, with the line; Conflict, Unavailable; and what
    ``chunks`` raises: then nothing was copied.
    """
    async with _talking(table, statement, reads=True) as talk, aclosing(_sent(chunks)) as frames:
        try:
            async for frame in frames:
                talk.stdin.write(frame)
                await talk.stdin.drain()
        except (BrokenPipeError, ConnectionResetError):
            pass  # the program has ended, and reports why
        return (await _outcome(talk, table)).rows


async def _sent(chunks: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    """Yield frames, and the one that announces the end: without it nothing is committed."""
    async for chunk in chunks:
        if chunk:
            yield len(chunk).to_bytes(4, "big") + chunk
    yield bytes(4)


@asynccontextmanager
async def _talking(table: Table, statement: str, *, reads: bool) -> AsyncIterator[Talk]:
    async with (
        sql_runs.as_owner(
            table.address,
            table.database,
            table.role,
            read_only=not reads,
            seconds=SECONDS,
            application=_APPLICATION,
            exact_values=True,
        ) as conninfo,
        children.talking(
            copy_program, memory=sql_runs.MEMORY_BYTES, deadline=SECONDS + sql_runs.START_SECONDS
        ) as talk,
    ):
        task = Task(conninfo.reveal(), statement, reads)
        talk.stdin.write(json.dumps(asdict(task)).encode() + b"\n")
        yield talk


async def _outcome(talk: Talk, table: Table) -> Outcome:
    said = (await talk.stderr).decode(errors="replace").strip().splitlines()
    try:
        outcome = Outcome(**json.loads(said[-1]))
    except (IndexError, ValueError, TypeError):
        raise Unavailable(
            f"The process that copies rows of {table.database} ended too early.",
            hint="A copy may take ten minutes. Nothing was changed.",
        ) from None
    if outcome.error is None:
        return outcome
    if (refused := logins.refusal(table.database, outcome.error)) is not None:
        raise refused
    if outcome.sqlstate == _CANCELLED:
        raise Conflict(
            f"It took longer than {SECONDS:.0f} s, and was cancelled. Nothing was changed.",
            hint="Copy less at once, or use psql, which has no such limit.",
        )
    # libpq's own errors differ by where it has no more memory.
    if outcome.sqlstate is None or outcome.sqlstate.startswith(sql_program.ENDED):
        ended = Conflict(
            "The copy ended too early: a row is too large to be copied, or the session was ended"
            f" ({outcome.error}).",
            hint="Leave large columns out, or use psql.",
        )
        ended.may_be_done = True  # where the session was ended during COMMIT
        raise ended
    found = _LINE.search(outcome.context or "")
    where = f"line {found[1]}" if found else "csv"
    message = ". ".join(filter(None, (outcome.error, outcome.detail)))
    refusal = InvalidInput.of(where, message, code=outcome.sqlstate)
    refusal.hint = "Nothing of the file was copied."
    refusal.about = {"sqlstate": outcome.sqlstate, "context": outcome.context} | (
        {"line": int(found[1])} if found else {}
    )
    raise refusal
