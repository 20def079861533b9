"""The API's hints name routes and fields: each of them has a command or an option here."""

import re
import time
from pathlib import Path
from typing import Any

import pytest
import typer

from tenantry.base.suggestions import did_you_mean
from tenantry.cli import main, words
from tenantry.control.passwords import NOTICE_DAYS, Ages
from tenantry.services.backups.plan import failing_backups
from tenantry.services.passwords import alerts

SOURCES = Path(words.__file__).parent.parent
ROUTE = re.compile(r"(?:GET|POST|PUT|PATCH|DELETE) /api/[\w/{}.-]+(?:\?[\w=…&]+(?:\.[\w=&]+)*)?")


def reported_routes() -> set[str]:
    """The routes that services, and what is below them, name to whoever asked."""
    found: set[str] = set()
    for layer in ("services", "control", "pg", "base"):
        for file in (SOURCES / layer).rglob("*.py"):
            found |= set(ROUTE.findall(file.read_text()))
    return {
        re.sub(r"\{[^{}]*\}", "{id}", route.replace("{{", "{").replace("}}", "}").rstrip("."))
        for route in found
    }


def test_every_route_that_a_hint_names_has_a_command() -> None:
    assert reported_routes() == words.COMMANDS.keys()


@pytest.mark.parametrize("command", sorted(set(words.COMMANDS.values())))
def test_every_such_command_is_there(command: str) -> None:
    found: Any = typer.main.get_command(main.program())
    options = [word for word in command.split() if word.startswith("--")]
    for word in command.split()[1:]:
        found = getattr(found, "commands", {}).get(word, found)
    assert not hasattr(found, "commands")
    assert all(any(option in each.opts for each in found.params) for option in options)


@pytest.mark.parametrize(("field", "names"), words.PARAMETERS.items())
def test_every_parameter_that_stands_for_a_field_is_some_commands(
    field: str, names: tuple[str, ...]
) -> None:
    there: set[str] = set()

    def walk(command: Any) -> None:
        there.update(each.name for each in command.params)
        for below in getattr(command, "commands", {}).values():
            walk(below)

    walk(typer.main.get_command(main.program()))
    assert set(names) <= there, field


@pytest.mark.parametrize(
    ("text", "names", "said"),
    [
        ("databases:wirte", ["databases:read", "databases:write"], "databases:write"),
        ("shpo", ["shop", "crm"], "shop"),
        ("SHOP", ["shop"], "shop"),
        ("prod", ["production", "staging"], "production"),
        ("shop", ["workshop", "shop-2", "billing"], "shop-2 or workshop"),
    ],
)
def test_a_slip_or_a_part_is_recognised(text: str, names: list[str], said: str) -> None:
    assert did_you_mean(text, names) == f"Did you mean {said}?"


@pytest.mark.parametrize("text", ["crm", "", "x"])
def test_nothing_unrelated_is_offered(text: str) -> None:
    assert did_you_mean(text, ["shop", "billing", "portal"]) is None


@pytest.mark.parametrize(
    ("reported", "said"),
    [
        (
            failing_backups(2),
            "The last scheduled backup of databases failed: 2. `tenantry operation list --kind"
            " backup.create --status failed` and the audit (backup.refused) say why.",
        ),
        (
            " ".join(alerts(Ages(old=3, rotating=1), 90)),
            "Passwords older than 90 days: 3. `tenantry db list --wide` shows their age;"
            " TENANTRY_PASSWORD_DAYS says what is old. Passwords that are replaced within"
            f" {NOTICE_DAYS} days: 1. Change them before (`tenantry db rotate-password DATABASE`),"
            " and inform their clients.",
        ),
        (
            "See GET /api/operations?status=queued.",
            "See `tenantry operation list --status queued`.",
        ),
        ("the last: 2031-12-31 17:00:00 UTC", "the last: 2031-12-31 18:00:00+01:00"),
    ],
)
def test_what_status_and_doctor_show_names_commands(
    monkeypatch: pytest.MonkeyPatch, reported: str, said: str
) -> None:
    monkeypatch.setenv("TZ", "Europe/Zurich")
    time.tzset()
    try:
        assert words.commands(reported) == said
    finally:
        monkeypatch.undo()
        time.tzset()
