"""Prometheus scrapes an installation and a database, and everything that is shipped finds data."""

import json
import re
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from psycopg import sql

from answers import data, problem
from clients import eventually
from harness import Installation
from prometheus_server import MONITORING, Prometheus, Target, found_by_promtool, prometheus
from tenantry.services.samples.model import COUNTERS, FIELDS

# What has no series here, and why.
WITHOUT_BACKUPS = {  # TENANTRY_BACKUPS=off
    "tenantry_archive_failing",
    "tenantry_archive_remaining_seconds",
    "tenantry_archive_waiting_bytes",
    "tenantry_backup_age_seconds",
    "tenantry_backup_alerts",
    "tenantry_log_behind_segments",
}
NOT_CERTAIN = {
    "tenantry_process_deaths_total"
}  # others kill processes of this installation, or not
EMPTY = WITHOUT_BACKUPS | NOT_CERTAIN

# What dashboard 9628 asks for in the panels that docs/how-to/monitor.md names.
COMMUNITY = (
    'SUM(pg_stat_database_tup_fetched{datname=~"$datname", instance=~"$instance"})',
    'SUM(pg_stat_database_tup_inserted{datname=~"$datname", instance=~"$instance"})',
    'SUM(pg_stat_database_tup_updated{datname=~"$datname", instance=~"$instance"})',
    'pg_stat_database_tup_returned{datname=~"$datname", instance=~"$instance"} != 0',
    'pg_stat_database_tup_deleted{datname=~"$datname", instance=~"$instance"} != 0',
    'pg_stat_activity_count{datname=~"$datname", instance=~"$instance", state="active"}',
    'pg_stat_activity_count{datname=~"$datname", state=~"idle|idle in transaction|idle in'
    ' transaction (aborted)"}',
    'irate(pg_stat_database_xact_commit{instance=~"$instance", datname=~"$datname"}[5m])',
    'irate(pg_stat_database_xact_rollback{instance=~"$instance", datname=~"$datname"}[5m])',
    'pg_stat_database_blks_hit{instance=~"$instance", datname=~"$datname"} / (pg_stat_database'
    '_blks_read{instance=~"$instance", datname=~"$datname"} + pg_stat_database_blks_hit'
    '{instance=~"$instance", datname=~"$datname"})',
    'irate(pg_stat_database_deadlocks{instance=~"$instance", datname=~"$datname"}[5m])',
    'irate(pg_stat_database_temp_bytes{instance=~"$instance", datname=~"$datname"}[5m])',
    'pg_up{release=""}',
)


@dataclass(frozen=True, slots=True)
class Owned:
    """A database with a sample, and the key that its owner's Prometheus has."""

    made: dict[str, Any]
    key: str

    @property
    def path(self) -> str:
        return f"/api/databases/{self.made['id']}/metrics/prometheus"

    @property
    def name(self) -> str:
        name: str = self.made["database_name"]
        return name


def sample(platform: Installation, database_id: str) -> None:
    """Have a new sample of the database: 3 of each state, and 100 more of each counter."""
    names = [each.name for each in FIELDS]
    counted = sql.SQL("{0} = coalesce(s.{0}, 0) + 100")
    state = sql.SQL("{0} = excluded.{0}")
    more = [
        (counted if each in COUNTERS else state).format(sql.Identifier(each))
        for each in ("at", *names)
    ]
    statement = sql.SQL(
        "INSERT INTO newest_samples AS s (database_id, at, {}) VALUES (%s, now(), {})"
        " ON CONFLICT (database_id) DO UPDATE SET {}"
    ).format(
        sql.SQL(", ").join(map(sql.Identifier, names)),
        sql.SQL(", ").join(sql.Literal(100 if each in COUNTERS else 3) for each in names),
        sql.SQL(", ").join(more),
    )
    with platform.control() as control:
        control.execute(statement, (database_id,))


