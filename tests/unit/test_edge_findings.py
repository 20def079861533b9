"""What ``doctor`` and ``up`` say about the edge before it runs, and beside it."""

import os
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tenantry.base.errors import MachineError
from tenantry.base.home import Home
from tenantry.base.setting_groups import Acme
from tenantry.base.settings import Settings
from tenantry.cli import findings
from tenantry.host import environment, files
from tenantry.services.edge.service import Edge


def edged(home: Path, **more: object) -> Settings:
    return Settings(home=home, domain="example.com", edge=True, **more)  # type: ignore[arg-type]


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A home whose edge has certificates of the platform's own authority."""
    monkeypatch.setattr(environment, "find_traefik", lambda: Path("/opt/traefik"))
    with tempfile.TemporaryDirectory(prefix="tnt-") as place:  # pytest's paths are too long
        made = Path(place)
        for folder in (Home(made).tls, Home(made).edge):
            files.ensure_folder(folder)
        Edge(edged(made)).certificates.ensure_some()
        yield made


def test_an_edge_that_is_off_is_no_matter(home: Path) -> None:
    assert findings._edge(Settings(home=home)) == []
    findings.require_ports_of_edge(Settings(home=home))


def test_each_certificate_is_shown(home: Path) -> None:
    program, fixed, rest = findings._edge(edged(home))
    assert (program.level, program.detail) == ("ok", "at /opt/traefik")
    assert (fixed.level, rest.level) == ("ok", "ok")
    assert "api.example.com, console.example.com, cache.example.com" in fixed.detail
    assert "*.rest.example.com" in rest.detail


def test_a_name_that_an_authority_certifies_only_by_dns_is_a_warning(home: Path) -> None:
    acme = Acme(directory="https://acme.example/dir")
    _, fixed, rest = findings._edge(edged(home, acme=acme))
    assert (fixed.level, rest.level) == ("ok", "warning")
    assert "TENANTRY_ACME_DNS_HOOK" in rest.detail
    by_dns = edged(home, acme=acme.model_copy(update={"dns_hook": Path("/etc/hook")}))
    assert [each.level for each in findings._edge(by_dns)] == ["ok", "ok", "ok"]


def test_a_missing_program_is_a_problem_with_its_command(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(environment, "find_traefik", lambda: None)
    (found,) = findings._edge(edged(home))
    assert (found.level, "./tenantry install-edge" in found.hint) == ("problem", True)


def test_a_taken_port_is_named_with_its_owner(home: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        number = taken.getsockname()[1]
        here = edged(home, edge_https_port=number, edge_http_port=20_000)
        with pytest.raises(MachineError) as refused:
            findings.require_ports_of_edge(here)
    assert f"Port {number}, which the edge needs, is used by" in refused.value.detail
    assert f"(process {os.getpid()})" in refused.value.detail
    assert "TENANTRY_EDGE_HTTPS_PORT" in str(refused.value.hint)


def test_the_port_for_sql_is_asked_for_where_it_is_wanted(home: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        number = taken.getsockname()[1]
        ports = {"edge_http_port": 20_000, "edge_https_port": 20_001, "edge_sql_port": number}
        findings.require_ports_of_edge(edged(home, **ports))
        with pytest.raises(MachineError) as refused:
            findings.require_ports_of_edge(edged(home, edge_sql=True, **ports))
    assert f"Port {number}, which the edge needs, is used by" in refused.value.detail
    assert "TENANTRY_EDGE_SQL_PORT" in str(refused.value.hint)
