"""The start of everything that serves tenants, in the order of its dependencies."""

from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import psycopg

from tenantry.base.errors import Deferred, TenantryError
from tenantry.base.home import Home
from tenantry.base.secrets import Seal, Secret, SecretSource
from tenantry.base.settings import Settings
from tenantry.control.store import ControlStore
from tenantry.host import files, processes
from tenantry.host.engines import find_pgbouncer
from tenantry.host.reserve import Reserve
from tenantry.pg.clusters import Cluster
from tenantry.services.access.service import Access
from tenantry.services.cluster_restores import service as cluster_restores
from tenantry.services.clusters.fleet import Fleet
from tenantry.services.control_schema import ensure_control_schema
from tenantry.services.local_parts import LocalParts
from tenantry.services.platform import Platform, open_platform
from tenantry.services.repository.service import Repositories, ensure_ready

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class BroughtUp:
    """The result of a start: whether the administrator's key is new."""

    key_is_new: bool


async def bring_up(settings: Settings, say: Say) -> BroughtUp:
    """Start and reconcile everything that serves tenants; the control plane starts later.

    Every step is idempotent, so it may be interrupted anywhere and run again. Parts that this call
    started are stopped again if a later part does not start.

    Raises MachineError saying which part did not start, and why.
    """
    home = Home(settings.home)
    processes.leave_no_core_dumps()
    for folder in home.private_folders:
        files.ensure_folder(folder)
    LocalParts(settings).certificates.ensure_some()
    _ensure_seal_key(home)
    fleet = Fleet(settings)
    pgbouncer = await find_pgbouncer(settings.engines_dir)
    await cluster_restores.settle(settings)
    async with AsyncExitStack() as started:

        async def start(cluster: Cluster) -> None:
            if cluster.pid() is None:
                if Reserve(home.reserve).make_room():
                    say("The disk is full: some of its reserve is used")
                say(f"Starting the {cluster.name} cluster")
                started.push_async_callback(cluster.stop)
            try:
                await fleet.ensure_running(cluster)
            except (TenantryError, psycopg.Error, OSError) as error:
                if cluster.kind != "dedicated":
                    raise
                say(f"Going on without an instance: {error}")  # the supervisor tries again

        await start(fleet.control)
        await fleet.ensure_control_database()
        await ensure_control_schema(fleet)
        async with ControlStore(fleet.control.address) as store:
            await fleet.ensure_members(store)
        for cluster in fleet.serving:
            await start(cluster)
        await _ready_repositories(settings, say)
        await cluster_restores.complete(settings)
        async with open_platform(settings) as platform:
            await fleet.ensure_ready(platform.store)
            await platform.network.keep()
            if platform.pooler.pid() is None:
                say("Starting the pooler")
                started.push_async_callback(platform.pooler.stop)
            await platform.pooler.ensure_running(pgbouncer.path)
            await _start_edge(platform, say, started)
            key_is_new = await _ensure_admin_key(home, platform.access)
            try:
                await platform.home_keeper.keep()
            except TenantryError as error:
                say(f"Going on although the home's files are not in every repository: {error}")
        started.pop_all()
    return BroughtUp(key_is_new)


async def _start_edge(platform: Platform, say: Say, started: AsyncExitStack) -> None:
    if not platform.settings.edge:
        return
    if platform.edge.pid() is None:
        say("Starting the edge")
        started.push_async_callback(platform.edge.stop)
    await platform.edge.ensure_running()


async def _ready_repositories(settings: Settings, say: Say) -> None:
    """Prepare the repositories for backups, and report backups left in former places."""
    repositories = Repositories(settings)
    left = repositories.left_behind() if settings.backups else []
    problem = await ensure_ready(repositories)
    if problem is not None:
        say(f"Going on although backups are not ready: {problem}")
    begins = "once it can be used" if problem else "from now on, and begin with a full one at once"
    for new, old in left:
        copied = f"rm -r {new}, cp -a {old} {new}" if new.startswith("/") else f"copy {old} there"
        say(
            f"Backups go to {new} {begins}. What is in {old} stays there, and its "
            "moments cannot be restored from the new place. To take them along: tenantry down, "
            f"{copied}, tenantry up."
        )


async def ensure_server_files(platform: Platform) -> None:
    """Revert manual changes to the files of running servers."""
    fleet = platform.fleet
    with Deferred() as failures:
        for cluster in fleet.every:
            if cluster.pid() is not None:
                with failures.deferred():
                    await fleet.ensure_files(cluster)
        with failures.deferred():
            await fleet.ensure_standing_roles()
        with failures.deferred():
            platform.pooler.ensure_files()
        with failures.deferred():
            await platform.network.keep()


def _ensure_seal_key(home: Home) -> None:
    if not home.seal_key.exists():
        files.write_atomically(home.seal_key, Seal.new_key(), mode=0o600)


async def _ensure_admin_key(home: Home, access: Access) -> bool:
    # The file first: a key that is in force and not written anywhere would be lost. One that is
    # written and not in force is replaced by the next start, which is also how root on the machine
    # gets another key: by emptying the file.
    written = _written_key(home.admin_key)
    dead = written is not None and not await access.opens(written)
    if await access.administrator_exists() and not dead:
        return False
    secret = SecretSource().api_key()
    files.write_atomically(home.admin_key, secret.reveal() + "\n", mode=0o600)
    await access.create_first_key(secret)
    return True


def _written_key(file: Path) -> Secret | None:
    """Return the key in a file; None if it cannot be read, as after it was moved elsewhere."""
    try:
        return Secret(file.read_text(errors="replace").strip())
    except OSError:
        return None
