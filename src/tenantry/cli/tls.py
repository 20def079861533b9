"""``tenantry tls``: the certificate of this machine's endpoints."""

import asyncio
import datetime as dt
import os
from dataclasses import asdict
from typing import Annotated

import typer

from tenantry.base import logs
from tenantry.base.errors import MachineError
from tenantry.base.home import Home
from tenantry.cli import output, times
from tenantry.cli.client import NotRunning
from tenantry.cli.entry_point import Json, local_settings
from tenantry.host import identity
from tenantry.services.certificates.model import CertificateStatus
from tenantry.services.certificates.service import SUPERSEDED, Certificates
from tenantry.services.local_parts import LocalParts

app = typer.Typer(help="The certificate that PostgreSQL and PgBouncer show.", no_args_is_help=True)

_OWN = "the platform's own authority"
_REASONS = {
    "unspecified": 0,
    "key-compromise": 1,
    "affiliation-changed": 3,
    "superseded": SUPERSEDED,
    "cessation-of-operation": 5,
}


def _here() -> Certificates:
    """Return this machine's certificates, after becoming the service user."""
    here = local_settings()
    if not Home(here.home).certificate.parent.exists():
        raise NotRunning("There is no certificate yet.", hint="Run ./tenantry up.")
    identity.become_service_user()
    if not os.access(Home(here.home).tls, os.R_OK | os.X_OK):
        raise MachineError(
            "Only the platform's own user can see to its certificate.", hint="Run this with sudo."
        )
    return LocalParts(here).certificates


@app.command()
def status(json: Json = False) -> None:
    """Show the installed certificate, its planned renewal, and the ports that present it."""
    certificates = _here()
    found, endpoints = certificates.status(), asyncio.run(certificates.endpoints())
    if json:
        output.as_json(_data(found) | {"endpoints": [asdict(endpoint) for endpoint in endpoints]})
        return
    output.facts(
        [
            ("signed by", _source(found.source)),
            ("for", found.names),
            ("expires", f"{_time(found.not_after)} ({found.seconds_left // 86_400:.0f} days left)"),
            ("renewal", _plan(found)),
            ("failed tries", f"{found.failures}: {found.error}" if found.failures else None),
            ("to be revoked", found.to_revoke or None),
            ("SHA-256", found.fingerprint),
        ]
    )
    if found.warning:
        output.note(found.warning, style="yellow")
    output.heading("Ports")
    output.table(
        [asdict(endpoint) for endpoint in endpoints],
        {"PART": "name", "PORT": "port", "SHOWS IT": "serves_it"},
        empty="None is open: Tenantry does not run.",
    )


@app.command()
def renew(
    revoke: Annotated[
        bool, typer.Option("--revoke", help="Have the certificate there was revoked, afterwards.")
    ] = False,
    reason: Annotated[
        str, typer.Option(help=f"Why it is revoked: {', '.join(_REASONS)}.")
    ] = "superseded",
    json: Json = False,
) -> None:
    """Replace the certificate now. No connection is dropped.

    With --revoke the authority revokes the old one once the new one is in service. If either step
    fails, the platform retries it until both are done.
    """
    if reason not in _REASONS:
        raise typer.BadParameter(f"is one of {', '.join(_REASONS)}", param_hint="--reason")
    certificates = _here()
    # Standard output is for the result.
    log = Home(local_settings().home).logs / "tenantry.log"
    with logs.into(log, "tls"), output.waiting("Renewing"):
        found = asyncio.run(certificates.renew(revoke=_REASONS[reason] if revoke else None))
    if json:
        output.as_json(_data(found))
        return
    output.done(f"The new certificate is in service until {_time(found.not_after)}.")
    if revoke:
        output.done("The old one is revoked.")


@app.command()
def ca(json: Json = False) -> None:
    """Print the CA certificate with which clients verify the server: PEM, for sslrootcert."""
    file = Home(local_settings().home).ca_certificate
    if not file.exists():
        raise NotRunning("There is no authority yet.", hint="Run ./tenantry up.")
    pem = file.read_text()
    if json:
        output.as_json({"file": str(file), "pem": pem})
    else:
        typer.echo(pem, nl=False)


def _data(found: CertificateStatus) -> dict[str, object]:
    return {
        name: value.isoformat() if isinstance(value, dt.datetime) else value
        for name, value in asdict(found).items()
    }


def _source(source: str) -> str:
    return _OWN if source == "own" else source


def _time(at: dt.datetime) -> str:
    return times.local(at)


def _plan(found: CertificateStatus) -> str:
    if found.plan == "keep" and found.source.startswith("file:"):
        return "when another certificate is in that file"
    if found.plan == "keep":
        return f"at {_time(found.renews_at)}"
    when = "soon" if found.next_try_at is None else f"at {_time(found.next_try_at)}"
    wanted = f" from {found.wanted_source}" if found.wanted_source != found.source else ""
    return f"{when}{wanted}: {found.reason}"
