"""Build the dashboards, with Grafana's own SDK: python monitoring/build_dashboards.py

Needs requirements/dev.txt. It writes the files in dashboards/; a test compares them.
"""

import json
from collections.abc import Iterable
from pathlib import Path

from grafana_foundation_sdk.builders import prometheus, stat, table, timeseries
from grafana_foundation_sdk.builders.dashboard import (
    Dashboard,
    DatasourceVariable,
    QueryVariable,
    Row,
    ThresholdsConfig,
)
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.common import DataSourceRef
from grafana_foundation_sdk.models.dashboard import (
    DataTransformerConfig,
    Threshold,
    ThresholdsMode,
    VariableRefresh,
    VariableSort,
)
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

FOLDER = Path(__file__).parent / "dashboards"
SOURCE = DataSourceRef(type_val="prometheus", uid="${datasource}")
DATABASE = "tenantry_database_info"
HERE = 'instance=~"$instance"'
ONE = f'{HERE}, datname=~"$datname"'
POOL = f'{HERE}, database=~"$datname"'

Panel = timeseries.Panel | stat.Panel | table.Panel


def _query(expression: str, legend: str, number: int = 0) -> prometheus.Dataquery:
    made = prometheus.Dataquery().expr(expression).legend_format(legend)
    return made.ref_id(chr(ord("A") + number)).datasource(SOURCE)


def line(title: str, unit: str, *queries: tuple[str, str], width: int = 8) -> timeseries.Panel:
    """Return a panel with a line for each series; queries are expressions with their legends."""
    panel = timeseries.Panel().title(title).unit(unit).min(0).fill_opacity(10)
    for number, (expression, legend) in enumerate(queries):
        panel = panel.with_target(_query(expression, legend, number))
    return panel.datasource(SOURCE).span(width).height(7)


def number(
    title: str, unit: str, expression: str, *, legend: str = "", bad: float | None = None
) -> stat.Panel:
    """Return a panel with the present value of each series, red from ``bad`` on."""
    steps = [Threshold(value=None, color="green")]
    if bad is not None:
        steps.append(Threshold(value=bad, color="red"))
    levels = ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(steps)
    panel = stat.Panel().title(title).unit(unit).thresholds(levels)
    query = _query(expression, legend).instant()
    return panel.with_target(query).datasource(SOURCE).span(4).height(4)


def listing(title: str, columns: dict[str, str]) -> table.Panel:
    """Return a table with a row for each database, of expressions by the name of their column."""
    panel = table.Panel().title(title).datasource(SOURCE).span(24).height(9)
    renamed = {"datname": "database"}
    for index, (name, expression) in enumerate(columns.items()):
        query = _query(expression, "", index).instant().format(PromQueryFormat.TABLE)
        panel = panel.with_target(query)
        renamed[f"Value #{chr(ord('A') + index)}"] = name
    steps: dict[str, dict[str, object]] = {
        "joinByField": {"byField": "datname", "mode": "outer"},
        "filterFieldsByName": {"include": {"names": list(renamed)}},
        "organize": {"renameByName": renamed},
    }
    for step, options in steps.items():
        panel = panel.with_transformation(DataTransformerConfig(id_val=step, options=options))
    return panel


def _variable(name: str, label: str, query: str, *, several: bool) -> QueryVariable:
    made = QueryVariable(name).label(label).query(query).datasource(SOURCE)
    made = made.refresh(VariableRefresh.ON_TIME_RANGE_CHANGED).sort(VariableSort.ALPHABETICAL_ASC)
    return made.multi(several).include_all(several)


def _dashboard(uid: str, title: str, known_by: str, *variables: QueryVariable) -> Dashboard:
    """Return a dashboard of the installations that have the metric ``known_by``."""
    made = Dashboard(title).uid(uid).tags(["tenantry"]).refresh("1m").time("now-3h", "now")
    made = made.timezone("browser").editable()
    made = made.with_variable(
        DatasourceVariable("datasource").label("Prometheus").type("prometheus")
    )
    instances = f"label_values({known_by}, instance)"
    made = made.with_variable(_variable("instance", "Installation", instances, several=True))
    for each in variables:
        made = made.with_variable(each)
    return made


def _databases(*, several: bool) -> QueryVariable:
    query = f"label_values({DATABASE}{{{HERE}}}, datname)"
    return _variable("datname", "Database", query, several=several)


