"""Starts an instance with the parameters that wait for its next start.

The invariant: an instance serves with the parameters of its row's ``parameters``, or with those of
``next_parameters`` while an operation tries them. Only what it has served with becomes
``parameters``, by which everybody else starts it: the supervisor, ``up``, a recovery. A process
that is killed in between has left either; the step is begun again, and tries again.
"""

from collections.abc import Awaitable, Callable

from tenantry.base.events import StepDone, emit
from tenantry.control import audit
from tenantry.control import clusters as rows
from tenantry.control.clusters import ClusterRow
from tenantry.control.store import ControlStore
from tenantry.pg import server_log, settable
from tenantry.pg.clusters import Cluster
from tenantry.pg.connections import ADMIN, connect
from tenantry.services.clusters.fleet import Fleet
from tenantry.services.clusters.members import Member, ordered
from tenantry.services.instances.model import START


async def start(
    store: ControlStore,
    fleet: Fleet,
    row: ClusterRow,
    remember: Callable[[str], Awaitable[None]],
) -> None:
    """Start an instance; one that runs goes on, unless parameters wait for its restart.

    If it does not start with the parameters that its owner has set, it is started with those that
    it had. Then ``remember`` why, before that is forgotten. Raises MachineError if it does not
    start at all.
    """
    present = fleet.of(Member.of(row))
    if row.next_parameters is None:
        if (refusal := await fleet.ensure_running(present)) is not None:
            await remember(_explained(refusal, sorted(row.parameters)))
        return
    member = Member.of(row).model_copy(update={"parameters": ordered(row.next_parameters)})
    tried, names = fleet.of(member), changed_names(row)
    refusal = await fleet.ensure_running(tried, otherwise=present)
    emit(StepDone(START.name, "tried", row.name))
    if refusal is None and await _wait(tried, names):
        # Somebody else has started it meanwhile: it has read its files, but too late.
        await fleet.stop(tried)
        refusal = await fleet.ensure_running(tried, otherwise=present)
    if refusal is not None:
        await remember(_explained(refusal, names))
        emit(StepDone(START.name, "remembered", row.name))
    async with store.transaction(audit.PLATFORM) as tx:
        await rows.settle_parameters(tx, row.id, row.next_parameters, serves=refusal is None)
    emit(StepDone(START.name, "settled", row.name))


def _explained(refusal: str, names: list[str]) -> str:
    cause = server_log.cause(refusal).rstrip(".")
    return f"The instance does not start with what was set of {', '.join(names)}: {cause}."


def changed_names(row: ClusterRow) -> list[str]:
    """Return the parameters that differ once an instance has been restarted, by name."""
    now, then = row.parameters.items(), row.wanted_parameters.items()
    return sorted({name for name, _ in now ^ then})


async def _wait(cluster: Cluster, names: list[str]) -> bool:
    """Whether a running server has read these parameters, but does not have them in force."""
    async with connect(cluster.address, user=ADMIN) as admin:
        there = await settable.every(admin)
    return any(there[name].pending_restart for name in names if name in there)
