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
from tenantry.pg.dumps import ReportProgress
from tenantry.pg.long_statements import bounded
from tenantry.pg.reloading import Reloaded
from tenantry.pg.tenant_settings import Settings
from tenantry.services.restores import roles
from tenantry.services.side_clusters.model import SideCluster

Inside = Callable[[AsyncConnection[TupleRow], str], Awaitable[None]]

JOBS = 2  # sessions that a dump or a load takes at once


async def dump_out(
    side: SideCluster,
    purpose: str,
    database: str,
    *,
    first: str,
    new_owner: str,
    retained: Collection[str] = (),
    report: ReportProgress,
) -> Path:
    """Dump a database of a side cluster, after making ``new_owner`` the owner of everything in it.

    ``first`` is the name of its owner role there; ``retained`` are other roles whose grants are
    retained. Return a folder in the side cluster's.
    """
    others = await roles.open_up(side.address, database, first=first, new_owner=new_owner)
    target = side.folder / "dump"
    await asyncio.to_thread(shutil.rmtree, target, ignore_errors=True)
    async with visitors.visitor(
        side.address, purpose, [new_owner, *others], database=database, folder=side.folder
    ) as visitor:
        await roles.settle(visitor, database, new_owner=new_owner, others=others, retained=retained)
        await dumps.dump(
            side.bindir,
            visitor,
            database,
            target,
            form="directory",
            options=[f"--jobs={JOBS}", "--compress=0"],
            report=report,
        )
    return target


@dataclass(frozen=True, slots=True)
class Target:
    """An empty database that ``new_owner`` owns; ``roles`` are others that the dump names."""

    address: Address
    bindir: Path
    database: str
    new_owner: str
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
    report: ReportProgress,
) -> Reloaded:
    """Load a dump, and make the target's ``new_owner`` its owner; ``settle`` runs before that.

    ``settings`` are the tenant's; each statement may take ``seconds``.
    """
    async with (
        visitors.visitor(
            target.address,
            purpose,
            [target.new_owner, *target.roles],
            database=target.database,
            folder=folder,
        ) as visitor,
        bounded(target.address, visitor.name, seconds),
    ):
        done = await reloading.load(
            target.bindir,
            visitor,
            target.database,
            source,
            settings=settings,
            jobs=JOBS,
            options=options,
            report=report,
        )
        if settle is not None:
            async with visitors.connect_as(visitor, target.database) as inside:
                await settle(inside, visitor.name)
        await visitors.leave(visitor, target.database, target.new_owner)
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
