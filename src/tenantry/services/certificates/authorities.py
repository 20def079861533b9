"""The authorities: the ACME one that the settings name, and the platform's own."""

from typing import TYPE_CHECKING

from tenantry.base.home import Home
from tenantry.base.settings import Settings
from tenantry.host.certificates import OWN, OwnAuthority, ServerCertificate
from tenantry.services.certificates.plan import InPlace

if TYPE_CHECKING:
    from tenantry.host.acme import Authority


def acme_authority(here: Settings, directory: str) -> "Authority":
    """Return an authority, with this installation's account and its way to answer challenges."""
    # Its libraries take 70 ms to import, in every process that starts, and few use an
    # authority.
    from tenantry.host.acme import Authority  # noqa: PLC0415

    return Authority(
        directory=directory,
        account_key=Home(here.home).tls / "acme-account.key",
        email=here.acme.email,
        ca_file=here.acme.ca_file,
        http_port=here.challenge_port,
        dns_hook=here.acme.dns_hook,
    )


def in_place(held: ServerCertificate, own: OwnAuthority, *, unwanted: bool = False) -> InPlace:
    """Return an installed certificate as a plan takes it; ``unwanted`` if it is to be revoked."""
    lost = held.source == OWN and not own.signed(held.leaf)
    return InPlace(
        source="an authority that is lost" if lost else held.source,
        names=held.names,
        not_before=held.leaf.not_valid_before_utc,
        not_after=held.leaf.not_valid_after_utc,
        unwanted=unwanted,
        fingerprint=held.fingerprint,
    )
