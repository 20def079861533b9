"""The age of passwords: shown, reported of, and ended where a database's owner wants that."""

from typing import Any

import httpx

from answers import data, problem
from clients import ask, is_open, login, refusal
from harness import Installation
from inside import inside
from tenantry.base import logs, settings
from tenantry.services.platform import open_platform
from tenantry.services.repository.service import Repositories

Row = dict[str, Any]


async def rotate_due(_: Repositories) -> None:
    """The worker's pass over passwords."""
    logs.configure("pass")  # to standard error
    async with open_platform(settings.load()) as platform:
        await platform.passwords.rotate_due()


def measured(api: httpx.Client, age: str) -> float:
    (line,) = [
        line
        for line in api.get("/metrics").text.splitlines()
        if line.startswith(f'tenantry_passwords{{age="{age}"}}')
    ]
    return float(line.rpartition(" ")[2])


def shift(platform: Installation, database: Row, days: int) -> None:
    """Have everything about a database's passwords so many days older."""
    with platform.control() as control:
        control.execute(
            "UPDATE databases SET password_changed_at = password_changed_at - %(d)s * interval"
            " '1 day', rotation_set_at = rotation_set_at - %(d)s * interval '1 day'"
            " WHERE id = %(id)s",
            {"d": days, "id": database["id"]},
        )
        control.execute(
            "UPDATE database_roles SET password_changed_at = password_changed_at - %s * interval"
            " '1 day' WHERE database_id = %s",
            (days, database["id"]),
        )


def test_an_old_password_is_reported_of_and_stays_unless_it_shall_be_replaced(
    platform: Installation, api: httpx.Client
) -> None:
    aged = platform.create(name="aged")
    database = platform.create(name="rotating", maxConnections=20)
    url = f"/api/databases/{database['id']}"
    role = data(api.post(f"{url}/roles", json={"name": "reporting"}), 201)
    old, rotating = measured(api, "old"), measured(api, "rotating")
    shift(platform, aged, 91)
    assert measured(api, "old") == old + 1
    assert "Passwords older than 90 days" in platform.warnings()
    parts = {part["name"]: part for part in api.get("/ready").json()["parts"]}
    assert parts["passwords"]["state"] == "warning"
    shift(platform, database, 400)
    problem(api.patch(url, json={"rotate_password_days": 13}), 422)
    reported = data(api.patch(url, json={"rotate_password_days": 90}))
    assert reported["password_rotates_at"] > reported["updated_at"]
    assert measured(api, "rotating") == rotating + 2
    inside(platform, rotate_due)
    assert ask(aged["connection_string"]) == 1
    assert ask(database["connection_string"]) == 1  # not before the week's notice

    pooled = database["connection_string_pooled"]
    with login(database["connection_string"]) as direct, login(pooled) as through_pooler:
        through_pooler.execute("SELECT 1")
        shift(platform, database, 8)
        inside(platform, rotate_due)
        assert is_open(direct)
        assert is_open(through_pooler)
    for each in (database, role):
        for way in ("connection_string", "connection_string_pooled"):
            assert "authentication failed" in refusal(each[way])
    entries = data(api.get("/api/audit-logs", params={"resource_id": database["id"]}))
    reasons = {
        entry["action"]: entry["details"].get("reason")
        for entry in entries
        if entry["action"].endswith(".rotate_password")
    }
    assert reasons == {"database.rotate_password": "its age", "role.rotate_password": "its age"}

    opened = data(api.post(f"{url}/rotate-password"))
    assert opened["password_changed_at"] > reported["password_changed_at"]
    shift(platform, database, 89)
    inside(platform, rotate_due)
    for way in ("connection_string", "connection_string_pooled"):
        assert ask(opened[way]) == 1
    off = data(api.patch(url, json={"rotate_password_days": None}))
    assert (off["rotate_password_days"], off["password_rotates_at"]) == (None, None)
    assert measured(api, "rotating") == rotating
