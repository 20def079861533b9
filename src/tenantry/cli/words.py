"""Translate the API's messages for the CLI: fields become options, and routes become commands."""

import re
import sys
from collections.abc import Sequence
from typing import Any

from tenantry.cli import times

# Each route that the API's details or hints name, with the equivalent command.
COMMANDS = {
    "GET /api/alerts": "tenantry alert list",
    "GET /api/alerts/channels": "tenantry alert channel list",
    "GET /api/api-keys": "tenantry key list",
    "GET /api/blueprints": "tenantry blueprint list",
    "GET /api/clusters": "tenantry status",
    "GET /api/customers": "tenantry customer list",
    "GET /api/databases": "tenantry db list",
    "GET /api/databases/{id}/advice?muted=true": "tenantry db advice DATABASE --all",
    "GET /api/databases/{id}/backups": "tenantry backup list DATABASE",
    "DELETE /api/databases/{id}/past/{id}": "tenantry past end DATABASE",
    "POST /api/databases/{id}/past": "tenantry past open DATABASE --to WHEN",
    "GET /api/databases/{id}/proofs": "tenantry backup proofs DATABASE",
    "GET /api/databases/{id}/replaced": "tenantry db replaced DATABASE",
    "GET /api/databases/{id}/locks": "tenantry db locks DATABASE",
    "GET /api/databases/{id}/sessions": "tenantry db sessions DATABASE",
    "GET /api/databases/{id}/tables": "tenantry db indexes DATABASE",
    "GET /api/databases/{id}/vacuum-full": "tenantry db vacuum DATABASE --full --dry-run",
    "GET /api/migrations/{id}": "tenantry operation show {id}",
    "GET /api/operations": "tenantry operation list",
    "GET /api/operations/{id}": "tenantry operation show {id}",
    "GET /api/operations?kind=backup.create&status=failed": "tenantry operation list --kind"
    " backup.create --status failed",
    "GET /api/operations?kind=database.drill": "tenantry operation list --kind database.drill",
    "GET /api/operations?resource_id=…": "tenantry operation list",
    "GET /api/operations?status=queued": "tenantry operation list --status queued",
    "GET /api/plans": "tenantry plan list",
    "GET /api/operations?kind=site.backup&status=failed": "tenantry operation list --kind"
    " site.backup --status failed",
    "GET /api/sites": "tenantry cache list",
    "GET /api/sites/{id}/backups": "tenantry cache backups SITE",
    "PATCH /api/sites/{id}/proxy": "tenantry cache proxy",
    "GET /api/users": "tenantry user list",
    "GET /api/versions": "tenantry versions",
    "PUT /api/databases/{id}/data-api": "tenantry data-api enable DATABASE",
    "PUT /api/databases/{id}/logs/settings": "tenantry db log-settings DATABASE",
    "POST /api/auth/totp": "tenantry totp on",
    "POST /api/auth/totp/remove": "tenantry totp off",
    "POST /api/databases/{id}/blueprint": "tenantry blueprint apply",
    "POST /api/databases/{id}/start": "tenantry db start DATABASE",
    "PATCH /api/databases/{id}": "tenantry db update DATABASE",
    "PATCH /api/databases/{id}/settings": "tenantry db settings DATABASE",
    "POST /api/databases/{id}/explain": "tenantry db explain DATABASE",
    "POST /api/databases/{id}/move": "tenantry db move DATABASE",
    "POST /api/databases/{id}/rotate-password": "tenantry db rotate-password DATABASE",
}
# Other phrases for users of the API.
PHRASES = {
    "Send an API key as X-API-Key": "Put an API key into TENANTRY_API_KEY",
    'Ask for it as "in_place".': "Ask for it with --as in-place.",
    "GET /api/databases shows their age (password_changed_at)": "`tenantry db list --wide` shows"
    " their age",
    'Send "read_only": false to change something.': "Run it with --write to change something.",
    'send "read_only": false, and it is rolled back': "run it with --read-write, and it is rolled"
    " back",
    'with "tables" and "as": "new"': "with `tenantry restore DATABASE --table TABLE --as new`",
    "drop it as the database's owner": "drop it with `tenantry db psql`",
}
# Fields that are set by another command's option.
ELSEWHERE = {
    "disk_quota_bytes": "--disk-quota (`tenantry db update`)",
    "max_connections": "--max-connections (`tenantry db update`)",
}
# Fields of the API whose option or argument has another name, the likeliest first.
PARAMETERS = {
    "as": ("into",),
    "body": ("file", "path"),
    "customer_email": ("customer",),
    "database_ids": ("database",),
    "blueprint": ("blueprint", "selector"),
    "entries": ("file",),
    "exclude_ids": ("exclude",),
    "environment": ("new_env", "branch_env", "selector", "env"),
    "expires_at": ("expires",),
    "format": ("kind",),
    "import_from": ("import_",),
    "input": ("input_price",),
    "instance_memory_mb": ("instance_memory",),
    "kind": ("dedicated", "to"),
    "max_wait_seconds": ("max_wait",),
    "memory_mb": ("memory",),
    "ip_address": ("address",),
    "networks": ("allow",),
    "name": ("new_name", "name", "extension", "role"),
    "output": ("output_price",),
    "site_memory_mb": ("site_memory",),
    "owner_email": ("owner", "selector"),
    "tags": ("tag", "selector"),
    "type": ("kind",),
    "without_blueprint": ("selector",),
}

