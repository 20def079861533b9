"""``tenantry login``, ``password`` and ``logout``.

A session's token is sent only to the address that issued it.
"""

import contextlib
import json
import sys
from os import environ
from pathlib import Path
from typing import Annotated

import typer

from tenantry.base.errors import InvalidInput, MachineError, TenantryError
from tenantry.cli import output, session_file
from tenantry.cli.client import (
    Api,
    address,
    connect_as_user,
    is_safe,
)
from tenantry.cli.entry_point import Json
from tenantry.host import files


def login(
    email: Annotated[str, typer.Argument(help="Your e-mail address.", show_default=False)],
    as_json: Json = False,
) -> None:
    """Log in; later commands use the session until it ends or `tenantry logout`.

    Asks for the password, and for a code if you use an authenticator. Without a terminal they
    are read from standard input, a line each.

    Example:

        tenantry login ann@example.com
    """
    url = address()
    if not is_safe(url):
        raise InvalidInput.of("TENANTRY_URL", "must begin with https: a password goes there.")
    with Api(url) as api:
        password = ask("Password", hidden=True)
        known = _devices().get(f"{url} {email}")
        device = {"device_token": known} if known else {}
        answer = api.post("/api/auth/login", {"email": email, "password": password, **device})
        if answer["status"] == "mfa_required":
            code = ask("Code of your authenticator, or a recovery code", hidden=False)
            proof = {"challenge": answer["challenge"], "code": code, **device}
            answer = api.post("/api/auth/mfa", proof)
    try:
        session_file.save(url, answer["token"])
        if token := answer.get("device_token"):  # an earlier release has none
            devices = _devices() | {f"{url} {email}": token}
            files.write_atomically(_devices_file(), json.dumps(devices) + "\n")
    except OSError as error:
        raise MachineError(
            f"The session cannot be stored in {session_file.path()}: {error.strerror}.",
            hint="Set XDG_CONFIG_HOME to a folder that you can write to.",
        ) from None
    if as_json:
        output.as_json({"user": answer["user"], "expires_at": answer["expires_at"]})
        return
    output.done(f"Logged in to {url} as {answer['user']['email']}")
    if environ.get("TENANTRY_API_KEY"):
        output.note("TENANTRY_API_KEY is set and goes first; unset it to work as yourself.")


def logout() -> None:
    """End the session of `tenantry login`, on this machine and in the platform.

    Example:

        tenantry logout
    """
    stored = session_file.load()
    with contextlib.suppress(FileNotFoundError):
        session_file.path().unlink()
    if stored is None:
        output.note("Nobody is logged in here.")
        return
    url, token = stored
    try:
        with Api(url, token) as api:
            api.post("/api/auth/logout")
    except TenantryError as error:
        output.note(f"Forgotten here; {url} did not end it: {error.detail}")
        return
    output.done(f"Logged out of {url}")


def password(as_json: Json = False) -> None:
    """Change your own password. Your other sessions end.

    Asks for the current password and twice for the new one. Without a terminal both are read from
    standard input, a line each. Log in first: `tenantry login`.

    Example:

        tenantry password
    """
    with connect_as_user() as api:
        asked = {
            "current_password": ask("Your present password", hidden=True),
            "new_password": ask("The new one", hidden=True, twice=True),
        }
        answer = api.post("/api/auth/password", asked, repeat=False)
    if as_json:
        output.as_json(answer)
        return
    output.done("Your password is changed; your other sessions have ended")


def _devices_file() -> Path:
    return session_file.path().with_name("devices")


def _devices() -> dict[str, str]:
    """Return this device's token for each address and user; `tenantry logout` keeps them."""
    try:
        stored: dict[str, str] = json.loads(_devices_file().read_text())
    except (OSError, ValueError):
        return {}
    return stored


def ask(what: str, *, hidden: bool, twice: bool = False) -> str:
    """Read an answer from the terminal, or else the next line of standard input.

    ``twice`` asks again on a terminal, where a typing error would not be seen.
    """
    if sys.stdin.isatty():
        again = "The same once more" if twice else False
        typed = typer.prompt(what, hide_input=hidden, confirmation_prompt=again, err=True)
        return str(typed)
    return sys.stdin.readline().rstrip("\r\n")
