"""The further clusters of this machine, as the file of the fleet describes them."""

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, TypeAdapter

from tenantry.base.home import Home
from tenantry.control import clusters as rows
from tenantry.control.attributes import SuspendedDirect
from tenantry.control.clusters import ClusterRow
from tenantry.host import files
from tenantry.host.packages import PGBACKREST
from tenantry.pg import parameters
from tenantry.pg.clusters import DRIVERS, Cluster, Kind
from tenantry.pg.connections import Address
from tenantry.pg.drivers import PROCESS, UNLIMITED, Limits

_INSTANCE_PIDS = 2000  # processes: more than connections and workers need


class Member(BaseModel, frozen=True):
    """A further cluster, as the file of the fleet knows it; a dedicated one is an instance.

    ``version`` is the major that it is created with, None for the newest that is installed.
    ``parameters`` are those that the owner of an instance has set, by name.
    """

    name: str
    driver: str
    port: int
    kind: Literal["shared", "dedicated"] = "shared"
    wanted: rows.Wanted = "running"
    version: int | None = None
    cpus: float | None = None
    memory_mb: int | None = None
    container_name: str | None = None
    parameters: tuple[tuple[str, str], ...] = ()
    auto_suspend_seconds: int | None = None
    auto_suspend_direct: SuspendedDirect | None = None

    @classmethod
    def of(cls, row: ClusterRow) -> "Member":
        """Return the member that a row describes."""
        return cls(
            name=row.name,
            driver=row.driver,
            port=row.port,
            kind="dedicated" if row.kind == "dedicated" else "shared",
            wanted=row.wanted,
            version=row.version,
            cpus=row.cpus,
            memory_mb=row.memory_mb,
            container_name=row.container_name,
            parameters=ordered(row.parameters),
            auto_suspend_seconds=row.auto_suspend_seconds,
            auto_suspend_direct=row.auto_suspend_direct,
        )

    def adjusted(self, row: ClusterRow) -> "Member":
        """Return it with the size and the parameters of its row."""
        return self.model_copy(
            update={
                "cpus": row.cpus,
                "memory_mb": row.memory_mb,
                "parameters": ordered(row.parameters),
            }
        )

    @property
    def forwards(self) -> bool:
        """Whether its direct port is the listener's, and its server has none.

        PostgreSQL can take over no socket: a port that is handed over refuses connections for a
        moment. A container has the port to itself.
        """
        return (
            self.kind == "dedicated"
            and self.auto_suspend_seconds is not None
            and self.auto_suspend_direct == "wake"
            and self.driver == PROCESS
        )

    @property
    def limits(self) -> Limits:
        """What an instance may take; a shared cluster has no limits of its own."""
        if self.memory_mb is None:
            return UNLIMITED
        return Limits(self.cpus, self.memory_mb * parameters.MIB, _INSTANCE_PIDS)


def ordered(parameters: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """Return parameters as a member has them."""
    return (*sorted(parameters.items()),)


MEMBERS = TypeAdapter(tuple[Member, ...])


# The fleet is looked at several times a second: files that have not changed are not read again.


@lru_cache(maxsize=64)
def listed(home: Path) -> files.Remembered[tuple[Member, ...]]:
    """Return the content of the fleet's file. Reading it raises pydantic's ValidationError."""
    return files.Remembered[tuple[Member, ...]](Home(home).fleet, MEMBERS.validate_json, missing=())


@lru_cache(maxsize=1024)
def made_by(home: Path, name: str) -> files.Remembered[int | None]:
    """Return the version of PostgreSQL that initialized a cluster, None without a data folder."""
    path = Home(home).clusters / name / "data" / "PG_VERSION"
    return files.Remembered[int | None](path, int, missing=None)


@lru_cache(maxsize=1024)
def driven(
    root: Path,
    member: Member,
    kind: Kind,
    bindir: Path,
    *,
    image: str | None,
    archive: Path | None,
    archiver: Path,
) -> Cluster:
    """Return a cluster; ``archive`` is where the local repository has clusters' folders.

    ``archiver`` is pgBackRest, where the cluster does not run from an image that has its own.
    """
    home = Home(root)
    return Cluster(
        name=member.name,
        folder=home.clusters / member.name,
        address=Address(home.run / member.name, member.port),
        bindir=bindir,
        # A container sees no logs of others.
        log_dir=home.logs if member.driver == PROCESS else home.logs / member.name,
        driver=DRIVERS[member.driver],
        limits=member.limits,
        parameters=member.parameters,
        kind=kind,
        has_port=not member.forwards,
        home=root,
        container_name=member.container_name or member.name,
        image=image and image.replace("{version}", bindir.parent.name),
        shared=() if archive is None else (home.pgbackrest, archive / member.name),
        archiver=PGBACKREST if image and member.driver != PROCESS else archiver,
    )