# Fields that are prompted for and have no option.
ASKED = {
    "code": "the code",
    "current_password": "your present password",
    "from": "the connection string",
    "new_password": "the new password",
}

# Compiled only when the first failure is reported.
_ROUTE = r"(?:GET|POST|PUT|PATCH|DELETE) /[\w/{}-]+(?:\?[\w=…&]+(?:\.[\w=&]+)*)?"
_MOMENT = r"\b(\d{4}-\d{2}-\d{2} \d{2}:\d{2}:\d{2}) UTC\b"
_ID = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_FIELD = r"\b[a-z]+(?:_[a-z]+)+\b(?! \(--|, --)"


class Words:
    """The option names of the command that these arguments call, in a program."""

    def __init__(self, program: Any, arguments: Sequence[str]) -> None:
        self._parameters = {each.name: each for each in _called(program, arguments).params}

    def field(self, path: str) -> str:
        """Return the option or argument for a field of the API, or the field if there is none."""
        for part in reversed(path.split(".")):
            for name in (*PARAMETERS.get(part, ()), part, part.removesuffix("s")):
                if found := self._parameters.get(name):
                    return _written(found)
        return ASKED.get(path, path)

    def text(self, said: str) -> str:
        """Translate routes and fields of the API in a text, and moments to the local time zone."""
        said = commands(said)
        return re.sub(_FIELD, lambda found: self._option(found[0]), said)

    def _option(self, name: str) -> str:
        found = self.field(name)
        return ELSEWHERE.get(name, name) if found == name else found


def commands(said: str) -> str:
    """Translate the platform's routes in a text, and its moments to the local time zone.

    Fields stay unchanged: what looks like one in PostgreSQL's messages is none.
    """
    for theirs, ours in PHRASES.items():
        said = said.replace(theirs, ours)
    said = re.sub(_MOMENT, lambda found: times.local(f"{found[1]}+00:00"), said)
    return re.sub(_ROUTE, lambda found: command(found[0]), said)


def command(route: str) -> str:
    """Return the command for a route, in backquotes; or the route itself."""
    ids = re.findall(_ID, route)
    found = COMMANDS.get(re.sub(_ID, "{id}", route))
    return route if found is None else f"`{found.replace('{id}', ids[0]) if ids else found}`"


def here(program: Any) -> Words:
    """Return the words for the command that this process runs."""
    return Words(program, sys.argv[1:])


def _called(command: Any, arguments: Sequence[str]) -> Any:
    """Return the command that these arguments lead to: groups have no options with values."""
    for word in arguments:
        below = getattr(command, "commands", None)
        if below is None:
            break
        command = below.get(word, command)
    return command


def _written(parameter: Any) -> str:
    longest: str = max(parameter.opts, key=len)
    return longest if longest.startswith("-") else parameter.metavar or longest.upper()
