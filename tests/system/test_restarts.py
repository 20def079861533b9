"""A library is replaced under running servers: it is noticed, and pooled clients wait, no more.

One of several processes of a kind ends: the others answer.
"""

import contextlib
import os
import shutil
import signal
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import httpx
import pytest

from clients import eventually, login
from harness import Installation, kill
from pooled import pooled_clients, stand_still
from tenantry.host import processes


@pytest.fixture(scope="module")
def platform() -> Iterator[Installation]:
    """Outside of its maintenance window; its shared cluster has a library of its own."""
    installation = Installation({"TENANTRY_REST_PROCESSES": "2"})
    try:
        set_window(installation, "off")
        installation.up()
        library = next(Path("/usr/lib/postgresql").glob("*/lib/auto_explain.so"))
        own = installation.home / "auto_explain.so"
        shutil.copy(library, own)
        own.chmod(0o755)
        custom = installation.home / "clusters" / "shared-1" / "data" / "custom.conf"
        custom.write_text(f"fsync = off\nshared_preload_libraries = '{own}'\n")
        custom.chmod(0o644)
        before = installation.pids()["shared-1"]
        os.kill(before, signal.SIGINT)
        eventually(lambda: installation.pids().get("shared-1", before) != before)
        eventually(installation.is_ready)
        yield installation
    finally:
        installation.remove()


def set_window(platform: Installation, window: str) -> None:
    file = platform.home / "tenantry.env"
    file.write_text(f"TENANTRY_MAINTENANCE_WINDOW={window}\n")
    file.chmod(0o644)


def replace_library(platform: Installation) -> None:
    own = platform.home / "auto_explain.so"
    new = own.with_suffix(".new")
    shutil.copy2(own, new)
    new.replace(own)


def version(platform: Installation) -> dict[str, str]:
    parts = {part["name"]: part for part in platform.get("/ready").json()["parts"]}
    return dict(parts["versions"])


def test_a_replaced_library_is_reported_and_nothing_is_done_outside_the_window(
    platform: Installation,
) -> None:
    before = platform.pids()["shared-1"]
    replace_library(platform)
    eventually(lambda: "shared-1 runs" in (version(platform)["detail"] or ""))
    assert version(platform)["state"] == "warning"
    [shared] = [each for each in platform.status()["clusters"] if each["name"] == "shared-1"]
    assert any("shared-1 runs" in alert for alert in shared["warnings"])
    doctor = platform.tenantry("doctor", check=False).stdout
    assert "version of shared-1" in doctor
    measures = platform.get("/metrics").text
    assert 'tenantry_part_replaced_files{part="shared-1"} 1.0' in measures
    assert 'tenantry_new_sessions_fail{part="shared-1"} 0.0' in measures
    assert platform.pids()["shared-1"] == before


def test_in_the_window_it_is_restarted_and_pooled_clients_wait(platform: Installation) -> None:
    database = platform.create()
    before = platform.pids()["shared-1"]
    with (
        pooled_clients(database["connection_string_pooled"]) as clients,
        contextlib.closing(login(database["connection_string"])) as direct,
    ):
        eventually(lambda: all(each.done > 0 for each in clients))
        direct.execute("BEGIN; SELECT 1")
        replace_library(platform)
        set_window(platform, "00:00-00:00")
        os.kill(platform.pids()["worker"], signal.SIGTERM)
        eventually(lambda: stand_still(clients))
        assert platform.pids()["shared-1"] == before, "an open transaction is waited for"
        direct.execute("COMMIT")
        eventually(lambda: platform.pids().get("shared-1", before) != before)
        eventually(lambda: not stand_still(clients))
    assert [each.failed for each in clients] == [[]] * len(clients)
    eventually(lambda: "shared-1 runs" not in (version(platform)["detail"] or ""))


def test_who_was_cut_off_while_all_waited_is_undone(platform: Installation) -> None:
    """A worker that is killed leaves the pooler paused: the next one has its clients go on."""
    database = platform.create()
    with pooled_clients(database["connection_string_pooled"], 1) as clients:
        eventually(lambda: clients[0].done > 0)
        replace_library(platform)
        with contextlib.closing(login(database["connection_string"])) as direct:
            direct.execute("BEGIN; SELECT 1")
            eventually(lambda: stand_still(clients))
            set_window(platform, "off")
            os.kill(platform.pids()["worker"], signal.SIGKILL)
            eventually(lambda: not stand_still(clients))
    assert clients[0].failed == []


def test_one_process_of_the_data_api_is_killed_and_the_other_answers(
    platform: Installation,
) -> None:
    database = platform.create()
    with platform.client() as api:
        assert api.put(f"/api/databases/{database['id']}/data-api", json={}).is_success
    url = f"http://127.0.0.1:{platform.rest_port}/{database['database_name']}/rest/v1/"
    for name in ("rest", "rest-2"):
        eventually(lambda: _answering(platform) == {"rest", "rest-2"})  # of a killed one, the next
        before = platform.pids()[name]
        kill(before, signal.SIGKILL)
        eventually(partial(_is_gone, before))
        for _ in range(8):  # each by a connection of its own
            assert httpx.get(url, timeout=60, trust_env=False).status_code == 200


def _is_gone(pid: int) -> bool:
    return not processes.is_alive(pid)


def _answering(platform: Installation) -> set[str]:
    parts = platform.get("/ready").json()["parts"]
    return {
        each["name"] for each in parts if each["name"].startswith("rest") and each["state"] == "up"
    }
