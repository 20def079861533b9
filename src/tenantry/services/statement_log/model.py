"""An entry of a database's log. Values only."""

import datetime as dt
from dataclasses import dataclass
from typing import Literal

from tenantry.pg import redaction
from tenantry.pg.server_log import LogEntry

Kind = Literal["statement", "duration", "error", "notice"]

MOST_TEXT = 16 * 1024  # characters of a statement
_SYNTAX_ERROR = "42601"
HIDDEN = "***"


@dataclass(frozen=True, slots=True)
class Entry:
    """An action of a session, or a message of the platform (``notice``). ``id`` increases."""

    id: str
    time: dt.datetime
    kind: Kind
    database_name: str | None = None
    role: str | None = None
    application: str | None = None
    client_address: str | None = None
    session_id: str | None = None
    statement: str | None = None
    truncated: bool = False
    duration_ms: float | None = None
    sqlstate: str | None = None
    message: str | None = None


def without_secrets(logged_entry: LogEntry) -> tuple[str | None, str | None]:
    """Return an entry's statement and message, without what may be a secret.

    In a statement with a syntax error literals cannot be recognized, and error messages quote them.
    """
    if logged_entry.kind != "error":
        return None if logged_entry.text is None else redaction.redact(logged_entry.text), None
    text, message = logged_entry.text, logged_entry.message or ""
    if not redaction.is_suspicious(f"{text or ''}\n{message}"):
        return text, message
    if text is not None:
        text = HIDDEN if logged_entry.sqlstate == _SYNTAX_ERROR else redaction.redact(text)
    return text, HIDDEN