def is_sampled(platform: Installation, database_id: str) -> bool:
    """Whether the worker has metered and sampled it: from then on it does when there is news."""
    with platform.control() as control:
        found = control.execute(
            "SELECT size_bytes FROM newest_samples WHERE database_id = %s", (database_id,)
        ).fetchone()
    return found is not None and found[0] is not None


def owned(platform: Installation, api: httpx.Client) -> Owned:
    email = f"o{uuid.uuid4().hex[:8]}@example.com"
    made = platform.create(ownerEmail=email)
    asked = {"name": "prometheus", "scopes": ["metrics:read"], "customerEmail": email}
    key = data(api.post("/api/api-keys", json=asked), 201)["key"]
    return Owned(made, key)


@pytest.fixture(scope="module")
def both(platform: Installation) -> tuple[Owned, Owned]:
    with platform.client() as api:
        made = (owned(platform, api), owned(platform, api))
    for each in made:
        eventually(partial(is_sampled, platform, each.made["id"]), seconds=120)
        sample(platform, each.made["id"])
    return made


@pytest.fixture(scope="module")
def mine(both: tuple[Owned, Owned]) -> Owned:
    return both[0]


@pytest.fixture(scope="module")
def foreign(both: tuple[Owned, Owned]) -> Owned:
    return both[1]


def series(text: str) -> dict[str, list[dict[str, str]]]:
    """The labels of each series, by the name of its metric."""
    found: dict[str, list[dict[str, str]]] = {}
    for family in text_string_to_metric_families(text):
        for each in family.samples:
            found.setdefault(each.name, []).append(each.labels)
    return found


def test_a_key_for_metrics_reads_its_own_databases_and_nothing_else(
    platform: Installation, mine: Owned, foreign: Owned
) -> None:
    with platform.client(mine.key) as own:
        answer = own.get(mine.path)
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
        found = series(answer.text)
        assert sum(map(len, found.values())) == 35
        names = {
            labels.get("datname", labels.get("database"))
            for each in found.values()
            for labels in each
        }
        assert names == {mine.name}
        for secret in (foreign.name, foreign.made["id"], mine.made["owner_email"], "127.0.0.1"):
            assert secret not in answer.text
        missing = problem(own.get(f"/api/databases/{uuid.uuid4()}/metrics/prometheus"), 404)
        for path in (foreign.path, "/api/databases/nonsense/metrics/prometheus"):
            assert problem(own.get(path), 404)["detail"] == missing["detail"]
        for path in ("", "/sessions", "/queries", "/connection-strings", "/stats"):
            problem(own.get(f"/api/databases/{mine.made['id']}{path}"), 403)
    with platform.anonymous({"Via": "1.1 proxy"}) as client:
        problem(client.get(mine.path), 401)
    with platform.anonymous({"Via": "1.1 proxy", "X-API-Key": mine.key}) as client:
        problem(client.get("/metrics"), 403)


def test_the_platforms_metrics_have_each_database(
    platform: Installation, mine: Owned, foreign: Owned
) -> None:
    text = platform.get("/metrics").text
    assert found_by_promtool(text.encode()) == []
    found = series(text)
    for name in (
        "tenantry_database_info",
        "pg_database_size_bytes",
        "pg_stat_database_xact_commit",
    ):
        assert {mine.name, foreign.name} <= {labels["datname"] for labels in found[name]}
    with platform.client(mine.key) as own:
        assert found_by_promtool(own.get(mine.path).content) == []


def test_a_name_that_a_tenant_chose_is_one_label(
    platform: Installation, api: httpx.Client, mine: Owned
) -> None:
    chosen = 'x"} 1\npg_up{datname="evil'
    answer = api.patch(f"/api/databases/{mine.made['id']}", json={"friendlyName": chosen})
    name = chosen if answer.status_code == 200 else 'x"} 1 pg_up{datname="evil\\'
    if answer.status_code != 200:  # a line break is refused
        data(api.patch(f"/api/databases/{mine.made['id']}", json={"friendlyName": name}))
    found = series(platform.get("/metrics").text)
    assert name in {labels["name"] for labels in found["tenantry_database_info"]}
    assert "evil" not in {labels["datname"] for labels in found["pg_up"]}


