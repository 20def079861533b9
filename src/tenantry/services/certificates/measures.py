"""Measures of the certificate of the TLS ports."""

from tenantry.services.certificates.service import Certificates
from tenantry.services.observations.model import Measure, gauge

_LEFT = gauge(
    "tenantry_certificate_remaining_seconds",
    "Time until the certificate of the TLS ports expires",
)
_FAILURES = gauge(
    "tenantry_certificate_failures",
    "Tries to have another certificate that failed since the last success",
)


async def measures(certificates: Certificates) -> list[Measure]:
    """Return how long the certificate lasts. Raises Conflict while there is none."""
    found = certificates.status()
    return [_LEFT(found.seconds_left), _FAILURES(found.failures)]
