"""Copies a database of a side cluster, or a dump, into an empty database.

Restores, branches and drills all do it in this way, so that a drill proves what a restore does.
"""

import asyncio
import shutil
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from tenantry.pg import dumps, reloading, tables, visitors
from tenantry.pg.connections import Address
from tenantry.pg.dumps import Tell
from tenantry.pg.long_statements import bounded
from tenantry.pg.reloading import Reloaded
from tenantry.pg.tenant_settings import Settings
from tenantry.services.restores import roles
from tenantry.services.side_instances.model import SideInstance

Inside = Callable[[AsyncConnection[TupleRow], str], Awaitable[None]]

JOBS = 2  # sessions that a dump or a load takes at once


async def dump_out(
    side: SideInstance,
    purpose: str,
    database: str,
    *,
    first: str,
    heir: str,
    kept: Collection[str] = (),
    tell: Tell,
) -> Path:
    """Dump a database of a side cluster, after making ``heir`` the owner of everything in it.

    ``first`` is the name of its owner role there; ``kept`` are other roles whose grants are
    retained. Return a folder in the side cluster's.
    """
    others = await roles.open_up(side.address, database, first=first, heir=heir)
    target = side.folder / "dump"
    await asyncio.to_thread(shutil.rmtree, target, ignore_errors=True)
    async with visitors.visitor(
        side.address, purpose, [heir, *others], database=database, folder=side.folder
    ) as guest:
        await roles.settle(guest, database, heir=heir, others=others, kept=kept)
        await dumps.dump(
            side.bindir,
            guest,
            database,
            target,
            form="directory",
            options=[f"--jobs={JOBS}", "--compress=0"],
            tell=tell,
        )
    return target


@dataclass(frozen=True, slots=True)
class Target:
    """An empty database that ``heir`` owns; ``roles`` are others that the dump names."""

    address: Address
    bindir: Path
    database: str
    heir: str
    roles: Sequence[str] = ()


async def load_in(
    target: Target,
    purpose: str,
    source: Path,
    *,
    folder: Path,
    settings: Settings,
    seconds: float,
    options: Sequence[str] = (),
    settle: Inside | None = None,
    tell: Tell,
) -> Reloaded:
    """Load a dump and make the target's ``heir`` the owner of it all; ``settle`` runs before that.

    ``settings`` are the tenant's; each statement may take ``seconds``.
    """
    async with (
        visitors.visitor(
            target.address,
            purpose,
            [target.heir, *target.roles],
            database=target.database,
            folder=folder,
        ) as guest,
        bounded(target.address, guest.name, seconds),
    ):
        done = await reloading.load(
            target.bindir,
            guest,
            target.database,
            source,
            settings=settings,
            jobs=JOBS,
            options=options,
            tell=tell,
        )
        if settle is not None:
            async with visitors.connect_as(guest, target.database) as inside:
                await settle(inside, guest.name)
        await visitors.leave(guest, target.database, target.heir)
    return done


# ── comparing ────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Counts:
    """The rows of each table and materialized view; ``views`` names the latter."""

    tables: Mapping[str, int]
    views: Collection[str]


@dataclass(frozen=True, slots=True)
class Difference:
    """The tables whose row counts differ, and the materialized views that loading has refreshed."""

    wrong: list[str]
    refreshed: list[dict[str, str]]


async def count(inside: AsyncConnection[TupleRow]) -> Counts:
    """Count the rows of a database."""
    return Counts(await tables.row_counts(inside), await tables.materialized_views(inside))


def compare(then: Counts, now: Counts, lost: Sequence[Mapping[str, str]]) -> Difference:
    """Return where the row counts differ, except for what is ``lost``."""
    names = {name for name in then.tables.keys() | now.tables.keys()
             if then.tables.get(name) != now.tables.get(name)
             and not any(each["object"].endswith(f" {name}") for each in lost)}  # fmt: skip
    refreshed = {name for name in names if name in then.views and name in now.views}
    return Difference(
        sorted(names - refreshed),
        [
            {
                "object": f"MATERIALIZED VIEW DATA {name}",
                "reason": f"It was refreshed: {then.tables[name]:,} rows then, "
                f"{now.tables[name]:,} now.",
            }
            for name in sorted(refreshed)
        ],
    )