def _with(made: Dashboard, row: str, panels: Iterable[Panel]) -> Dashboard:
    made = made.with_row(Row(row))
    for panel in panels:
        made = made.with_panel(panel)
    return made


def platform() -> Dashboard:
    """Return the dashboard of a whole installation."""
    made = _dashboard("tenantry-platform", "Tenantry: platform", "tenantry_part_up")
    made = _with(made, "Now", (
        number("Parts down", "none", f"sum(tenantry_part_up{{{HERE}}} == bool 0)", bad=1),
        number("Databases", "none", f'sum(tenantry_databases{{{HERE}, status="active"}})'),
        number("Failing reconciliation", "none", f"sum(tenantry_databases_failing{{{HERE}}})",
            bad=1),
        number("Oldest backup", "s", f"max(tenantry_backup_age_seconds{{{HERE}}})", bad=93_600),
        number("Drills failing", "none", f"sum(tenantry_drills_failing{{{HERE}}})", bad=1),
        number("Certificate", "s", f"min(tenantry_certificate_remaining_seconds{{{HERE}}})"),
    ))  # fmt: skip
    made = _with(made, "Parts", (
        line("Up", "none", (f"tenantry_part_up{{{HERE}}}", "{{part}}")),
        line("Latency", "s", (f"tenantry_part_latency_seconds{{{HERE}}}", "{{part}}")),
        line("Requests", "reqps", (
            f"sum by (status) (rate(tenantry_http_request_duration_seconds_count{{{HERE}}}"
            "[$__rate_interval]))", "{{status}}")),
        line("95 % of requests within", "s", (
            "histogram_quantile(0.95, sum by (le) (rate("
            f"tenantry_http_request_duration_seconds_bucket{{{HERE}}}[$__rate_interval])))", "")),
        line("Operations that wait", "none",
            (f"tenantry_operations_queued{{{HERE}}}", "{{lane}}")),
        line("Processes that ended", "none", (
            f"increase(tenantry_process_deaths_total{{{HERE}}}[$__rate_interval])",
            "{{process}}")),
    ))  # fmt: skip
    made = _with(made, "Databases together", (
        line("Transactions", "ops", (
            f"sum(rate(pg_stat_database_xact_commit{{{HERE}}}[$__rate_interval]))", "committed"), (
            f"sum(rate(pg_stat_database_xact_rollback{{{HERE}}}[$__rate_interval]))",
            "rolled back")),
        line("Size", "bytes", (f"sum(tenantry_database_disk_used_bytes{{{HERE}}})", "used")),
        line("By disk quota", "none", (f"tenantry_databases_by_quota{{{HERE}}}", "{{state}}")),
        line("CPU of sessions: the first 10", "none", (
            f"topk(10, rate(tenantry_database_cpu_seconds_total{{{HERE}}}[$__rate_interval]))",
            "{{datname}}")),
        line("Write-ahead log: the first 10", "Bps", (
            f"topk(10, rate(tenantry_database_wal_bytes_total{{{HERE}}}[$__rate_interval]))",
            "{{datname}}")),
        line("Sessions: the first 10", "none", (
            f"topk(10, pg_stat_database_numbackends{{{HERE}}})", "{{datname}}")),
    ))  # fmt: skip
    requests = f"tenantry_cache_requests_total{{{HERE}"
    made = _with(made, "AI cache", (
        line("Requests", "reqps", (
            f"sum by (result) (rate({requests}}}[$__rate_interval]))", "{{result}}")),
        line("Hit rate of sites", "percentunit", (
            f'sum by (site) (rate({requests}, result=~"exact_hits|semantic_hits"}}'
            "[$__rate_interval])) / sum by (site) (rate("
            f'{requests}, result=~"exact_hits|semantic_hits|misses"}}[$__rate_interval]))',
            "{{site}}")),
        line("Tokens", "none", (
            f"sum by (kind) (rate(tenantry_cache_tokens_total{{{HERE}}}[$__rate_interval]))",
            "{{kind}}")),
        line("Mean time of look-ups", "s", (
            f"sum(rate(tenantry_cache_lookup_seconds_total{{{HERE}}}[$__rate_interval])) / "
            f'sum(rate({requests}, result=~"exact_hits|semantic_hits|misses"}}'
            "[$__rate_interval]))", "mean")),
        line("Memory, of its limit", "percentunit", (
            f"tenantry_cache_memory_bytes{{{HERE}}} / tenantry_cache_memory_limit_bytes{{{HERE}}}",
            "{{site}}")),
        line("Evictions", "ops", (
            f"rate(tenantry_cache_evicted_keys_total{{{HERE}}}[$__rate_interval])", "{{site}}")),
    ))  # fmt: skip
    return _with(made, "Pooler and log", (
        line("Pooled clients", "none", (f"tenantry_pooler_clients{{{HERE}}}", "{{state}}")),
        line("Server connections", "none",
            (f"tenantry_pooler_servers{{{HERE}}}", "{{state}}"),
            (f"tenantry_pooler_server_budget{{{HERE}}}", "budget")),
        line("Memory of the pooler", "bytes",
            (f"tenantry_pooler_memory_bytes{{{HERE}}}", "used"),
            (f"tenantry_pooler_memory_limit_bytes{{{HERE}}}", "limit")),
        line("Write-ahead log not archived", "bytes",
            (f"tenantry_archive_waiting_bytes{{{HERE}}}", "{{cluster}}")),
        line("Age of transaction IDs", "none",
            (f"tenantry_transaction_id_age{{{HERE}}}", "{{cluster}} {{kind}}")),
        line("Logins refused", "ops",
            (f"rate(tenantry_logins_refused_total{{{HERE}}}[$__rate_interval])", "refused")),
    ))  # fmt: skip


