"""Where a new instance goes, and how one is configured: name, size and parameters. Pure."""

from collections.abc import Collection, Mapping, Sequence

from tenantry.base.errors import Conflict, FieldError, InvalidInput
from tenantry.base.suggestions import did_you_mean
from tenantry.control import plans
from tenantry.control.attributes import Environment
from tenantry.control.plans import PlanRow
from tenantry.pg import names
from tenantry.pg.parameters import MIB
from tenantry.pg.settable import Parameter, amount
from tenantry.services.instances.model import Size

_LONGEST = 63  # of a DNS label
_LETTERS = 4
_BUFFERS = "shared_buffers"


def container_name(name: str, environment: Environment, taken: Collection[str], random: str) -> str:
    """Return the name of an instance, one DNS label that no other on the platform has.

    If it is taken, the first letters of ``random`` follow. Raises InvalidInput for a name that is
    too long.
    """
    ending = f"-{environment}-postgres"
    most = _LONGEST - len(ending) - 1 - _LETTERS
    if len(name) > most:
        raise InvalidInput.of("name", f"may have {most} characters for an instance")
    wanted = f"{name}{ending}"
    return wanted if wanted not in taken else f"{wanted}-{random[:_LETTERS]}"


def cluster_name(database: str, taken: Collection[str]) -> str:
    """Return the name of the cluster of a new instance for a database. Raises Conflict."""
    for name in names.instances_of(database):
        if name not in taken:
            return name
    raise Conflict(
        f"{database} has two instances that are retained since it was moved.",
        hint="GET /api/databases/{id}/replaced shows when they expire.",
    )


def version(wanted: int, *, installed: Sequence[int], usable: Sequence[int]) -> int:
    """Return the major version of a new instance.

    Raises InvalidInput for one that is missing, or that cannot be backed up.
    """
    there = ", ".join(map(str, usable)) or "none"
    if wanted not in installed:
        raise InvalidInput.of("version", f"is not installed; GET /api/versions: {there}")
    if wanted not in usable:
        raise InvalidInput.of(
            "version",
            f"cannot be backed up: this machine's pgBackRest does not know PostgreSQL {wanted}."
            f" Those that it knows: {there}. tenantry up, as root, looks for a newer one",
        )
    return wanted


def size(
    cpus: float | None,
    memory_mb: int | None,
    granted: PlanRow | None,
    *,
    processors: int,
    otherwise_mb: int,
) -> Size:
    """Return the size of a new instance: what is asked for, or else what the plan grants.

    That is no more processors than the machine has. Without it, memory is ``otherwise_mb``.
    """
    if granted is not None:
        memory_mb = memory_mb or granted.instance_memory_mb
        if cpus is None and (most := granted.instance_cpus) is not None:
            cpus = min(most, float(processors))
    return Size(cpus, memory_mb or otherwise_mb)


def require_granted(granted: PlanRow, wanted: Size, *, had: Size | None = None) -> None:
    """Raise Forbidden if a customer's instance is larger than its plan grants, and than it was."""
    before = Size(0, 0) if had is None else had
    plans.require_granted(granted, "cpus", wanted.cpus, granted.instance_cpus, had=before.cpus)
    plans.require_granted(
        granted, "memory_mb", wanted.memory_mb, granted.instance_memory_mb, had=before.memory_mb
    )


def require_another(granted: PlanRow, count: int) -> None:
    """Raise Conflict if a customer has as many instances as its plan grants."""
    if (most := granted.max_instances) is not None and count >= most:
        raise Conflict(
            f"A customer with the plan {granted.name} may have {most:,}"
            f" instance{'' if most == 1 else 's'}, with those that are retained after a move.",
            hint="Delete one, wait until a retained one expires (GET /api/databases/{id}/replaced"
            " shows when), or ask whoever runs the platform for another plan.",
        )


def require_memory(asked: int, *, given: int, most: int) -> None:
    """Raise Conflict unless so many MiB are left for an instance."""
    if given + asked > most:
        raise Conflict(
            f"Instances may have {most:,} MiB of this machine's memory together, and"
            f" {given:,} are given away: {asked:,} are not left.",
            hint="Ask for less, delete an instance, or set TENANTRY_INSTANCE_TOTAL_MB.",
        )


def checked(
    wanted: Mapping[str, str | None], there: Mapping[str, Parameter], *, memory_mb: int
) -> dict[str, str | None]:
    """Return the parameters to set, and to reset (None), as the server's files shall have them.

    ``there`` are those of the server. Raises InvalidInput with what is wrong with each.
    """
    found: dict[str, str | None] = {}
    faults: list[FieldError] = []
    known = {name.lower(): parameter for name, parameter in there.items()}
    for given, value in wanted.items():
        field = f"parameters.{given}"
        parameter = known.get(given.lower())
        if parameter is None:
            meant = did_you_mean(given, [name for name, each in there.items() if not each.refusal])
            said = f"is no parameter of this server. {meant or ''}".rstrip()
            faults.append(FieldError(field, said, "unknown_parameter"))
        elif (refusal := parameter.refusal) is not None:
            faults.append(FieldError(field, refusal, "refused_parameter"))
        else:
            try:
                found[parameter.name] = None if value is None else parameter.checked(value)
            except ValueError as error:
                faults.append(FieldError(field, str(error)))
    if faults:
        raise InvalidInput("; ".join(f"{e.field}: {e.message}" for e in faults), fields=(*faults,))
    if (buffers := found.get(_BUFFERS)) is not None:
        require_buffers(buffers, memory_mb)
    return found


def require_buffers(buffers: str, memory_mb: int) -> None:
    """Raise InvalidInput if these shared buffers are more than half of an instance's memory."""
    if _bytes(buffers) > memory_mb * MIB // 2:
        raise InvalidInput.of(
            f"parameters.{_BUFFERS}",
            f"of {buffers} are more than half of the instance's memory, {memory_mb:,} MiB:"
            " sessions need the rest",
        )


def divided(
    wanted: Mapping[str, str], in_files: Mapping[str, str], restarts: Collection[str]
) -> tuple[dict[str, str], dict[str, str] | None]:
    """Return the parameters for an instance's files now, and those that wait for its next start.

    Those in ``restarts``, by name, stay as they are ``in_files``. None: nothing waits.
    """
    now = {name: value for name, value in wanted.items() if name not in restarts}
    now |= {name: value for name, value in in_files.items() if name in restarts}
    return now, None if now == wanted else {**wanted}


def require_fits(buffers: str, taken_bytes: int, memory_mb: int) -> None:
    """Raise Conflict if a running instance needs more than so many MiB.

    ``taken_bytes`` is what it takes now; its shared ``buffers`` are filled sooner or later, and
    sessions need as much again.
    """
    needed = max(taken_bytes, 2 * _bytes(buffers))
    if needed > memory_mb * MIB:
        raise Conflict(
            f"The instance needs {-(-needed // MIB):,} MiB while it runs as it does now, more than"
            f" {memory_mb:,} MiB.",
            hint="Ask for it with restart, which ends all sessions, or while it is stopped.",
        )


def _bytes(buffers: str) -> int:
    """Return the size of shared buffers, which are blocks of 8 KiB."""
    return int(amount(buffers, "8kB")) * 8192
