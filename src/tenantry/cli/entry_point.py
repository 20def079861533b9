"""Entry and exit of the CLI's programs.

Exit codes: 0 success; 1 failure, explained on standard error; 2 wrong usage; 3 Tenantry does
not answer; 130 interrupted (Ctrl-C).
"""

import os
import pwd
import shlex
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from tenantry.base.errors import MachineError, TenantryError
from tenantry.cli import output, parsing, words
from tenantry.cli.client import NotRunning
from tenantry.host import identity

if TYPE_CHECKING:
    from tenantry.base.settings import Settings

FAILED = 1
NOT_RUNNING = 3
INTERRUPTED = 130

_WHO_MAY = "Run it as root (sudo), or as the user that brought the platform up."

Json = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]


def enter(app: typer.Typer, name: str) -> NoReturn:
    """Run the program ``name`` on this process's arguments, and exit with the right code.

    A failure is reported as a message; with ``TENANTRY_DEBUG=1`` as a traceback too.
    """
    for stream in (sys.stdout, sys.stderr):
        # A name with characters that the locale lacks must not end the command.
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    parsing.install()
    command = typer.main.get_command(app)
    try:
        command(prog_name=name)
    except TenantryError as error:
        _debug()
        output.failure(error, words.here(command))
        sys.exit(NOT_RUNNING if isinstance(error, NotRunning) else FAILED)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except PermissionError as error:
        _debug()
        output.failure(_not_permitted(error), words.here(command))
        sys.exit(FAILED)
    except Exception as error:  # the last resort: no traceback reaches the user
        _debug()
        output.failure(
            TenantryError(
                f"{type(error).__name__}: {error}",
                hint="This is a fault of Tenantry. TENANTRY_DEBUG=1 shows where; please report it.",
            ),
            words.here(command),
        )
        sys.exit(FAILED)
    sys.exit(0)


def _not_permitted(error: PermissionError) -> MachineError:
    what = f"use {error.filename}" if error.filename else "do that"
    user = pwd.getpwuid(os.geteuid()).pw_name
    if user != identity.SERVICE_USER:
        return MachineError(f"This user may not {what}: {error.strerror}.", hint=_WHO_MAY)
    home = os.environ.get("TENANTRY_HOME")
    detail = f"Everything runs as the user {user}, which may not {what}: {error.strerror}."
    hint = "Set TENANTRY_HOME to a folder that this user can use."
    if home and error.filename and Path(str(error.filename)).is_relative_to(home):
        hint = f"As root: install -d -o {user} -g {user} {shlex.quote(home)}; or s{hint[1:]}"
    return MachineError(detail, hint=hint)


def local_settings() -> "Settings":
    """Return this machine's settings, for a command that needs no API.

    From now on the events that the platform's code logs go to standard error: standard output is
    for the result.
    """
    # Imported here because commands that use the API log nothing.
    from tenantry.base import logs, settings  # noqa: PLC0415

    logs.configure("cli", to=sys.stderr)
    return settings.load()


def _debug() -> None:
    if os.environ.get("TENANTRY_DEBUG") == "1":
        traceback.print_exc()
