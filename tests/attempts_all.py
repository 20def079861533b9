"""All attempts, by the sections of docs/reference/security.md."""

from attempts import Attempt
from attempts_alerts import ALERTS
from attempts_crossings import CROSSINGS
from attempts_disk import DISK
from attempts_endpoints import ENDPOINTS_OF_OTHERS
from attempts_insights import INSIGHTS
from attempts_pooled import POOLED_CLIENTS
from attempts_server import CODE, SERVER
from attempts_shared import SHARED
from attempts_sql import FILES, LIMITS, OTHERS, SIGHT
from attempts_transaction_ids import TRANSACTION_IDS

SECTIONS: dict[str, tuple[Attempt, ...]] = {
    "Endpoints and names": ENDPOINTS_OF_OTHERS,
    "Limits of a tenant": LIMITS,
    "Other roles and databases": OTHERS,
    "Visible information": SIGHT,
    "Files and programs": FILES,
    "The server": SERVER,
    "Code, extensions and links": CODE,
    "Disk beyond the quota": DISK,
    "From session to session": CROSSINGS,
    "Shared resources": SHARED,
    "Insights": INSIGHTS,
    "Alerts": ALERTS,
    "Transaction IDs": TRANSACTION_IDS,
    "From one pooled client to the next": POOLED_CLIENTS,
}
ATTEMPTS = [attempt for section in SECTIONS.values() for attempt in section]
