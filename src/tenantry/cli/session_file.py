"""The file with the session of `tenantry login`, which only its owner can read (0600)."""

import json
from os import environ
from pathlib import Path

from tenantry.host import files


def path() -> Path:
    """Return the path of the file."""
    config = environ.get("XDG_CONFIG_HOME") or str(Path.home() / ".config")
    return Path(config) / "tenantry" / "session.json"


def load() -> tuple[str, str] | None:
    """Return the session's address and token, or None if no user is logged in."""
    try:
        stored = json.loads(path().read_text())
        return str(stored["url"]), str(stored["token"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def save(url: str, token: str) -> None:
    """Store a session. Raises OSError."""
    files.ensure_folder(path().parent)
    files.write_atomically(path(), json.dumps({"url": url, "token": token}) + "\n")
