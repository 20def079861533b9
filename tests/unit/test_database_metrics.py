"""The metrics of one database, from its newest sample."""

import datetime as dt
import uuid
from dataclasses import fields, replace

from tenantry.control.monitored import MonitoredRow
from tenantry.control.samples import Sample
from tenantry.services.samples.measures import measures_of
from tenantry.services.samples.model import FIELDS

NOW = dt.datetime(2026, 11, 30, tzinfo=dt.UTC)
ROW = MonitoredRow(
    uuid.uuid4(), "tenant_a", 'my "shop"', "staging", "shared", "small", "shared-1", 20, 100, 80
)


def sampled(**known: float | None) -> Sample:
    """A sample of 20 seconds ago, in which each figure is another number."""
    figures = {each.name: number for number, each in enumerate(FIELDS, 1)}
    at = NOW - dt.timedelta(seconds=20)
    return replace(Sample(database_id=ROW.id, at=at, **figures), **known)  # type: ignore[arg-type]


def reported(sample: Sample | None, now: dt.datetime = NOW) -> dict[tuple[str, ...], float]:
    found = [*measures_of(ROW, sample, now)]
    series = {(each.metric.name, *each.labels): each.value for each in found}
    assert len(series) == len(found)
    return series


def test_each_figure_is_reported_under_its_name() -> None:
    sample = sampled()
    series = reported(sample)
    assert len(series) == 35
    assert series["pg_stat_database_xact_commit", "tenant_a"] == sample.commits
    assert series["pg_stat_database_tup_returned", "tenant_a"] == sample.rows_read
    assert series["pg_stat_database_temp_bytes", "tenant_a"] == sample.temporary_bytes
    assert series["pgbouncer_pools_client_waiting_connections", "tenant_a"] == (
        sample.clients_waiting
    )
    assert series["tenantry_database_info", "tenant_a", str(ROW.id), 'my "shop"', "staging",
        "shared", "small", "shared-1"] == 1  # fmt: skip
    assert series["tenantry_database_sample_age_seconds", "tenant_a"] == 20
    assert series["pg_up", "tenant_a"] == 1


def test_no_figure_of_a_sample_is_forgotten() -> None:
    """One that is changed changes a series, whichever it is."""
    before = reported(sampled())
    for each in fields(Sample)[2:]:
        assert reported(sampled(**{each.name: 1000})) != before, each.name


def test_sessions_are_counted_once() -> None:
    sample = sampled(
        direct_active=1, pooled_active=2, direct_idle=4, pooled_idle=8, direct_in_transaction=16,
        pooled_in_transaction=32,
    )  # fmt: skip
    series = reported(sample)
    by_state = {key[2]: value for key, value in series.items() if "activity" in key[0]}
    assert by_state == {"active": 3, "idle": 12, "idle in transaction": 48}
    assert series["tenantry_database_connections", "tenant_a", "direct"] == 21
    assert series["tenantry_database_connections", "tenant_a", "pooled"] == 42
    assert series["pg_stat_database_numbackends", "tenant_a"] == 63


def test_what_is_unknown_is_absent() -> None:
    unknown = {"size_bytes", "memory_bytes", "pooled_queries", "cpu_seconds"}
    names = {key[0] for key in reported(sampled(**dict.fromkeys(unknown)))}
    assert not names & {
        "pg_database_size_bytes",
        "tenantry_database_memory_bytes",
        "pgbouncer_stats_queries_pooled_total",
        "tenantry_database_cpu_seconds_total",
    }


def test_a_database_that_is_not_sampled_is_reported_as_that() -> None:
    series = reported(None)
    assert series["pg_up", "tenant_a"] == 0
    assert not any(key[0].startswith("pg_stat") for key in series)
    assert series["tenantry_database_disk_used_bytes", "tenant_a"] == 80
    later = NOW + dt.timedelta(minutes=11)
    assert reported(sampled(), later)["pg_up", "tenant_a"] == 0
