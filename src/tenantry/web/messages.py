"""Translate the API's messages for the console: fields become labels, and routes become pages."""

import re

from tenantry.base.errors import FieldError, TenantryError

# What the forms call a field, where it is not the field's name in words.
LABELS = {
    "cpus": "Processors",
    "accept_edited": "Accept edited files",
    "accept_losses": "Go on without",
    "accept_skipped": "Accept skipped files",
    "access": "May",
    "api_key": "API key",
    "at": "Data of (UTC)",
    "allowed_origins": "Websites that may call it",
    "anonymous": "Answer requests without a token",
    "anthropic_key": "Anthropic key",
    "anthropic_url": "Anthropic URL",
    "as": "In place",
    "auto_suspend_seconds": "Suspend after seconds without a session",
    "budget": "Wrong answers that are acceptable, %",
    "csv": "The text of one",
    "customer_email": "Customer",
    "disk_gib": "Disk",
    "disk_quota_bytes": "Disk",
    "email": "E-mail",
    "errors": "Errors",
    "exclude_tables": "Tables to leave out",
    "expires_at": "Ends (UTC)",
    "friendly_name": "Title",
    "from": "Connection string",
    "hours": "Valid for hours",
    "instance_cpus": "Processors of an instance",
    "instance_memory_mb": "Memory of an instance, MiB",
    "ip_address": "Address or range",
    "jwks_url": "URL of further public keys (JWKS)",
    "keep_days": "Keep for days",
    "label": "Mark this moment",
    "match": "Names that match",
    "max_clients": "Connections",
    "max_connections": "Connections",
    "max_instances": "Instances",
    "max_rows": "Rows in an answer",
    "max_sites": "Sites",
    "max_wait_seconds": "Seconds that clients may wait",
    "memory_mb": "Memory, MiB",
    "min_duration_ms": "From so many ms on",
    "moment": "Moment (UTC)",
    "most_temperature": "Highest temperature that is cached",
    "networks": "Allowed addresses",
    "parameters": "Value",
    "openai_key": "OpenAI key",
    "openai_url": "OpenAI URL",
    "overlap_hours": "The present keys stay valid for hours",
    "owner_email": "Owner's e-mail",
    "persistence": "Keys survive a restart",
    "read_only": "Read-only",
    "redirect_urls": "Further such pages",
    "resource_id": "Resource",
    "semantic": "Mode",
    "site_max_clients": "Clients of a site",
    "site_memory_mb": "Memory of a site, MiB",
    "signup": "Anybody may sign up",
    "site_url": "Page to which links in e-mails to users lead",
    "sql": "SQL",
    "statement_timeout_ms": "Statement timeout, ms",
    "sub": "For whom (sub)",
    "target": "Address or URL",
    "to": "Moment (UTC)",
}
# Each route that services name, with its page; a command, where no page has it.
PAGES = {
    "GET /api/alerts": "“Alerts”",
    "GET /api/alerts/channels": "“Channels”",
    "GET /api/api-keys": "“API keys”",
    "GET /api/blueprints": "“Blueprints”",
    "GET /api/clusters": "“Clusters”",
    "GET /api/customers": "“Customers”",
    "GET /api/databases": "“Databases”",
    "GET /api/databases/{id}/advice?muted=true": "“Advice”",
    "GET /api/databases/{id}/backups": "“Backups & restore”",
    "GET /api/databases/{id}/proofs": "“Backups & restore”",
    "GET /api/databases/{id}/replaced": "`tenantry db replaced`",
    "GET /api/databases/{id}/locks": "“Sessions”",
    "GET /api/databases/{id}/sessions": "“Sessions”",
    "GET /api/databases/{id}/tables": "“Tables”",
    "GET /api/databases/{id}/vacuum-full": "`tenantry db vacuum --full --dry-run`",
    "GET /api/migrations/{id}": "“Migrations”",
    "DELETE /api/databases/{id}/past/{id}": "“Backups & restore”",
    "GET /api/operations": "“Operations”",
    "GET /api/operations/{id}": "“Operations”",
    "GET /api/operations?kind=backup.create&status=failed": "“Operations”",
    "GET /api/operations?kind=database.drill": "“Operations”",
    "GET /api/operations?resource_id=…": "“Operations”",
    "GET /api/operations?status=queued": "“Operations”",
    "GET /api/plans": "“Plans”",
    "GET /api/operations?kind=site.backup&status=failed": "“Operations”",
    "GET /api/sites": "“AI cache”",
    "GET /api/sites/{id}/backups": "“Backups”",
    "PATCH /api/sites/{id}/proxy": "`tenantry cache proxy`",
    "GET /api/users": "“Users”",
    "GET /api/versions": "`tenantry versions`",
    "PUT /api/databases/{id}/data-api": "“Data API”",
    "PUT /api/databases/{id}/logs/settings": "“Logs”",
    "POST /api/auth/totp": "“Account”",
    "POST /api/auth/totp/remove": "“Account”",
    "POST /api/databases/{id}/blueprint": "“Blueprint”",
    "POST /api/databases/{id}/past": "“Backups & restore”",
    "PATCH /api/databases/{id}": "“Settings”",
    "PATCH /api/databases/{id}/settings": "“Instance”",
    "POST /api/databases/{id}/move": "“Settings”",
    "POST /api/databases/{id}/explain": "“Queries”",
    "POST /api/databases/{id}/start": "`tenantry db start`",
    "POST /api/databases/{id}/rotate-password": "“Rotate password”",
}
# Other phrases for users of the API.
PHRASES = {
    "See ./tenantry status; nothing was changed.": "Nothing was changed. It is being started again:"
    " try again in a minute. If it stays so, `tenantry doctor` on the platform's machine says why.",
    "The request carries no API key or session that is valid here.": "That is no API key that is"
    " valid here.",
    "Send an API key as X-API-Key (tenantry key create makes one), or log in.": "Enter a valid API"
    " key (`tenantry key create` makes one), or sign in with e-mail and password.",
    'Ask for it as "in_place".': "Choose “In place”.",
    "GET /api/databases shows their age (password_changed_at)": "Each one's page shows its age",
    'Send "read_only": false to change something.': "Untick “Read-only” to change something.",
    'send "read_only": false, and it': "untick “Read-only”, and it",
    "Send a longer timeout_ms, or leave analyze out": "Choose EXPLAIN without ANALYZE",
    "set new_customer": "tick the box that says so",
    "Wait as long as Retry-After says": "Wait a while",
    ", with its device_token,": "",
    'with "tables" and "as": "new"': "as “copies, in a new schema” under “Backups & restore”",
    # No form asks for it.
    "(statement_timeout_seconds, --statement-timeout)": "with `tenantry migrate up"
    " --statement-timeout`",
    "statement_timeout_seconds asks": "`--statement-timeout` of the command asks",
    "see longest_statement_seconds in": "see the longest statement in",
    "see missing_since in GET /api/databases": "“Databases” shows them",
    "GET /api/databases says why (paused)": "“Databases” says why",
    "GET /api/databases says which (disk)": "“Databases” says which",
}
# What services add for users of the commands.
_OPTION = re.compile(r" \(--[a-z-]+\)|, --[a-z-]+(?=\))")
_ROUTE = re.compile(r"(?:GET|POST|PUT|PATCH|DELETE) /api/[\w/{}-]+(?:\?[\w=…&]+(?:\.[\w=&]+)*)?")
_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_FIELD = re.compile(r"\b[a-z]+(?:_[a-z]+)+\b")


