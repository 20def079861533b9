"""What alerts say of what is over, of sessions that wait, and of a database that is held."""

import datetime as dt
import uuid
from dataclasses import replace

import pytest

from alert_rows import NOW, watched_row
from tenantry.base.setting_groups import Alert
from tenantry.control.alert_channels import Thresholds
from tenantry.pg.database_activity import Blocked
from tenantry.services.alerts import databases, plan
from tenantry.services.alerts.model import Condition

USUAL = Thresholds(**Alert().model_dump())
DISK = Condition("disk", "platform", "only 3 GB are free", "critical")


@pytest.mark.parametrize(
    ("seconds", "lasted"),
    [(42, "42 s"), (60, "1 min"), (13 * 60 + 59, "13 min"), (3 * 3600 + 120, "3 h 2 min")],
)
def test_a_resolved_alert_does_not_read_like_a_present_one(seconds: int, lasted: str) -> None:
    row = replace(plan.opened(DISK, NOW, uuid.uuid4()), state="firing", fired_at=NOW)
    resolved = replace(row, state="resolved", resolved_at=NOW + dt.timedelta(seconds=seconds))
    lines = plan.text(plan.message(resolved, "resolved", uuid.uuid4(), NOW)).splitlines()
    assert lines[:3] == [
        "[resolved] disk: platform",
        f"Resolved; it was critical for {lasted}.",
        "It was reported as: only 3 GB are free",
    ]
    firing = plan.text(plan.message(row, "firing", uuid.uuid4(), NOW)).splitlines()
    assert firing[1] == "only 3 GB are free"


def test_sessions_that_wait_for_a_lock_are_reported_with_who_holds_it() -> None:
    row = watched_row()
    waits = Blocked(row.database_name, 3, 130.4, [4711, 4712, 4713, 4714])
    (found,) = databases.conditions(row, USUAL, None, None, None, blocked=waits)
    assert (found.rule, found.severity) == ("database.blocked", "warning")
    assert "3 sessions have waited for a lock for 60 s or more" in found.detail
    assert "the longest for 130 s, behind process 4711, 4712, 4713." in found.detail
    assert f"`tenantry db locks {row.database_name}`" in found.detail


def test_a_held_database_is_reported_however_small_it_is() -> None:
    row = watched_row(used_bytes=2**20, quota_state="read_only", held=True)
    (found,) = databases.conditions(row, USUAL, None, None, None)
    assert (found.rule, found.severity) == ("database.disk", "critical")
    assert "The platform's disk is nearly full" in found.detail
