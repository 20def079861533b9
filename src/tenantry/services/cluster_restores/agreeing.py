"""Having a restored cluster open nothing that has been closed since, before it is in service.

What is valid by now is best told by the cluster that is being replaced. If that one does not
start any more, the control database and its audit tell what they know.
"""

from collections.abc import Awaitable, Callable
from typing import TypeVar

import psycopg
from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from tenantry.base.errors import TenantryError
from tenantry.base.events import StepDone, emit
from tenantry.control import audit, databases, revocations, roles, whitelist
from tenantry.control import clusters as rows
from tenantry.control.store import DATABASE, ControlStore, connected
from tenantry.host import files
from tenantry.pg import catalog, objects
from tenantry.pg.connections import ADMIN, Address, connect
from tenantry.services.cluster_restores import plan
from tenantry.services.cluster_restores.folders import RESTORE, Folders
from tenantry.services.cluster_restores.model import Reached, Wanted

Server = AsyncConnection[TupleRow]
_Answer = TypeVar("_Answer")

_OPTIONS = ("listen_addresses=", "archive_command=", "autovacuum=off", "ssl=off")


def quiet(address: Address) -> list[str]:
    """A postmaster's options where nobody but the platform shall find it, and it archives nothing.

    Its part of the log waits, and is archived once it is in service.
    """
    here = (f"unix_socket_directories={address.socket_dir}", f"port={address.port}")
    return [word for option in (*_OPTIONS, *here) for word in ("-c", option)]


async def _ask_old(
    folders: Folders, dbname: str, question: Callable[[Server], Awaitable[_Answer]]
) -> _Answer | None:
    """What the cluster that is to be replaced answers a superuser; None if it cannot."""
    old = folders.old
    if not old.data.exists():
        return None
    try:
        files.ensure_folder(old.address.socket_dir)
        await old.ensure_running(options=quiet(old.address))
        async with connect(old.address, user=ADMIN, dbname=dbname, search_path="public") as server:
            emit(StepDone(RESTORE, "asking", old.name))
            return await question(server)
    except (TenantryError, psycopg.Error):
        return None
    finally:
        await folders.end_private()


async def agree_on_logins(
    folders: Folders, store: ControlStore, wanted: Wanted, reached: Reached
) -> tuple[list[str], bool]:
    """The tenants' logins. Returns who is shut out, and whether the old cluster could be asked."""
    now = await _ask_old(folders, "postgres", catalog.logins)
    async with store.transaction(audit.PLATFORM) as tx:
        cluster = next(each for each in await rows.every(tx) if each.name == wanted.cluster)
        owned = await databases.on_cluster(tx, cluster.id)
        further = await roles.by_database(tx, cluster.id)
        rotated = await audit.rotated_since(tx, plan.rotated_from(reached, wanted.backups[0]))
        listed = {admission.username for admission in await whitelist.admissions(tx)}
    known = {row.username for row in owned if row.status == "active"}
    known |= {row.username for each in further.values() for row in each if row.status == "active"}
    async with connect(folders.restored.address, user=ADMIN) as server:
        then = await catalog.logins(server)
        for row in plan.never_owned(owned, then, wanted.to):
            # It waited for its owner then: empty, it would look as if nothing were lost.
            for name in (row.shadow_name, row.database_name):
                await objects.drop_database(server, name)
            await objects.drop_role(server, row.username)
            del then[row.username]
        todo = plan.agree(then, now, known=known, rotated=rotated)
        for name, login in todo.changes.items():
            await objects.set_login(server, name, login)
        # Whoever has got an allowlist since would be let in from anywhere until it is in force.
        await objects.admit_by_list(server, sorted(listed & then.keys()))
    return todo.shut, now is not None


async def agree_on_openings(folders: Folders) -> tuple[list[str], bool]:
    """The platform's own keys and users, as above."""
    now = await _ask_old(folders, DATABASE, revocations.openings)
    if now is None:
        return [], False
    async with (
        connected(folders.restored.address, user=ADMIN) as server,
        server.transaction(),
    ):
        return await revocations.revoke_again(server, now), True