CONNECTIONS = (
    f"max(pg_stat_database_numbackends{{{ONE}}} / tenantry_database_connection_limit{{{ONE}}})"
)
DISK = (
    f"max(tenantry_database_disk_used_bytes{{{ONE}}} / tenantry_database_disk_quota_bytes{{{ONE}}})"
)
TRANSACTIONS = f"sum(rate(pg_stat_database_xact_commit{{{ONE}}}[$__rate_interval]))"
HITS = (
    f"sum(rate(pg_stat_database_blks_hit{{{ONE}}}[$__rate_interval])) / (sum(rate("
    f"pg_stat_database_blks_hit{{{ONE}}}[$__rate_interval])) + sum(rate("
    f"pg_stat_database_blks_read{{{ONE}}}[$__rate_interval])) > 0)"
)
OLDEST = f"max(tenantry_database_longest_transaction_seconds{{{ONE}}})"
WAITING = f"sum(pgbouncer_pools_client_waiting_connections{{{POOL}}})"


def databases() -> Dashboard:
    """Return the dashboard with a row for each chosen database."""
    made = _dashboard(
        "tenantry-databases", "Tenantry: databases", DATABASE, _databases(several=True)
    )
    each = "sum by (datname) ({})".format
    made = made.with_panel(listing("All", {
        "sessions": each(f"pg_stat_database_numbackends{{{ONE}}}"),
        "of their limit": each(f"datname:pg_stat_database_numbackends:ratio{{{ONE}}}"),
        "bytes": each(f"tenantry_database_disk_used_bytes{{{ONE}}}"),
        "of their quota": each(f"datname:tenantry_database_disk_used_bytes:ratio{{{ONE}}}"),
        "transactions a second": each(f"datname:pg_stat_database_xact:rate5m{{{ONE}}}"),
        "deadlocks": each(f"pg_stat_database_deadlocks{{{ONE}}}"),
    }))  # fmt: skip
    row = Row("$datname").repeat("datname")
    made = made.with_row(row)
    for panel in (
        number("Sessions, of the limit", "percentunit", CONNECTIONS, bad=0.9),
        number("Disk, of the quota", "percentunit", DISK, bad=0.8),
        number("Transactions", "ops", TRANSACTIONS),
        number("Cache hits", "percentunit", HITS),
        number("Longest transaction", "s", OLDEST, bad=3600),
        number("Pooled clients that wait", "none", WAITING, bad=1),
    ):
        made = made.with_panel(panel)
    return made


