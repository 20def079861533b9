"""What one process does is reported by another, and what cannot be measured is absent."""

import os
import re
import signal
from collections.abc import Iterator

import httpx
import psycopg
import pytest

from answers import data
from clients import eventually
from harness import Installation
from prometheus_server import found_by_promtool


@pytest.fixture(scope="module")
def platform() -> Iterator[Installation]:
    installation = Installation()
    try:
        installation.up()
        yield installation
    finally:
        installation.remove()


def measures(platform: Installation) -> dict[str, float]:
    found = re.findall(r"^(tenantry_\S+) (\S+)$", platform.get("/metrics").text, re.MULTILINE)
    return {name: float(value) for name, value in found}


def names(measured: dict[str, float]) -> set[str]:
    return {name.partition("{")[0] for name in measured}


def test_promtool_finds_nothing_to_say_of_what_is_served(platform: Installation) -> None:
    assert found_by_promtool(platform.get("/metrics").content) == []


def test_what_supervisor_and_worker_did_is_reported_by_the_api(platform: Installation) -> None:
    died = 'tenantry_process_deaths_total{process="pooler"}'
    before = measures(platform).get(died, 0)
    os.kill(platform.pids()["pooler"], signal.SIGKILL)
    eventually(lambda: measures(platform).get(died, 0) == before + 1)
    eventually(lambda: "pooler" in platform.pids())
    eventually(lambda: measures(platform).get("tenantry_reconciliation_passes_total", 0) >= 1)


def test_totals_go_on_after_a_restart(platform: Installation) -> None:
    created = 'tenantry_changes_total{what="cluster.started"}'
    eventually(lambda: measures(platform).get(created) == 2)
    platform.down()
    platform.up()
    eventually(lambda: measures(platform).get(created) == 4)


def test_what_cannot_be_measured_is_absent(platform: Installation) -> None:
    there = measures(platform)
    assert {"tenantry_databases", "tenantry_drills_failing"} <= names(there)
    pids = platform.pids()
    os.kill(pids["supervisor"], signal.SIGSTOP)  # or it would start the cluster again
    try:
        os.kill(pids["control"], signal.SIGQUIT)
        eventually(lambda: measures(platform).get('tenantry_part_up{part="control"}') == 0)
        left = measures(platform)
    finally:
        os.kill(pids["supervisor"], signal.SIGCONT)
    of_control = {name for name in names(there) if re.match("tenantry_(databases|drills)", name)}
    assert of_control
    assert not of_control & names(left)
    assert 'tenantry_part_latency_seconds{part="control"}' not in left
    assert {"tenantry_pooler_servers", "tenantry_changes_total"} <= names(left)
    eventually(platform.is_ready)
    assert names(measures(platform)) >= of_control


def test_a_failing_reconciliation_is_shown_until_it_succeeds(platform: Installation) -> None:
    database = platform.create(shadow=False)
    role = f'ALTER ROLE "{database["username"]}" CONNECTION LIMIT'

    def shown(api: httpx.Client) -> str | None:
        detail: str | None = data(api.get(f"/api/databases/{database['id']}"))["status_detail"]
        (listed,) = [row for row in data(api.get("/api/databases")) if row["id"] == database["id"]]
        assert listed["status_detail"] == detail
        return detail

    with platform.superuser() as by_hand, platform.client() as api:
        assert shown(api) is None
        by_hand.execute(f"{role} 1000".encode())
        with by_hand.transaction():
            by_hand.execute(f"{role} 1001".encode())  # whoever changes it too waits
            platform.reconcile()
            detail = shown(api)
            (part,) = [
                each
                for each in platform.get("/ready").json()["parts"]
                if each["name"] == "databases"
            ]
            warnings = platform.warnings()
            reported = platform.tenantry("db", "show", database["id"], check=False).stdout
            doctor = platform.tenantry("doctor", check=False).stdout
            failing = measures(platform)["tenantry_databases_failing"]
            raise psycopg.Rollback
        assert detail is not None
        assert detail.startswith(f"database.limit {database['database_name']}: ")
        assert database["database_name"] in part["detail"]
        assert "Reconciliation fails for 1" in warnings
        assert "Reconciliation fails for 1" in " ".join(doctor.split())
        assert "database.limit" in reported
        assert failing == 1
        platform.reconcile()
        assert shown(api) is None
        assert "Reconciliation fails" not in platform.warnings()
        assert measures(platform)["tenantry_databases_failing"] == 0
