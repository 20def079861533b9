"""The ACME authority that the settings name."""

from typing import TYPE_CHECKING

from tenantry.base.home import Home
from tenantry.base.settings import Settings

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
