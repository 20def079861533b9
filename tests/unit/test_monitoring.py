"""The rules and dashboards for Prometheus and Grafana that are shipped."""

import importlib
import json
import pkgutil
import re
import runpy
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from grafana_foundation_sdk.cog import plugins
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard

import tenantry
from tenantry.services.observations.model import METRICS

MONITORING = Path(__file__).parents[2] / "monitoring"
RULES = sorted((MONITORING / "rules").glob("*.yml"))
DASHBOARDS = sorted((MONITORING / "dashboards").glob("*.json"))
_OF_PROMETHEUS = {"up"}
_NAME = re.compile(
    r"(?<![\w:$])(?:tenantry|pg|pgbouncer)_\w+|(?<![\w:])\w+(?::\w+){2}|(?<!\w)up(?=\{)"
)


def promtool(*arguments: str | Path) -> None:
    program = shutil.which("promtool")
    assert program is not None, "./check has it: package prometheus"
    done = subprocess.run([program, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def expressions_of_rules() -> list[str]:
    """The rules' expressions, as lines: everything indented below ``expr:``."""
    found = []
    for file in RULES:
        found += re.findall(r"expr: (?:>-\n)?((?:.+\n)(?:          .+\n)*)", file.read_text())
    return found


def expressions_of(dashboard: dict[str, Any]) -> list[str]:
    """The expressions of its panels, and of its variables."""
    panels = [target["expr"] for each in dashboard["panels"] for target in each.get("targets", ())]
    variables = dashboard["templating"]["list"]
    return panels + [each["query"] for each in variables if each["type"] == "query"]


def test_each_rule_does_what_its_test_says() -> None:
    tests = sorted((MONITORING / "tests").glob("*.yml"))
    assert [each.name for each in tests] == [each.name for each in RULES]
    promtool("check", "rules", *RULES)
    promtool("test", "rules", *tests)


def test_each_alert_is_tested() -> None:
    for rules in RULES:
        alerts = re.findall(r"- alert: (\w+)", rules.read_text())
        tests = (MONITORING / "tests" / rules.name).read_text()
        assert alerts
        assert [each for each in alerts if f'alertname="{each}"' not in tests] == []


def test_the_pages_that_alerts_name_are_there() -> None:
    for rules in RULES:
        for page in re.findall(r"docs/[\w/-]+\.md", rules.read_text()):
            assert (MONITORING.parent / page).is_file(), page


def test_the_dashboards_are_what_the_program_builds() -> None:
    built = runpy.run_path(str(MONITORING / "build_dashboards.py"))["build"]()
    assert {each.name: each.read_text() for each in DASHBOARDS} == built


@pytest.mark.parametrize("file", DASHBOARDS, ids=lambda file: file.stem)
def test_a_dashboard_has_nothing_but_what_grafanas_schema_has(file: Path) -> None:
    """Grafana's SDK, made from that schema, reads it, and writes the same again."""
    plugins.register_default_plugins()
    text = json.loads(file.read_text())
    again = json.dumps(Dashboard.from_json(text), cls=JSONEncoder)
    assert json.loads(again) == text
    identifiers = [each["id"] for each in text["panels"]]
    assert len(set(identifiers)) == len(identifiers)


def test_rules_and_dashboards_ask_for_what_there_is() -> None:
    for module in pkgutil.walk_packages(tenantry.__path__, "tenantry."):
        if not module.name.endswith(".__main__"):
            importlib.import_module(module.name)
    recorded = {name for file in RULES for name in re.findall(r"- record: (\S+)", file.read_text())}
    histograms = {
        f"{name}_{suffix}"
        for name, metric in METRICS.items()
        if metric.kind == "histogram"
        for suffix in ("bucket", "count", "sum")
    }
    there = METRICS.keys() | recorded | histograms | _OF_PROMETHEUS
    asked = expressions_of_rules()
    for file in DASHBOARDS:
        asked += expressions_of(json.loads(file.read_text()))
    assert len(asked) > 90
    for expression in asked:
        names = set(_NAME.findall(re.sub(r'"[^"]*"', '""', expression)))
        assert names, expression
        assert names <= there, expression
