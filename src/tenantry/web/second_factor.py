"""The authenticator of who has signed in, and their recovery codes."""

from collections.abc import Sequence
from typing import Annotated

import qrcode
from fastapi import Request, Response

from tenantry.base.secrets import Secret, SecretSource
from tenantry.control.store import Tx
from tenantry.services.bodies.access import Proof, RemoveTotp, TotpCode
from tenantry.services.bodies.fields import secret
from tenantry.services.people import plan
from tenantry.services.requests.service import Caller
from tenantry.web import pages
from tenantry.web.routing import CurrentForm, CurrentPlatform, calling, new_router, once, read

router = new_router()

Anybody = Annotated[Caller, calling()]

_PATH = "/account/totp"


@router.post(_PATH)
async def begin(
    request: Request, platform: CurrentPlatform, caller: Anybody, form: CurrentForm
) -> Response:
    """Show the secret of a new authenticator, which counts once a code of it was entered."""
    body = read(Proof, form)
    await platform.people.prove(caller.principal, secret(body.password))

    async def work(tx: Tx, secrets: SecretSource) -> Secret:
        made = secrets.totp_secret()
        await platform.people.begin_totp(tx, caller.principal, made)
        return made

    made = await once(lambda: caller.idempotent(Secret, work))
    uri = plan.totp_uri(made, email=caller.actor.name, domain=platform.settings.domain)
    code = qrcode.QRCode(border=0)
    code.add_data(uri.reveal())
    modules = code.get_matrix()
    return pages.dialog(
        request,
        "totp.html",
        secret=made.reveal(),
        uri=uri.reveal(),
        size=len(modules),
        squares=drawn(modules),
    )


def drawn(modules: Sequence[Sequence[bool]]) -> str:
    """Return the dark squares of a QR code as the path of an SVG, whose unit is a square."""
    return "".join(
        f"M{x} {y}h1v1h-1z" for y, row in enumerate(modules) for x, dark in enumerate(row) if dark
    )


@router.post(f"{_PATH}/confirm")
async def confirm(
    request: Request, platform: CurrentPlatform, caller: Anybody, form: CurrentForm
) -> Response:
    """Require codes from now on, and show the recovery codes, this once."""
    body = read(TotpCode, form)

    async def work(tx: Tx, secrets: SecretSource) -> list[Secret]:
        codes = secrets.recovery_codes()
        await platform.people.confirm_totp(tx, caller.principal, body.code, codes)
        return codes

    codes = await once(lambda: caller.idempotent(list[Secret], work))
    return _codes(request, codes, "Each login needs a code now")


@router.post(f"{_PATH}/remove")
async def remove(
    request: Request, platform: CurrentPlatform, caller: Anybody, form: CurrentForm
) -> Response:
    """Require no codes any more."""
    body = read(RemoveTotp, form)
    await platform.people.prove(caller.principal, secret(body.password))
    await platform.people.remove_totp(caller.principal, body.code)
    return pages.go(request, "/account?done=totp-off")


@router.post("/account/recovery-codes")
async def recovery_codes(
    request: Request, platform: CurrentPlatform, caller: Anybody, form: CurrentForm
) -> Response:
    """Replace the recovery codes, and show the new ones, this once."""
    body = read(Proof, form)
    await platform.people.prove(caller.principal, secret(body.password))

    async def work(tx: Tx, secrets: SecretSource) -> list[Secret]:
        codes = secrets.recovery_codes()
        await platform.people.replace_recovery_codes(tx, caller.principal, codes)
        return codes

    codes = await once(lambda: caller.idempotent(list[Secret], work))
    return _codes(request, codes, "Your new recovery codes")


def _codes(request: Request, codes: list[Secret], heading: str) -> Response:
    text = " ".join(code.reveal() for code in codes)
    return pages.shown_once(
        request,
        {"Recovery codes": Secret(text)},
        heading=heading,
        note="Each replaces the authenticator's code once, when that is lost. Keep them elsewhere.",
        onward="/account",
        section="Account",
    )
