"""On which cluster a new database is placed, and why. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from tenantry.base.errors import InvalidInput, Unavailable
from tenantry.control.clusters import LoadedCluster

_GIB = 1024**3
_MOST_NAMED = 3


@dataclass(frozen=True, slots=True)
class Placement:
    """The cluster for a new database, and why it is that one."""

    cluster: LoadedCluster
    reason: str


def place(
    clusters: Sequence[LoadedCluster],
    *,
    name: str | None = None,
    of_customer: Mapping[UUID, int] | None = None,
) -> Placement:
    """Choose the shared cluster for a new database, which must have that ``name``, if any.

    ``of_customer`` is how many databases its customer has on each, None if that is not known yet.
    The cluster is the one with the fewest of these; of several, the one that has given away the
    fewest connections, then the one with the least on disk, then the first. Raises InvalidInput if
    there is none of that name, Unavailable if none has room.
    """
    shared = [each for each in clusters if each.kind == "shared" and each.serves]
    if name is not None:
        named = [each for each in shared if each.name == name]
        if not named:
            names = ", ".join(each.name for each in shared)
            raise InvalidInput.of("cluster", f"is no shared cluster; there are {names}")
        shared = named
    free = [each for each in shared if each.placed < each.max_databases]
    if not free:
        raise Unavailable(
            f"{name or 'No cluster'} has {'no ' if name else ''}room for another database.",
            hint="Delete databases, or add a cluster: tenantry cluster add",
        )
    known = of_customer or {}
    ordered = sorted(free, key=lambda each: (known.get(each.id, 0), each.allotted, each.used_bytes))
    if name is not None:
        return Placement(ordered[0], f"{name} was asked for.")
    return Placement(ordered[0], _reason(ordered, of_customer, full=len(shared) - len(free)))


def _reason(
    ordered: Sequence[LoadedCluster], of_customer: Mapping[UUID, int] | None, *, full: int
) -> str:
    """Say what was compared: the chosen cluster first, and the next ones."""
    said = [_facts(each, of_customer) for each in ordered[:_MOST_NAMED]]
    more = len(ordered) - len(said)
    said += [f"{more} others with more"] if more > 0 else []
    said += [f"{full} full"] if full else []
    return "; ".join(said) + "."


def _facts(each: LoadedCluster, of_customer: Mapping[UUID, int] | None) -> str:
    facts = [f"{each.allotted:,} connections given away", f"{each.used_bytes / _GIB:.1f} GiB"]
    if of_customer is not None:
        facts.insert(0, f"{of_customer.get(each.id, 0)} databases of the customer")
    return f"{each.name}: {', '.join(facts)}"
