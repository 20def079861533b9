"""The rules of instances are written though one does not answer: others wait for them."""

import asyncio
import dataclasses
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tenantry.base.settings import Settings
from tenantry.pg.clusters import Cluster
from tenantry.services.clusters.fleet import Fleet
from tenantry.services.clusters.members import Member
from tenantry.services.network import plan
from tenantry.services.network.endpoints import postgres

NOTHING = plan.compile_lists([])


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """An instance without a server."""
    with tempfile.TemporaryDirectory(prefix="tnt-") as home:
        member = Member(name="db-one", driver="process", port=5500, kind="dedicated")
        found = Fleet(Settings(home=Path(home))).of(member)
        found.data.mkdir(parents=True)
        (found.data / "pg_hba.conf").write_text("before")
        yield found


def rules(cluster: Cluster) -> str:
    return (cluster.data / "pg_hba.conf").read_text()


@pytest.mark.parametrize("pid", [None, 1])
def test_it_gets_its_rules_though_it_does_not_answer(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, pid: int | None
) -> None:
    """It is stopped, or runs and admits nobody: as while it starts, recovers or stops."""
    reloaded: list[str] = []
    monkeypatch.setattr(Cluster, "pid", lambda _: pid)
    monkeypatch.setattr(Cluster, "reload", lambda self: reloaded.append(self.name))
    asyncio.run(postgres(cluster).apply(NOTHING, unread=True))
    assert "scram-sha-256" in rules(cluster)
    assert reloaded == ["db-one"]


def test_lost_files_stop_nobody(cluster: Cluster) -> None:
    (cluster.data / "pg_hba.conf").unlink()
    cluster.data.rmdir()
    asyncio.run(postgres(cluster).apply(NOTHING, unread=False))
    assert not cluster.data.exists()


def test_a_shared_cluster_confirms_its_rules(cluster: Cluster) -> None:
    shared = dataclasses.replace(cluster, kind="shared")
    with pytest.raises(Exception, match="does not let"):
        asyncio.run(postgres(shared).apply(NOTHING, unread=True))
