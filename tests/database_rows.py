"""Rows of databases as the control database would give them."""

import dataclasses
import datetime as dt
import uuid
from typing import Any

from tenantry.base.ids import new_suffix
from tenantry.base.secrets import Secret
from tenantry.control import plans
from tenantry.control.databases import DatabaseRow
from tenantry.control.plans import PlanRow
from tenantry.control.sites import SiteRow
from tenantry.services.sites.model import digest

NOW = dt.datetime(2026, 11, 21, 12, tzinfo=dt.UTC)


def database_row(suffix: str | None = None, **differing: Any) -> DatabaseRow:
    """An active database of the standard plan, but for what differs; the same id for a suffix."""
    suffix = suffix or new_suffix()
    usual = DatabaseRow(
        id=uuid.uuid5(uuid.NAMESPACE_OID, suffix),
        cluster_id=uuid.UUID(int=9),
        database_name=f"tenant_{suffix}",
        username=f"user_{suffix}",
        status="active",
        cluster="shared-1",
        direct_port=5432,
        has_shadow=True,
        customer_id=None,
        owner_email=None,
        name="app",
        friendly_name="App",
        environment="production",
        kind="shared",
        driver="process",
        version=15,
        wanted="running",
        cpus=None,
        memory_mb=None,
        container_name=None,
        plan="standard",
        longest_statement_seconds=14_400,
        max_connections=50,
        pool_size=25,
        reserve_pool_size=0,
        disk_quota_bytes=10 * 2**30,
        temp_file_limit_bytes=2**31,
        cpu_weight=100,
        statement_timeout_ms=0,
        lock_timeout_ms=0,
        idle_in_transaction_session_timeout_ms=0,
        pool_mode="transaction",
        used_bytes=None,
        quota_state="ok",
        held=False,
        parent_id=None,
        branched_at=None,
        expires_at=None,
        missing_since=None,
        status_detail=None,
        password_changed_at=NOW,
        rotate_password_days=None,
        auto_suspend_seconds=None,
        auto_suspend_direct="wake",
        password_rotates_at=None,
        last_active_at=None,
        watched_since=None,
        paused_until=None,
        paused_for=None,
        log_statements="none",
        log_min_duration_ms=None,
        log_errors=False,
        log_keep_days=None,
        log_paused_until=None,
        blueprint=None,
        blueprint_version=None,
        created_at=NOW,
        updated_at=NOW,
    )
    return dataclasses.replace(usual, **differing)


def plan_row(name: str = "small", **differing: Any) -> PlanRow:
    """A pricing plan with the limits of a database row but for what differs, and no other sizes."""
    usual: dict[str, Any] = {**dict.fromkeys(plans.SIZES), "longest_statement_seconds": 60}
    usual |= dataclasses.asdict(database_row("small").limits)
    return PlanRow(name=name, **(usual | differing))


def site_row(site_id: uuid.UUID, **differing: Any) -> SiteRow:
    """An active site with a Redis of its own, but for what differs. Its password is "theirs"."""
    usual = SiteRow(
        id=site_id,
        customer_id=None,
        name="shop",
        status="active",
        port=6379,
        memory_mb=32,
        max_clients=100,
        eviction="volatile-lru",
        persistence="none",
        semantic="exact",
        isolation="dedicated",
        settings={},
        networks=None,
        password_hash=digest(Secret("theirs")),
        key_hash=digest(Secret("key")),
        created_at=NOW,
        updated_at=NOW,
    )
    return dataclasses.replace(usual, **differing)
