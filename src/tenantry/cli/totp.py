"""``tenantry totp``: the authenticator of one's own login."""

import sys

import typer
from qrcode.constants import ERROR_CORRECT_L
from qrcode.main import QRCode
from rich.text import Text

from tenantry.cli import output
from tenantry.cli.client import Api, ApiError, Row, connect_as_user
from tenantry.cli.entry_point import Json
from tenantry.cli.session import ask

app = typer.Typer(
    help="Your own authenticator: on, off, recovery codes. Log in first.", no_args_is_help=True
)

_QUIET = 2  # the light margin in modules: with the usual 4 the code is higher than 24 lines

# Two modules, one above the other, by whether each is light.
_HALVES = {
    (True, True): "\N{FULL BLOCK}",
    (True, False): "\N{UPPER HALF BLOCK}",
    (False, True): "\N{LOWER HALF BLOCK}",
    (False, False): " ",
}


@app.command("on")
def turn_on(as_json: Json = False) -> None:
    """Require a code of an authenticator at each of your logins.

    Asks for your password, shows a QR code for the app, and asks for the code that the app then
    shows: nothing changes until that code is right. Prints ten recovery codes, each of which
    replaces a code once. Without a terminal the password and the code are read from standard
    input, a line each. With --json it prints two lines: the secret, then the recovery codes.

    Example:

        tenantry totp on
    """
    with connect_as_user() as api:
        made = api.post("/api/auth/totp", {"password": ask("Your password", hidden=True)})
        if as_json:
            output.as_json_line(made)
        else:
            _show_secret(made)
        confirmed = _confirm(api)
    if as_json:
        output.as_json_line(confirmed)
        return
    output.done("Each of your logins asks for a code from now on")
    _show_codes(confirmed)


@app.command("off")
def turn_off(as_json: Json = False) -> None:
    """Remove your authenticator. Needs your password and a code, or a recovery code.

    Without a terminal they are read from standard input, a line each. If you have neither code, ask
    an administrator for `tenantry user remove-totp`.

    Example:

        tenantry totp off
    """
    with connect_as_user() as api:
        proof = {
            "password": ask("Your password", hidden=True),
            "code": ask("Code of your authenticator, or a recovery code", hidden=False),
        }
        answer = api.post("/api/auth/totp/remove", proof, repeat=False)
    if as_json:
        output.as_json(answer)
        return
    output.done("Your logins need no code any more")


@app.command()
def codes(as_json: Json = False) -> None:
    """Create ten new recovery codes and invalidate the old ones. Needs your password.

    Example:

        tenantry totp codes
    """
    with connect_as_user() as api:
        proof = {"password": ask("Your password", hidden=True)}
        made = api.post("/api/auth/recovery-codes", proof)
    if as_json:
        output.as_json(made)
        return
    output.done("These replace the recovery codes that you had")
    _show_codes(made)


def _confirm(api: Api) -> Row:
    """Confirm the new authenticator with a code; on a terminal repeat until it is right."""
    while True:
        code = ask("The code that it shows now", hidden=False)
        try:
            answer: Row = api.post("/api/auth/totp/confirm", {"code": code.strip()})
        except ApiError as error:
            if not sys.stdin.isatty() or [each.field for each in error.fields] != ["code"]:
                raise
            output.note(
                "That is not the code of this moment. If it goes on, set the clock of the phone; "
                "Ctrl-C leaves everything as it was.",
                style="yellow",
            )
        else:
            return answer


def _show_secret(made: Row) -> None:
    output.facts([("secret", made["secret"]), ("URI", made["uri"])])
    console = output.error_console()
    if not console.is_terminal:
        return
    picture = qr_code(made["uri"])
    if len(picture[0]) > console.width or "utf" not in console.encoding.lower():
        output.note("Type the secret into an authenticator app: no QR code fits on this terminal.")
        return
    output.note("Scan this with an authenticator app, or type the secret in there.")
    console.print(Text("\n".join(picture), style="bright_white on black"))


def _show_codes(made: Row) -> None:
    found: list[str] = made["recovery_codes"]
    for number, code in enumerate(found, 1):
        output.secret(f"recovery code {number:>2}", code, last=number == len(found), several=True)


def qr_code(text: str) -> list[str]:
    """Return the lines of a QR code in half blocks, two modules high, drawing the light modules.

    It is thus readable on a dark terminal without colours too.
    """
    code = QRCode(error_correction=ERROR_CORRECT_L, border=_QUIET)
    code.add_data(text)
    rows: list[list[bool]] = code.get_matrix()
    if len(rows) % 2:
        rows.append([False] * len(rows[0]))
    return [
        "".join(_HALVES[not top, not bottom] for top, bottom in zip(*pair, strict=True))
        for pair in zip(rows[::2], rows[1::2], strict=True)
    ]