# ── what is shipped ──────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def site(platform: Installation) -> Iterator[str]:
    """A site of the AI cache, whose Redis answers."""
    with platform.client() as api:
        made = data(api.post("/api/sites", json={"name": "scraped", "memory_mb": 8}), 201)
        eventually(lambda: api.get(f"/api/sites/{made['id']}/stats").is_success)
        yield made["id"]
        data(api.delete(f"/api/sites/{made['id']}"))


@pytest.fixture(scope="module")
def scraped(
    platform: Installation,
    mine: Owned,
    site: str,  # noqa: ARG001
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Prometheus]:
    """A Prometheus that has scraped the platform and, with its key, one database several times."""
    key_file = tmp_path_factory.mktemp("prometheus") / "key"
    key_file.write_text(mine.key)
    targets = [
        Target("tenantry", platform.api_port),
        Target("own", platform.api_port, mine.path, key_file),
    ]
    with prometheus(targets) as server:
        server.wait_for("count(up == 1)", len(targets))
        for _ in range(2):
            before = server.value('max(pg_stat_database_xact_commit{job="own"})')
            sample(platform, mine.made["id"])
            server.wait_for(f'max(pg_stat_database_xact_commit{{job="own"}}) != bool {before}')
        server.wait_for("count(database:pgbouncer_stats_queries_duration_seconds:mean5m)")
        yield server


def filled_in(expression: str) -> str:
    """A dashboard's expression, with all that there is chosen, as Grafana would ask for it."""
    if labels := re.fullmatch(r"label_values\((.+), (\w+)\)", expression):
        expression = f"count by ({labels[2]}) ({labels[1]})"
    for name, value in {"__rate_interval": "1m", "instance": ".*", "datname": ".*"}.items():
        expression = expression.replace(f"${name}", value)
    assert "$" not in expression
    return expression


def of_dashboard(file: Path) -> list[str]:
    dashboard = json.loads(file.read_text())
    targets = [each for panel in dashboard["panels"] for each in panel.get("targets", ())]
    variables = [each for each in dashboard["templating"]["list"] if each["type"] == "query"]
    return [each["expr"] for each in targets] + [each["query"] for each in variables]


def test_every_query_of_every_dashboard_shows_something(scraped: Prometheus) -> None:
    files = sorted((MONITORING / "dashboards").glob("*.json"))
    assert len(files) == 3
    for file in files:
        for expression in of_dashboard(file):
            if any(name in expression for name in WITHOUT_BACKUPS):
                assert not scraped.query(filled_in(expression)), (file.name, expression)
            elif not any(name in expression for name in NOT_CERTAIN):
                scraped.wait_for_series(filled_in(expression))


def test_every_rule_is_evaluated_on_what_there_is(scraped: Prometheus) -> None:
    rules = scraped.rules()
    assert len(rules) > 25
    for rule in rules:
        assert rule["health"] == "ok", rule
        query = rule["query"]
        if rule["type"] == "recording":
            scraped.wait_for_series(query)
        for name in re.findall(r"[a-z_:0-9]+(?=[{\[ ]|$)", re.sub(r'"[^"]*"', '""', query)):
            if name.startswith(("tenantry_", "pg", "datname:", "up")) and name not in EMPTY:
                scraped.wait_for_series(name)


def test_community_dashboards_find_their_metrics(scraped: Prometheus) -> None:
    for expression in COMMUNITY:
        scraped.wait_for_series(filled_in(expression))


def test_a_tenants_prometheus_gets_only_its_database(scraped: Prometheus, mine: Owned) -> None:
    found = scraped.query('group by (datname, database) ({job="own", __name__=~"pg.*|tenantry.*"})')
    names = {value for each in found for value in each["metric"].values()}
    assert names == {mine.name}
