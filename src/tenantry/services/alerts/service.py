"""Alerts as administrators and owners see them: listed, acknowledged, muted, resolved."""

import datetime as dt
import uuid
from dataclasses import replace

from tenantry.base.errors import Conflict, InvalidInput, NotFound
from tenantry.control import alert_channels, alerts, audit, pages
from tenantry.control.alert_channels import Thresholds
from tenantry.control.alerts import AlertRow, Filter
from tenantry.control.audit import Actor
from tenantry.control.pages import Page, read_key
from tenantry.control.store import ControlStore, Tx, as_platform
from tenantry.services.alerts import evaluation, plan
from tenantry.services.databases.service import Databases

_LONGEST_MUTE = dt.timedelta(days=366)


class Alerts:
    """The service for alerts. Row-level security shows customers their own databases' only."""

    def __init__(self, store: ControlStore, databases: Databases) -> None:
        self._store = store
        self._databases = databases

    async def page(
        self, actor: Actor, wanted: Filter, *, cursor: str | None, limit: int
    ) -> Page[AlertRow]:
        """Return a page of alerts, the newest first. Raises InvalidInput for a wrong cursor."""
        after = read_key(cursor)
        async with self._store.transaction(actor) as tx:
            of_customer = actor.customer_id is not None
            found = await alerts.page(
                tx, wanted, of_customer=of_customer, after=after, limit=limit + 1
            )
        page = pages.cut(found, limit, lambda row: (row.since, row.id))
        return replace(page, rows=[_seen(actor, row) for row in page.rows])

    async def acknowledge(
        self, tx: Tx, actor: Actor, alert_id: uuid.UUID, *, of_platform: bool
    ) -> AlertRow:
        """Record that somebody attends to an alert, of a customer's or the platform's.

        Raises NotFound.
        """
        row = await self._lock(tx, alert_id, of_platform=of_platform)
        if _seen(actor, row).acknowledged_at is None:
            now = dt.datetime.now(dt.UTC)
            if actor.customer_id is None:
                row = replace(row, acknowledged_at=now, acknowledged_by=actor.name)
            else:
                row = replace(
                    row, customer_acknowledged_at=now, customer_acknowledged_by=actor.name
                )
            await self._keep(tx, actor, "alert.acknowledge", row)
        return _seen(actor, row)

    async def mute(
        self, tx: Tx, actor: Actor, alert_id: uuid.UUID, until: dt.datetime, *, of_platform: bool
    ) -> AlertRow:
        """Send nothing about this rule and subject until then; a past moment ends that.

        A customer silences its own channels, and the platform its own. Raises NotFound,
        InvalidInput for more than a year.
        """
        if until > dt.datetime.now(dt.UTC) + _LONGEST_MUTE:
            raise InvalidInput.of("until", "is more than a year from now")
        row = await self._lock(tx, alert_id, of_platform=of_platform)
        if actor.customer_id is None:
            row = replace(row, muted_until=until)
        else:
            row = replace(row, customer_muted_until=until)
        await self._keep(tx, actor, "alert.mute", row, {"until": until.isoformat()})
        return _seen(actor, row)

    async def resolve(
        self, tx: Tx, actor: Actor, alert_id: uuid.UUID, *, of_platform: bool
    ) -> AlertRow:
        """Resolve a firing alert by hand. It fires again only once its condition was gone.

        A customer resolves it for itself: it fires on for the platform. An administrator resolves
        it for both. Raises NotFound, Conflict unless it fires.
        """
        row = await self._lock(tx, alert_id, of_platform=of_platform)
        state = _seen(actor, row).state
        if state != "firing":
            raise Conflict(f"The alert is {state}.", hint="Only a firing alert is resolved.")
        now = dt.datetime.now(dt.UTC)
        if actor.customer_id is None:
            after = replace(row, state="resolved", resolved_at=now, resolved_by=actor.name)
        else:
            after = replace(row, customer_resolved_at=now, customer_resolved_by=actor.name)
        await self._keep(tx, actor, "alert.resolve", after)
        async with as_platform(tx):
            every = await alert_channels.every(tx)
            own = [each for each in every if actor.customer_id in {None, each.customer_id}]
            hearing = plan.hearing(row, own, now)
            await evaluation.send(tx, _seen(actor, after), "resolved", hearing)
        return _seen(actor, after)

    async def thresholds(self, actor: Actor, database_id: uuid.UUID) -> Thresholds:
        """Return a database's own thresholds. Raises NotFound."""
        await self._databases.show(actor, database_id)
        async with self._store.transaction(actor) as tx:
            found = await alert_channels.thresholds(tx, [database_id])
        return found.get(database_id, Thresholds())

    async def set_thresholds(
        self, tx: Tx, actor: Actor, database_id: uuid.UUID, wanted: Thresholds
    ) -> Thresholds:
        """Replace a database's own thresholds. Raises NotFound."""
        row = await self._databases.lock_there(tx, actor, database_id)
        found = await alert_channels.thresholds(tx, [row.id])
        before = found.get(row.id, Thresholds())
        await alert_channels.set_thresholds(tx, row.id, wanted)
        changed = audit.differences(before, wanted, Thresholds.__annotations__)
        await audit.record_on(tx, actor, "database.alert_settings", row, details=changed)
        return wanted

    async def counts(self) -> tuple[dict[alerts.Severity, int], int]:
        """Return the number of firing alerts by severity, and of messages that wait."""
        async with self._store.transaction(audit.PLATFORM) as tx:
            return await alerts.count_firing(tx), await alert_channels.count_unsent(tx)

    @staticmethod
    async def _lock(tx: Tx, alert_id: uuid.UUID, *, of_platform: bool) -> AlertRow:
        row = await alerts.lock(tx, alert_id)
        if row is None or (row.database_id is None and not of_platform):
            raise NotFound("There is no such alert.", hint="GET /api/alerts lists them.")
        return row

    @staticmethod
    async def _keep(
        tx: Tx, actor: Actor, action: str, row: AlertRow, details: dict[str, object] | None = None
    ) -> None:
        async with as_platform(tx):
            await alerts.keep(tx, [row])
        await audit.record(
            tx,
            replace(actor, customer_id=actor.customer_id or row.customer_id),
            action,
            resource_kind="alert",
            resource_id=row.id,
            resource_name=f"{row.rule} {row.subject}",
            details=details or {},
        )


def _seen(actor: Actor, row: AlertRow) -> AlertRow:
    return row if actor.customer_id is None else plan.of_customer(row)
