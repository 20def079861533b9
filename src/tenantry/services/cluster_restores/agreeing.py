"""Revoking in a restored cluster what has been revoked since, before it is put into service.

The cluster that is being replaced is the best source of what is valid now. If it does not start any
more, the control database and its audit are used instead.
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
from tenantry.pg import catalog, names, objects
from tenantry.pg.connections import ADMIN, Address, connect
from tenantry.services.cluster_restores import plan
from tenantry.services.cluster_restores.folders import RESTORE, Folders
from tenantry.services.cluster_restores.model import Reached, Wanted

Server = AsyncConnection[TupleRow]
_Answer = TypeVar("_Answer")

_OPTIONS = ("listen_addresses=", "archive_command=", "autovacuum=off", "ssl=off")


def quiet(address: Address) -> list[str]:
    """Return the postmaster options of a cluster that only the platform can reach.

    It archives nothing: its part of the log is retained, and archived once it is in service.
    """
    here = (f"unix_socket_directories={address.socket_dir}", f"port={address.port}")
    return [word for option in (*_OPTIONS, *here) for word in ("-c", option)]


async def _ask_old(
    folders: Folders, dbname: str, question: Callable[[Server], Awaitable[_Answer]]
) -> _Answer | None:
    """Query the cluster that is to be replaced, as a superuser; None if it does not answer."""
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
    """Update the tenants' logins. Returns the locked ones, and whether the old cluster answered."""
    now = await _ask_old(folders, "postgres", catalog.logins)
    async with store.transaction(audit.PLATFORM) as tx:
        cluster = next(each for each in await rows.every(tx) if each.name == wanted.cluster)
        owned = await databases.on_cluster(tx, cluster.id)
        additional = await roles.by_database(tx, cluster.id)
        rotated = await audit.rotated_since(tx, plan.rotated_from(reached, wanted.backups[0]))
        listed = {admission.username for admission in await whitelist.admissions(tx)}
    known = {row.username for row in owned if row.status == "active"}
    known |= {
        row.username for each in additional.values() for row in each if row.status == "active"
    }
    async with connect(folders.restored.address, user=ADMIN) as server:
        # Nobody has the passwords of data APIs' logins, which reconciliation sets by their rows.
        then = {
            name: login
            for name, login in (await catalog.logins(server)).items()
            if not names.is_authenticator(name)
        }
        for row in plan.never_owned(owned, then, wanted.to):
            # At that time it had no owner: empty, it would hide that data are lost.
            for database in row.shadow_name, row.database_name:
                await objects.drop_database(server, database)
            await objects.drop_role(server, row.username)
            del then[row.username]
        todo = plan.agree(then, now, known=known, rotated=rotated)
        for name, login in todo.changes.items():
            await objects.set_login(server, name, login)
        # A role that got an allowlist since could log in from anywhere until the list is in force.
        await objects.admit_by_list(server, sorted(listed & then.keys()))
    return todo.locked, now is not None


async def agree_on_openings(folders: Folders) -> tuple[list[str], bool]:
    """Update the platform's API keys and users. Returns as ``agree_on_logins``."""
    now = await _ask_old(folders, DATABASE, revocations.openings)
    if now is None:
        return [], False
    async with (
        connected(folders.restored.address, user=ADMIN) as server,
        server.transaction(),
    ):
        return await revocations.revoke_again(server, now), True
