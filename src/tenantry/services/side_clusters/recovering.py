"""Recover a restored side cluster to its moment, or explain why that is impossible."""

import asyncio
import datetime as dt
import re
from pathlib import Path

from tenantry.base.errors import MachineError, Unavailable
from tenantry.host import commands, files
from tenantry.pg import archiving
from tenantry.pg.clusters import Cluster
from tenantry.pg.connections import ADMIN, connect, fetch_value
from tenantry.services.side_clusters import plan
from tenantry.services.side_clusters.model import (
    LogMissing,
    OutsideWindow,
    Wanted,
)

_POLL_SECONDS = 0.05
_FETCHED_BYTES = 2 * archiving.SEGMENT_BYTES
_UNREACHED = "recovery ended before configured recovery target was reached"


async def recover(cluster: Cluster, wanted: Wanted, *, deadline: float) -> None:
    """Start a restored cluster, and return once it is recovered to exactly the wanted moment.

    Raises LogMissing if the log ends before the moment, NotEnoughDisk, MachineError.
    """
    try:
        await cluster.ensure_running(deadline=deadline)
        last = await _until_promoted(cluster)
    except MachineError as error:
        raise await _why(cluster, wanted, error) from error
    if last is not None and isinstance(wanted.moment, dt.datetime) and last > wanted.moment:
        raise MachineError(
            f"The recovery went on to {last:%F %T.%f}, past {wanted.moment:%F %T.%f}.",
            hint="Nothing was changed. Please report it.",
        )


async def _until_promoted(cluster: Cluster) -> dt.datetime | None:
    while True:
        if cluster.pid() is None:
            raise MachineError("The server of the side cluster has ended.")
        try:
            async with connect(cluster.address, user=ADMIN) as admin:
                if not await fetch_value(admin, "SELECT pg_is_in_recovery()"):
                    last = await fetch_value(admin, "SELECT pg_last_xact_replay_timestamp()")
                    return last if isinstance(last, dt.datetime) else None
        except Unavailable:
            pass
        await asyncio.sleep(_POLL_SECONDS)


async def _why(cluster: Cluster, wanted: Wanted, error: MachineError) -> MachineError:
    """Return why a server did not start, or did not reach the moment."""
    try:
        said = _log_of(cluster).read_text(errors="replace")
    except OSError:
        return error
    # On a full disk pgBackRest cannot store the log either, and only reports that it failed.
    if files.NO_SPACE in said or files.free_bytes(cluster.data) < _FETCHED_BYTES:
        return files.became_full(f"that of {cluster.data}")
    if _UNREACHED not in said and "could not locate required checkpoint" not in said:
        return MachineError(
            f"The side cluster did not recover.\n{files.last_words(_log_of(cluster))}",
            hint="Nothing was changed. Try another moment, and please report it.",
        )
    control_data = await commands.run([cluster.bindir / "pg_controldata", cluster.data])
    ends = re.findall(r"redo done at ([0-9A-F]+/[0-9A-F]+)", said)
    timeline = re.search(r"TimeLineID:\s+(\d+)", control_data.stdout)
    size = re.search(r"Bytes per WAL segment:\s+(\d+)", control_data.stdout)
    missing = "a segment"
    if ends and timeline and size:
        missing = plan.segment_after(ends[-1], timeline=int(timeline[1]), size=int(size[1]))
    return LogMissing(
        f"The write-ahead log in the repository ends before {wanted.moment}: "
        f"{missing} is not there.",
        hint="Restore to an earlier moment, or to one after the next backup. Nothing was changed.",
    )


async def databases_at(cluster: Cluster, wanted: Wanted) -> dict[str, int]:
    """Return the oids of the wanted databases. Raises OutsideWindow if one does not exist."""
    async with connect(cluster.address, user=ADMIN) as admin:
        cursor = await admin.execute(
            "SELECT datname, oid::bigint FROM pg_database WHERE datname = ANY (%s)",
            (list(wanted.databases),),
        )
        found = dict(await cursor.fetchall())
    for name in wanted.databases:
        if name not in found:
            raise OutsideWindow(
                f"{name} was not there at {wanted.moment}.",
                hint="Ask for a moment after it was made.",
            )
    return found


def _log_of(cluster: Cluster) -> Path:
    return cluster.log_dir / f"{cluster.name}-start.log"
