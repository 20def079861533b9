"""For which names a certificate is obtained, where an authority does not certify all of them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tenantry.base.home import Home
from tenantry.base.setting_groups import Acme, Instance
from tenantry.base.settings import Settings
from tenantry.host.acme import AcmeFailed
from tenantry.host.certificates import OWN, OwnAuthority, ServerCertificate
from tenantry.services.certificates import service
from tenantry.services.certificates.service import Certificates

DIRECTORY = "https://acme.example/dir"
DOMAIN = "example.com"
BOTH = [DOMAIN, "*.db.example.com"]


@dataclass
class Authority:
    """An ACME authority that certifies only these names."""

    signer: OwnAuthority
    certifies: Sequence[str]
    asked: list[Sequence[str]] = field(default_factory=list)

    async def obtain(self, *names: str) -> ServerCertificate:
        self.asked.append([*names])
        if not {*names} <= {*self.certifies}:
            raise AcmeFailed("it does not")
        made = self.signer.issue([*names])
        return ServerCertificate(DIRECTORY, made.key, made.chain)


@pytest.fixture
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with a path that is short enough."""
    return tmp_path_factory.mktemp("h")


def platform(
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    certifies: Sequence[str],
    hook: bool = True,
    hosts: bool = True,
) -> tuple[Certificates, Authority]:
    for folder in (home, Home(home).tls):
        folder.mkdir(exist_ok=True)
    acme = Acme(directory=DIRECTORY, dns_hook=Path("/hook") if hook else None)
    here = Settings(home=home, domain=DOMAIN, acme=acme, instance=Instance(hosts=hosts))
    signer = OwnAuthority(home / "their.crt", home / "their.key")
    signer.ensure()
    authority = Authority(signer, certifies)
    nothing: Any = SimpleNamespace(of_tenants=[], pid=lambda: None)
    found = Certificates(here, nothing, nothing)
    monkeypatch.setattr(service, "acme_authority", lambda *_: authority)
    found.ensure_some()
    return found, authority


@pytest.mark.parametrize(
    ("hook", "hosts", "names"),
    [(True, True, BOTH), (False, True, [DOMAIN]), (True, False, [DOMAIN])],
)
async def test_a_wildcard_is_asked_for_where_dns_is_answered(
    home: Path, monkeypatch: pytest.MonkeyPatch, hook: bool, hosts: bool, names: list[str]
) -> None:
    certificates, authority = platform(home, monkeypatch, certifies=BOTH, hook=hook, hosts=hosts)
    assert certificates.status().source == OWN
    await certificates.keep()
    assert (authority.asked, certificates.status().names) == ([names], sorted(names))
    await certificates.keep()
    assert authority.asked == [names], "it is kept"


async def test_the_domain_has_one_though_the_hosts_of_instances_have_none(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificates, authority = platform(home, monkeypatch, certifies=[DOMAIN])
    await certificates.keep()
    assert authority.asked == [BOTH, [DOMAIN]]
    assert (certificates.status().source, certificates.status().names) == (DIRECTORY, [DOMAIN])
    # Another one is not due: only the hosts are tried for, and not all the time.
    with pytest.raises(AcmeFailed):
        await certificates.keep()
    await certificates.keep()
    assert authority.asked[2:] == [BOTH]
    found = certificates.status()
    assert (found.plan, found.failures, found.names) == ("wait", 1, [DOMAIN])
    assert found.reason == "it is not for *.db.example.com"

    authority.certifies = BOTH
    assert (await certificates.renew()).names == sorted(BOTH)
    assert certificates.status().failures == 0


async def test_an_authority_that_refuses_all_leaves_the_certificate(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificates, authority = platform(home, monkeypatch, certifies=[])
    with pytest.raises(AcmeFailed):
        await certificates.keep()
    assert authority.asked == [BOTH, [DOMAIN]]
    found = certificates.status()
    assert (found.source, found.failures, found.plan) == (OWN, 1, "wait")
