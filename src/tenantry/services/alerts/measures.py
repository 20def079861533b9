"""Measures of alerts and of the messages about them."""

from typing import get_args

from tenantry.control.alerts import Severity
from tenantry.services.alerts.service import Alerts
from tenantry.services.observations.model import Measure, gauge

_FIRING = gauge("tenantry_alerts_firing", "Alerts that fire, by severity", "severity")
_WAITING = gauge("tenantry_alert_messages_waiting", "Messages that wait for their channels")


async def measures(alerts: Alerts) -> list[Measure]:
    """Return the number of firing alerts, and of waiting messages. Raises Unavailable."""
    firing, waiting = await alerts.counts()
    return [*(_FIRING(firing.get(each, 0), each) for each in get_args(Severity)), _WAITING(waiting)]
