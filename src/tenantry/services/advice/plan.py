"""All rules, and the order of what they find. Pure."""

from collections.abc import Callable, Iterable, Sequence

from tenantry.services.advice import activity, indexes, policies, tables
from tenantry.services.advice.model import Evidence, Finding, Schema, Severity

_RULES: Sequence[Callable[[Schema, Evidence], Iterable[Finding]]] = (
    tables.sequence_exhaustion,
    tables.transaction_id_age,
    activity.pool_too_small,
    activity.transactions,
    indexes.missing_indexes,
    indexes.unindexed_foreign_keys,
    indexes.invalid_indexes,
    policies.row_security_disabled,
    policies.policies_per_row,
    tables.stale_statistics,
    tables.autovacuum_settings,
    activity.settings,
    indexes.duplicate_indexes,
    indexes.unused_indexes,
    tables.bloat,
    tables.no_primary_keys,
    activity.cache_too_small,
)
_ORDER: dict[Severity, int] = {"error": 0, "warning": 1, "info": 2}
MOST = 1000


def findings(evidence: Evidence) -> list[Finding]:
    """Return what is found, the most severe first; at most 1,000."""
    schema = Schema(evidence.catalog)
    found = [each for rule in _RULES for each in rule(schema, evidence)]
    duplicates = {each.object for each in found if each.code == "duplicate_index"}
    found = [each for each in found if each.code != "unused_index" or each.object not in duplicates]
    return sorted(found, key=lambda each: _ORDER[each.severity])[:MOST]
