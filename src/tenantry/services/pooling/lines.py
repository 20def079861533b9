"""The pooler's lines of databases and of roles, in files that pgbouncer.ini includes."""

from collections.abc import Iterable
from pathlib import Path

from tenantry.base.home import Home
from tenantry.control import pools
from tenantry.control.store import Tx
from tenantry.host import files
from tenantry.pg.clusters import Cluster
from tenantry.services.clusters import pooled
from tenantry.services.clusters.fleet_file import FIRST
from tenantry.services.pooling import plan

_LOCK = 0x706F6F6C  # "pool": held, as an advisory lock, while the lines are written


class Lines:
    """The two files in the pooler's folder.

    A role has a line if its pool is unusual: the limit itself is PostgreSQL's; without the line the
    pool would only run into it. A database has one if it is not on the first cluster, where the
    pooler would look for it otherwise, or has been moved back there.
    """

    def __init__(self, home: Home, folder: Path) -> None:
        self._home = home
        self._users = folder / "users.ini"
        self._databases = folder / "databases.ini"
        self._reserves = files.Remembered[dict[str, int]](
            self._users, lambda text: plan.listed_reserves(text.decode()), missing={}
        )
        self._placed = files.Remembered[dict[str, str]](
            self._databases, lambda text: plan.placed(text.decode()), missing={}
        )

    def ensure_files(self) -> bool:
        """Create the files where they are missing. Return whether any was."""
        empty = {
            self._users: plan.render_users([]),
            self._databases: plan.render_databases({}, {}),
        }
        missing = [path for path in empty if not path.exists()]
        for path in missing:
            files.ensure_file(path, empty[path])
        return bool(missing)

    async def wanted(
        self, tx: Tx, clusters: Iterable[Cluster], *, reserves: bool
    ) -> dict[Path, str]:
        """Return the wanted files, and lock them until ``tx`` ends.

        ``clusters`` are those for tenants' databases. Without ``reserves`` no role's is named.
        """
        await tx.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
        listed = plan.listed_users(self._users.read_text()) if self._users.exists() else set()
        limits = await pools.pool_limits(tx)
        placed = await pools.placed(tx, but=FIRST)
        addresses = {
            each.name: pooled.address(self._home, each)
            for each in clusters
            if each.name != FIRST or FIRST in placed.values()
        }
        return {
            self._users: plan.render_users(limits, listed=listed, reserves=reserves),
            self._databases: plan.render_databases(addresses, placed),
        }

    def reserves(self) -> dict[str, int]:
        """Return the reserves of roles that have any."""
        return self._reserves.value()

    def cluster_of(self, database: str) -> str:
        """Return the name of the cluster that a database is on."""
        return self._placed.value().get(database, FIRST)
