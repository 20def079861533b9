"""Channels of alerts, and watched databases, as the control database would give them."""

import dataclasses
import datetime as dt
import uuid
from typing import Any

from tenantry.base.secrets import Seal, Secret, SecretSource
from tenantry.control.alert_channels import ChannelRow
from tenantry.control.watched import WatchedRow

NOW = dt.datetime(2026, 11, 30, 12, tzinfo=dt.UTC)


def channel(seal: Seal, **changes: Any) -> ChannelRow:
    """A webhook of the platform, but for what differs."""
    channel_id = uuid.uuid4()
    row = ChannelRow(
        id=channel_id,
        customer_id=None,
        name="ops",
        kind="webhook",
        shown_target="https://hooks.example.com/…",
        target=seal.close(Secret("https://hooks.example.com/secret"), owner=channel_id.bytes),
        signing_key=seal.close(SecretSource().signing_key(), owner=channel_id.bytes),
        events=["alert.platform", "alert.database"],
        failures=0,
        retry_at=None,
        last_error=None,
        last_sent_at=None,
        created_at=NOW,
    )
    return dataclasses.replace(row, **changes)


def watched_row(**changes: Any) -> WatchedRow:
    """A database with nothing to note, but for what differs."""
    row = WatchedRow(
        id=uuid.uuid4(),
        database_name="tenant_a",
        friendly_name="shop",
        customer_id=None,
        max_connections=20,
        disk_quota_bytes=10 * 2**30,
        used_bytes=None,
        quota_state="ok",
        held=False,
        paused_for=None,
    )
    return dataclasses.replace(row, **changes)
