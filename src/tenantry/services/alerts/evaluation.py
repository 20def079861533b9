"""What a look has found becomes the alerts' new states, with the messages about them."""

import datetime as dt
import uuid
from collections.abc import Sequence
from dataclasses import replace

from tenantry.base.home import Home
from tenantry.base.ids import new_id
from tenantry.control import alert_channels, alerts, audit
from tenantry.control.alert_channels import ChannelRow, MessageRow
from tenantry.control.alerts import AlertRow
from tenantry.control.store import ControlStore, Tx
from tenantry.services.alerts import parts, plan
from tenantry.services.alerts.model import LATELY, Condition, Found, Transition, patience


class Evaluation:
    """Records looks. Each is one transaction: alerts and messages are stored together."""

    def __init__(self, store: ControlStore, home: Home) -> None:
        self._store = store
        self._home = home

    async def record(self, found: Found) -> list[tuple[AlertRow, Transition]]:
        """Record what a look has found, and return the transitions."""
        now = dt.datetime.now(dt.UTC)
        async with self._store.transaction(audit.PLATFORM) as tx:
            conditions = await self._present(tx, found)
            before = {row.key: row for row in await alerts.lock_open(tx)}
            opened = [each for key, each in conditions.items() if key not in before]
            rows = before | {row.key: row for row in await _opened(tx, opened, now)}
            fired = await alerts.fired_since(tx, now - LATELY) if rows else {}
            changed: list[AlertRow] = []
            gone: list[uuid.UUID] = []
            done: list[tuple[AlertRow, Transition]] = []
            for key, row in rows.items():
                after: AlertRow | None = row
                transition: Transition | None = None
                if row.rule in found.looked and row.database_id not in found.unknown:
                    lasts = patience(row.rule, fired.get(key, 0))
                    after, transition = plan.step(row, conditions.get(key), now, lasts)
                if after is None:
                    gone.append(row.id)
                elif after != before.get(key):
                    changed.append(after)
                if after is not None and transition is not None:
                    done.append((after, transition))
            await alerts.drop(tx, gone)
            await alerts.keep(tx, changed)
            # Customers' channels are many, and rarely needed.
            channels = await alert_channels.every(tx, of_platform=not done)
            for after, transition in done:
                hearing = plan.hearing(after, channels, now)
                await send(tx, after, transition, hearing, reported=found.reported)
        parts.export_channels(self._home, channels)
        parts.evaluated(self._home)
        return done

    @staticmethod
    async def _present(tx: Tx, found: Found) -> dict[tuple[str, str], Condition]:
        """Return the conditions that are there, and the incidents that are new although over."""
        incidents = {each.occurrence for each in found.conditions if each.occurrence is not None}
        known = await alerts.known(tx, incidents)
        return {
            each.key: each
            for each in found.conditions
            if each.present or (each.occurrence is not None and each.occurrence not in known)
        }


async def _opened(tx: Tx, conditions: Sequence[Condition], now: dt.datetime) -> list[AlertRow]:
    """Return the pending alerts of new conditions, muted as earlier ones about the same."""
    rows = [plan.opened(each, now, each.occurrence or new_id()) for each in conditions]
    muted = await alerts.mutes(tx, rows) if rows else {}
    opened = []
    for row in rows:
        platforms, customers = muted.get(row.key, (None, None))
        opened.append(replace(row, muted_until=platforms, customer_muted_until=customers))
    return opened


async def send(
    tx: Tx,
    row: AlertRow,
    transition: Transition,
    hearing: list[ChannelRow],
    *,
    reported: frozenset[uuid.UUID] = frozenset(),
) -> None:
    """Add the messages about a transition, for the channels that hear of it."""
    now = dt.datetime.now(dt.UTC)
    for channel in hearing:
        message = plan.message(row, transition, channel.id, now)
        await alert_channels.add_message(
            tx,
            MessageRow(message.id, channel.id, message.event, message.at, message.data),
            sent=message.id in reported,
        )
