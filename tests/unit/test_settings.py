"""Settings: what can be used is, what cannot is named."""

import os
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.provisional import domains

from tenantry.base.errors import MachineError
from tenantry.base.local_api import LONGEST_HOME, default_home
from tenantry.base.settings import Settings, load


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home that is not there: nothing is read but the variables that a test sets."""
    for name in Settings.model_fields:
        monkeypatch.delenv(f"TENANTRY_{name.upper()}", raising=False)
    monkeypatch.setenv("TENANTRY_HOME", "/nowhere")
    return Path("/nowhere")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("API_PORT", port) for port in ["0", "-1", "65536", "http", "", "3000.5", "1e3"]),
        ("PG_PORT", "0"),
        ("POOL_PORT", "99999"),
        ("REDIS_PORT", "x"),
        *(("TRUSTED_PROXIES", text) for text in ["proxy", "10.0.0.1/24", "0.0.0.0/0", "::/0"]),
        ("WARM_POOL", "-1"),
        ("WARM_POOL", "501"),
        ("MEMORY_MB", "255"),
        ("MEMORY_MB", "much"),
        *(("DOMAIN", name) for name in ["", "a b", "-a.example", "a..b", "a_b", "https://a", "ä"]),
        ("DOMAIN", "a" * 64),
        ("DOMAIN", ".".join(["a"] * 130)),
        ("HOME", "/" + "h" * LONGEST_HOME),
    ],
)
def test_what_cannot_be_used_is_named(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(f"TENANTRY_{name}", value)
    with pytest.raises(MachineError) as told:
        load()
    assert f"TENANTRY_{name} " in told.value.detail
    assert told.value.hint is not None
    assert "tenantry.env" in told.value.hint
    others = {f"TENANTRY_{other.upper()} " for other in Settings.model_fields}
    assert not [each for each in others - {f"TENANTRY_{name} "} if each in told.value.detail]


def test_all_that_cannot_be_used_is_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("API_PORT", "PG_PORT", "WARM_POOL"):
        monkeypatch.setenv(f"TENANTRY_{name}", "much")
    with pytest.raises(MachineError) as told:
        load()
    for name in ("API_PORT", "PG_PORT", "WARM_POOL"):
        assert f"TENANTRY_{name} " in told.value.detail


def test_the_home_of_nobody_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TENANTRY_HOME", "~nobody-of-this-name/tenantry")
    with pytest.raises(MachineError, match="TENANTRY_HOME begins with the home of a user"):
        load()


def test_without_any_there_are_defaults(home: Path) -> None:
    found = load()
    assert found.home == home
    assert (found.api_port, found.pg_port, found.pool_port) == (3000, 5432, 6432)
    assert found.engines_dir == home / "engines"
    assert found.api_url == "http://127.0.0.1:3000"


def test_the_file_counts_less_than_the_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    home = tmp_path_factory.mktemp("h")
    (home / "tenantry.env").write_text("TENANTRY_API_PORT=3001\nTENANTRY_PG_PORT=5433\nOTHER=1\n")
    monkeypatch.setenv("TENANTRY_HOME", str(home))
    monkeypatch.setenv("TENANTRY_PG_PORT", "5434")
    found = load()
    assert (found.api_port, found.pg_port) == (3001, 5434)


def test_a_bad_line_of_the_file_is_named_with_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    home = tmp_path_factory.mktemp("h")
    (home / "tenantry.env").write_text("TENANTRY_API_PORT=none\n")
    monkeypatch.setenv("TENANTRY_HOME", str(home))
    with pytest.raises(MachineError) as told:
        load()
    assert "TENANTRY_API_PORT " in told.value.detail
    assert str(home / "tenantry.env") in str(told.value)


@given(st.ip_addresses())
def test_a_domain_may_be_an_address(address: object) -> None:
    assert Settings(home=Path("/nowhere"), domain=str(address)).domain == str(address)


@given(domains())
def test_a_domain_is_written_in_small_letters(domain: str) -> None:
    assert Settings(home=Path("/nowhere"), domain=f" {domain}. ").domain == domain.lower()


def test_proxies_are_addresses_and_networks() -> None:
    told = Settings(home=Path("/nowhere"), trusted_proxies="127.0.0.1, 10.0.0.0/24 ::1")
    assert [str(each) for each in told.proxy_networks] == ["127.0.0.1/32", "10.0.0.0/24", "::1/128"]
    assert Settings(home=Path("/nowhere")).proxy_networks == []


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("0.0.0.0", "https://127.0.0.1:3000"),  # noqa: S104
        ("::", "https://127.0.0.1:3000"),
        ("::1", "http://[::1]:3000"),
        ("192.0.2.1", "https://192.0.2.1:3000"),
    ],
)
def test_the_api_is_reached_where_it_listens(host: str, url: str) -> None:
    assert Settings(home=Path("/nowhere"), api_host=host).api_url == url


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=80))
def test_no_text_is_another_failure(value: str) -> None:
    for name in ("TENANTRY_DOMAIN", "TENANTRY_API_PORT", "TENANTRY_HOME"):
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv(name, value)
            failed = ""
            try:
                load()
            except MachineError as error:
                failed = error.detail
            assert not failed or f"{name} " in failed


def test_roots_programs_find_the_home_they_are_installed_in(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "venv"))
    assert default_home() == Path("/var/lib/tenantry")
    (tmp_path / "venv").symlink_to("venv-0123456789abcdef")
    assert default_home() == tmp_path