def database() -> Dashboard:
    """Return the dashboard of one database."""
    made = _dashboard(
        "tenantry-database", "Tenantry: one database", DATABASE, _databases(several=False)
    )
    made = _with(made, "Now", (
        number("Sessions, of the limit", "percentunit", CONNECTIONS, bad=0.9),
        number("Disk, of the quota", "percentunit", DISK, bad=0.8),
        number("Size", "bytes", f"sum(pg_database_size_bytes{{{ONE}}})"),
        number("Cache hits", "percentunit", HITS),
        number("Longest transaction", "s", OLDEST, bad=3600),
        number("Age of the sample", "s", f"max(tenantry_database_sample_age_seconds{{{ONE}}})",
            bad=600),
    ))  # fmt: skip

    def rate(name: str, legend: str, chosen: str = ONE) -> tuple[str, str]:
        return f"sum(rate({name}{{{chosen}}}[$__rate_interval]))", legend

    made = _with(made, "Work", (
        line("Transactions", "ops", rate("pg_stat_database_xact_commit", "committed"),
            rate("pg_stat_database_xact_rollback", "rolled back")),
        line("Rows read", "ops", rate("pg_stat_database_tup_returned", "read"),
            rate("pg_stat_database_tup_fetched", "fetched by indexes")),
        line("Rows written", "ops", rate("pg_stat_database_tup_inserted", "inserted"),
            rate("pg_stat_database_tup_updated", "updated"),
            rate("pg_stat_database_tup_deleted", "deleted")),
        line("Blocks", "ops", rate("pg_stat_database_blks_hit", "from the cache"),
            rate("pg_stat_database_blks_read", "read")),
        line("Temporary files", "Bps", rate("pg_stat_database_temp_bytes", "written")),
        line("Deadlocks", "none", (
            f"sum(increase(pg_stat_database_deadlocks{{{ONE}}}[$__rate_interval]))", "deadlocks")),
    ))  # fmt: skip
    made = _with(made, "Sessions", (
        line("By state", "none",
            (f"sum by (state) (pg_stat_activity_count{{{ONE}}})", "{{state}}"),
            (f"sum(tenantry_database_connection_limit{{{ONE}}})", "limit")),
        line("By port", "none",
            (f"sum by (port) (tenantry_database_connections{{{ONE}}})", "{{port}}")),
        line("Longest transaction", "s", (OLDEST, "age")),
        line("Pooled clients", "none",
            (f"sum(pgbouncer_pools_client_active_connections{{{POOL}}})", "served"),
            (WAITING, "waiting")),
        line("Pooled queries", "ops",
            rate("pgbouncer_stats_queries_pooled_total", "queries", POOL)),
        line("Mean time of pooled queries", "s", (
            f"sum(rate(pgbouncer_stats_queries_duration_seconds_total{{{POOL}}}"
            "[$__rate_interval])) / (sum(rate(pgbouncer_stats_queries_pooled_total"
            f"{{{POOL}}}[$__rate_interval])) > 0)", "mean"), (
            f"sum(rate(pgbouncer_stats_client_wait_seconds_total{{{POOL}}}[$__rate_interval]))"
            f" / (sum(rate(pgbouncer_stats_queries_pooled_total{{{POOL}}}[$__rate_interval]))"
            " > 0)", "waiting")),
    ))  # fmt: skip
    return _with(made, "Resources", (
        line("Disk", "bytes",
            (f"sum(pg_database_size_bytes{{{ONE}}})", "database"),
            (f"sum(tenantry_database_shadow_bytes{{{ONE}}})", "shadow"),
            (f"sum(tenantry_database_disk_quota_bytes{{{ONE}}})", "quota")),
        line("Write-ahead log (estimate)", "Bps", rate("tenantry_database_wal_bytes_total", "log")),
        line("CPU (estimate)", "none", rate("tenantry_database_cpu_seconds_total", "processors")),
        line("Memory of its sessions", "bytes",
            (f"sum(tenantry_database_memory_bytes{{{ONE}}})", "memory")),
    ))  # fmt: skip


def build() -> dict[str, str]:
    """Return the dashboards as JSON, by the name of their file."""
    made = (platform(), databases(), database())
    built = [each.build() for each in made]
    for one in built:
        for index, panel in enumerate(one.panels or [], 1):
            panel.id_val = index
    return {
        f"{each.uid}.json": json.dumps(each, cls=JSONEncoder, indent=1, sort_keys=True) + "\n"
        for each in built
    }


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name, text in build().items():
        (FOLDER / name).write_text(text)
