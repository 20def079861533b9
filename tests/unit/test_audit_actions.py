"""Every action that is recorded can be asked for."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import tenantry
from tenantry.control.audit_filters import ACTIONS

_ACTION = r"[a-z_]+\.[a-z_]+|login|logout|access"


def _recorded() -> Iterator[str]:
    """The actions in calls that record, and the kinds of operations, which are actions too."""
    for path in Path(tenantry.__file__).parent.glob("[!c]*/**/*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call):
                continue
            called = node.func
            name = called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")
            if "record" in name or name == "Kind":
                for part in ast.walk(node):
                    if isinstance(part, ast.Constant) and re.fullmatch(_ACTION, str(part.value)):
                        yield str(part.value)


def test_every_action_that_is_recorded_is_known() -> None:
    recorded = set(_recorded())
    assert len(recorded) > 60
    # What ends in "_" begins a formatted string.
    assert not {each for each in recorded - ACTIONS if not each.endswith("_")}
    for start in (each for each in recorded if each.endswith("_")):
        assert any(action.startswith(start) for action in ACTIONS)
