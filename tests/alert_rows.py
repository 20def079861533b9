"""Channels of alerts as the control database would give them."""

import dataclasses
import datetime as dt
import uuid
from typing import Any

from tenantry.base.secrets import Seal, Secret, SecretSource
from tenantry.control.alert_channels import ChannelRow

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
