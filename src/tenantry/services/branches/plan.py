"""How a database is copied, and in whose place. Pure."""

from tenantry.base.errors import Conflict
from tenantry.control.databases import DatabaseRow
from tenantry.services.branches.model import Method

# Nobody can log in to a database while its blocks are copied; for this size that takes well below a
# second.
SMALL_BYTES = 64 * 1024 * 1024


def methods(*, clones: bool, size_bytes: int, sessions: int) -> list[Method]:
    """Return the methods to try, the best first; the last one always works and disturbs nobody.

    ``clones`` is whether both the server and its file system can share blocks.
    """
    found: list[Method] = []
    if sessions == 0 and clones:
        found.append("clone")
    if sessions == 0 and size_bytes <= SMALL_BYTES:
        found.append("template")
    return [*found, "dump"]


def require_beside(one: DatabaseRow, other: DatabaseRow) -> None:
    """Raise Conflict unless a branch and its parent are on the same cluster.

    A copy is made beside its source, and put in the place of a database by a rename.
    """
    if one.cluster_id != other.cluster_id:
        raise Conflict(
            f"{one.database_name} and {other.database_name} are not on the same cluster since one"
            " of them was moved.",
            hint="Make a new branch, or move one of them to the cluster of the other.",
        )