def label(field: str) -> str:
    """Return what the console's forms call a field of the API; ``field`` is a dotted path."""
    name = field.partition(".")[0].removesuffix("_")
    return LABELS.get(name) or name.replace("_", " ").capitalize()


def plain(said: str | None) -> str:
    """Return a message with the names of pages and labels in place of routes and fields."""
    text = said or ""
    for theirs, ours in PHRASES.items():
        text = text.replace(theirs, ours)
    text = _OPTION.sub("", text)
    text = _ROUTE.sub(lambda found: PAGES.get(_ID.sub("{id}", found[0]), found[0]), text)
    # Of PostgreSQL's names some look like fields, and are none.
    return _FIELD.sub(
        lambda found: f"“{label(found[0])}”" if found[0] in LABELS else found[0], text
    )


def detail(error: TenantryError) -> str:
    """Return what has happened; for a single wrong field, its label and what is wrong with it."""
    if (only := _only(error)) is not None:
        return f"{label(only.field)}: {plain(only.message)}"
    return plain(error.detail)


def fields(error: TenantryError) -> tuple[tuple[str, str], ...]:
    """Return label and message of each wrong field, unless ``detail`` has said it."""
    wrong = () if _only(error) else error.fields
    return tuple((label(each.field), plain(each.message)) for each in wrong)


def _only(error: TenantryError) -> FieldError | None:
    """Return the field that the whole error is about, as ``InvalidInput.of`` writes it."""
    if (
        len(error.fields) != 1
        or error.detail != f"{error.fields[0].field}: {error.fields[0].message}"
    ):
        return None
    return error.fields[0]
