"""Keeps one database's clients from filling the memory of the shared pooler.

PgBouncer stores the text of each prepared statement, without a bound, for as long as a client or a
server connection knows it: after 400 statements of 1 MiB it holds 400 MiB, also when their client
has disconnected. It does not report how much of it is a client's. So while the process grows, each
growth is attributed to the databases by the bytes that their clients sent meanwhile; and above the
ceiling the sessions of the database that has caused the most are ended, of clients and of servers,
which frees the memory. Values and COPY are passed on in pieces and not stored.

It also holds a login's message until it is complete, and any client can send one of
``max_packet_size``. What unfinished logins have sent is no database's growth: ``login_floods`` ends
them.
"""

import asyncio
import contextlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from tenantry.base.errors import Unavailable
from tenantry.base.events import SessionsEnded, emit
from tenantry.base.pausing import pause
from tenantry.host import tcp
from tenantry.services.pooling import plan
from tenantry.services.pooling.console import Console
from tenantry.services.pooling.service import Pooler

_LOOK_SECONDS = 0.25
_TRIES = 5
_IDLE_LOOKS = 20  # between counts of bytes, while there is memory


@dataclass(slots=True)
class _Account:
    """The memory of the process, and how much of it each database has caused, in bytes."""

    memory: int
    received: Mapping[str, int]
    caused: dict[str, int] = field(default_factory=dict)


async def keep_free(pooler: Pooler) -> None:
    """Until cancelled, end the sessions of databases that take too much of the pooler's memory.

    Raises Unavailable if the pooler stops answering.
    """
    async with pooler.console() as console:
        account = _Account(_memory(pooler), await _received(console))
        looks = 0
        while True:
            await pause(_LOOK_SECONDS)
            looks += 1
            memory = _memory(pooler)
            limit = pooler.memory_limit(await _clients(console))
            is_short = plan.is_short(memory, limit=limit)
            if is_short:
                memory = await _without_logins(pooler, console)
            if is_short or looks >= _IDLE_LOOKS:
                looks = 0
                account = _next(account, memory, await _received(console))
            if memory > limit and account.caused:
                name = max(account.caused, key=account.caused.__getitem__)
                await pooler.kick_out([name])
                emit(SessionsEnded("pooler memory", name))
                await pause(_LOOK_SECONDS)  # it frees at the end of its own round
                account = _Account(_memory(pooler), await _received(console))


async def held_by_logins(console: Console) -> int:
    """Return the bytes that clients with an unfinished login have sent; 0 if that is not known.

    No more of the process's memory is theirs.
    """
    logins = [row for row in await console.show("SOCKETS") if row["state"] == "cl_login"]
    with contextlib.suppress(OSError):
        came: Counter[tcp.Peer] = Counter()
        for port in {row["local_port"] for row in logins if row["addr"] != "unix"}:
            came.update(await asyncio.to_thread(tcp.bytes_received, port))
        return sum(came[row["addr"], row["port"]] for row in logins)
    return 0


async def _without_logins(pooler: Pooler, console: Console) -> int:
    """Return the process's memory, less what unfinished logins can have of it; 1 at least."""
    held, memory = await held_by_logins(console), _memory(pooler)
    for _ in range(_TRIES):
        before, held = held, await held_by_logins(console)
        if held >= before:
            break
        memory = _memory(pooler)  # some have ended, before it was read or after
    return max(1, memory - held)


def _next(account: _Account, memory: int, received: Mapping[str, int]) -> _Account:
    came = {name: total - account.received.get(name, 0) for name, total in received.items()}
    caused = plan.share_out_growth(account.caused, before=account.memory, now=memory, received=came)
    return _Account(memory, received, caused)


def _memory(pooler: Pooler) -> int:
    found = pooler.memory()
    if found is None:
        raise Unavailable("The pooler does not run.", hint="It is being started again.")
    return found


async def _clients(console: Console) -> int:
    lists = {row["list"]: int(row["items"]) for row in await console.show("LISTS")}
    return lists["used_clients"] + lists["login_clients"]


async def _received(console: Console) -> dict[str, int]:
    return {
        row["database"]: int(row["total_received"])
        for row in await console.show("STATS")
        if not plan.is_platforms(row["database"])
    }
