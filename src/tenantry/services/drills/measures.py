"""Measures of drills."""

import datetime as dt
import math

from tenantry.services.drills.service import Drills
from tenantry.services.observations.model import Measure, gauge

_FAILING = gauge("tenantry_drills_failing", "Databases whose last drill failed")
_AGE = gauge(
    "tenantry_proof_age_seconds", "Time since a drill of any database last passed; +Inf if none did"
)


async def measures(drills: Drills) -> list[Measure]:
    """Return whether backups have been proven to be restorable. Raises Unavailable."""
    found = await drills.summary()
    last = found.last_passed_at
    age = math.inf if last is None else (dt.datetime.now(dt.UTC) - last).total_seconds()
    return [_FAILING(found.failing), _AGE(age)]
