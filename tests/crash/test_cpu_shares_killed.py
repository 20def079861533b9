"""The worker is killed: its successor finds the groups, the sessions and the weights again."""

import signal

import pytest
from scene import Scene, wait_for

from clients import login
from harness import kill
from tenantry.host import cgroups
from tenantry.services.cpu_shares import DATABASES


def test_a_new_worker_rebuilds_the_groups(scene: Scene) -> None:
    installation = scene.installation
    groups = cgroups.find(installation.home)
    if groups is None:
        pytest.skip(str(cgroups.missing(installation.home)))
    made, left = scene.create("computes"), f"{DATABASES}/tenant_gone"
    group = f"{DATABASES}/{made['database_name']}"
    with login(made["connection_string"]) as session:
        pid = session.info.backend_pid
        wait_for("its group", lambda: pid in groups.members(group))
        before = installation.pids()["worker"]
        kill(before, signal.SIGSTOP)
        # What a death in the middle may leave: a group without sessions, a session without one.
        groups.ensure(left)
        groups.add(cgroups.PLATFORM, [pid])
        groups.set_weight(group, 1)
        kill(before, signal.SIGKILL)

        wait_for("its group again", lambda: pid in groups.members(group))
        shares = groups.folders["cpu"] / group / "cpu.shares"
        if not groups.is_unified:
            wait_for("its weight again", lambda: shares.read_text() == "1024\n")
        wait_for("the end of what is left", lambda: "tenant_gone" not in groups.names(DATABASES))
        assert installation.pids()["worker"] != before
