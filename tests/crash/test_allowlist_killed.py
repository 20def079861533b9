"""Killed while an allowlist changes: what is answered later is in force at both endpoints."""

import pytest
from scene import Database, Scene

from clients import ENDPOINTS

STEPS = ["rules.written", "rules.reloaded", "pooler_rules.written", "pooler_rules.reloaded"]
HERE = {"ip_address": "127.0.0.0/8"}
ELSEWHERE = {"ip_address": "192.0.2.1"}
NOT_ADMITTED = "no pg_hba.conf entry|login rejected"

Entries = list[dict[str, str]]


def is_admitted(scene: Scene, database: Database) -> bool:
    """Whether this machine may log in, which both endpoints must say alike."""
    direct, pooled = (scene._opens(database[endpoint], NOT_ADMITTED) for endpoint in ENDPOINTS)
    assert direct == pooled
    return direct


def put(scene: Scene, database: Database, entries: Entries) -> int | None:
    path = f"/api/databases/{database['id']}/whitelist"
    answer = scene.ask("PUT", path, json={"entries": entries})
    return None if answer is None else answer.status_code


@pytest.mark.parametrize("step", STEPS)
def test_a_change_that_was_cut_off(scene: Scene, step: str) -> None:
    database = scene.create("listed")

    def cut_off(entries: Entries) -> None:
        scene.arm("api", step, "api")
        assert put(scene, database, entries) is None
        scene.wait_restarted("api")

    for entries, admitted in [([HERE, ELSEWHERE], True), ([ELSEWHERE], False), ([HERE], True)]:
        cut_off(entries)
        assert put(scene, database, entries) == 200  # at once: nobody has repaired anything
        assert is_admitted(scene, database) == admitted
    cut_off([ELSEWHERE])
    scene.reconcile()
    assert is_admitted(scene, database)
    scene.check_still_works()
