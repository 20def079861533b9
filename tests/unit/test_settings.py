"""Settings: what can be used is, what cannot is named."""

import os
import sys
from pathlib import Path
from typing import Annotated

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.provisional import domains
from pydantic import Field, SecretStr

from tenantry.base.errors import MachineError
from tenantry.base.local_api import LONGEST_HOME, default_home
from tenantry.base.setting_groups import Acme, Api, BackupS3, Group, Instance
from tenantry.base.settings import Settings, load
from tenantry.cli.installing import unit_environment


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home that is not there: nothing is read but the variables that a test sets."""
    for each in Settings.variables():
        monkeypatch.delenv(each.name, raising=False)
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
    with pytest.raises(MachineError) as reported:
        load()
    assert f"TENANTRY_{name} " in reported.value.detail
    assert reported.value.hint is not None
    assert "tenantry.env" in reported.value.hint
    others = {each.name for each in Settings.variables()} - {f"TENANTRY_{name}"}
    assert not [each for each in others if f"{each} " in reported.value.detail]


@pytest.mark.parametrize(
    ("domain", "below"),
    [
        ("example.com", "db.example.com"),
        ("DB.Example.com.", "db.db.example.com"),
        (".".join(["a" * 61] * 3), f"db.{'.'.join(['a' * 61] * 3)}"),
        # A label of 63 characters would not fit in front of it.
        (".".join(["a" * 62] * 3), None),
        ("localhost", None),
        ("db", None),
        ("203.0.113.7", None),
        ("2001:db8::1", None),
    ],
)
def test_instances_have_hosts_below_a_domain(domain: str, below: str | None) -> None:
    assert Settings(domain=domain).instance_domain == below
    assert Settings(domain=domain, instance=Instance(hosts=False)).instance_domain is None


def test_all_that_cannot_be_used_is_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("API_PORT", "PG_PORT", "WARM_POOL"):
        monkeypatch.setenv(f"TENANTRY_{name}", "much")
    with pytest.raises(MachineError) as reported:
        load()
    for name in ("API_PORT", "PG_PORT", "WARM_POOL"):
        assert f"TENANTRY_{name} " in reported.value.detail


def test_the_home_of_nobody_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TENANTRY_HOME", "~nobody-of-this-name/tenantry")
    with pytest.raises(MachineError, match="TENANTRY_HOME begins with the home of a user"):
        load()


def test_without_any_there_are_defaults(home: Path) -> None:
    found = load()
    assert found.home == home
    assert (found.api.port, found.pg_port, found.pool.port) == (3000, 5432, 6432)
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
    assert (found.api.port, found.pg_port) == (3001, 5434)


def test_a_bad_line_of_the_file_is_named_with_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    home = tmp_path_factory.mktemp("h")
    (home / "tenantry.env").write_text("TENANTRY_API_PORT=none\n")
    monkeypatch.setenv("TENANTRY_HOME", str(home))
    with pytest.raises(MachineError) as reported:
        load()
    assert "TENANTRY_API_PORT " in reported.value.detail
    assert str(home / "tenantry.env") in str(reported.value)


@given(st.ip_addresses())
def test_a_domain_may_be_an_address(address: object) -> None:
    assert Settings(home=Path("/nowhere"), domain=str(address)).domain == str(address)


@given(domains())
def test_a_domain_is_written_in_small_letters(domain: str) -> None:
    assert Settings(home=Path("/nowhere"), domain=f" {domain}. ").domain == domain.lower()


def test_proxies_are_addresses_and_networks() -> None:
    reported = Settings(home=Path("/nowhere"), trusted_proxies="127.0.0.1, 10.0.0.0/24 ::1")
    assert [str(each) for each in reported.proxy_networks] == [
        "127.0.0.1/32",
        "10.0.0.0/24",
        "::1/128",
    ]
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
    assert Settings(home=Path("/nowhere"), api=Api(host=host)).api_url == url


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


BUCKET = {
    "TENANTRY_BACKUP_S3_ENDPOINT": "https://s3.example.com",
    "TENANTRY_BACKUP_S3_BUCKET": "backups",
    "TENANTRY_BACKUP_S3_KEY": "a-key",
    "TENANTRY_BACKUP_S3_SECRET": "a-secret-key",
}


def test_variables_of_a_group_begin_with_its_name(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    home = tmp_path_factory.mktemp("h")
    (home / "tenantry.env").write_text("TENANTRY_ACME_EMAIL=a@example.com\n")
    monkeypatch.setenv("TENANTRY_HOME", str(home))
    monkeypatch.setenv("TENANTRY_ACME_HTTP_PORT", "8080")
    monkeypatch.setenv("TENANTRY_API_KEY", "not a setting, but the client's")
    monkeypatch.setenv("tenantry_pool_port", "7432")
    found = load()
    assert found.acme == Acme(email="a@example.com", http_port=8080)
    assert found.api == Api()
    assert found.pool.port == 7432


@pytest.mark.parametrize("name", ["TENANTRY_API", "TENANTRY_ACME", "TENANTRY_BACKUP_S3"])
@pytest.mark.parametrize("value", ["", "x", "{}", '{"port": 1}', "[]", "null"])
def test_the_name_of_a_group_is_no_setting(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(MachineError, match=f"{name} is not a setting"):
        load()


@pytest.mark.parametrize("missing", BUCKET)
def test_a_bucket_is_given_whole(monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    for name, value in BUCKET.items():
        if name != missing:
            monkeypatch.setenv(name, value)
    with pytest.raises(MachineError, match=f"{missing} is missing"):
        load()


def test_a_region_alone_is_no_bucket(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TENANTRY_BACKUP_S3_REGION", "eu-1")
    assert load().backup_s3 is None


@pytest.mark.parametrize(
    ("given", "reported"),
    [
        ({"CERTIFICATE_KEY": "/k"}, "TENANTRY_CERTIFICATE_KEY is of no use without"),
        ({"ACME_DIRECTORY": "https://a.example/d"}, "TENANTRY_ACME_DIRECTORY needs a name"),
        (
            {"ACME_DIRECTORY": "https://a.example/d", "CERTIFICATE": "/c"},
            "TENANTRY_CERTIFICATE cannot be used together with TENANTRY_ACME_DIRECTORY",
        ),
        ({"ACME_DIRECTORY": "http://a.example"}, "TENANTRY_ACME_DIRECTORY is not the https URL"),
        ({"BACKUP_DIR": "backups"}, "TENANTRY_BACKUP_DIR is not a whole path"),
    ],
)
def test_settings_that_do_not_go_together_are_named(
    monkeypatch: pytest.MonkeyPatch, given: dict[str, str], reported: str
) -> None:
    for name, value in given.items():
        monkeypatch.setenv(f"TENANTRY_{name}", value)
    with pytest.raises(MachineError, match=reported):
        load()


class Mail(Group):
    server: str
    password: SecretStr


class Larger(Settings):
    """With secrets that somebody has added, and has named nowhere else."""

    mail: Mail | None = None
    token: Annotated[SecretStr | None, Field(min_length=3)] = None


def test_a_secret_is_one_by_its_type() -> None:
    secret = {each.name for each in Settings.variables() if each.is_secret}
    assert secret == {
        "TENANTRY_BACKUP_S3_KEY",
        "TENANTRY_BACKUP_S3_SECRET",
        "TENANTRY_EMBEDDER_KEY",
        "TENANTRY_SMTP_PASSWORD",
    }
    added = {each.name for each in Larger.variables() if each.is_secret} - secret
    assert added == {"TENANTRY_MAIL_PASSWORD", "TENANTRY_TOKEN"}


@pytest.mark.parametrize("name", ["TENANTRY_MAIL_PASSWORD", "TENANTRY_TOKEN", *list(BUCKET)[2:]])
def test_no_secret_reaches_a_unit_file(name: str) -> None:
    environ = {"TENANTRY_DOMAIN": "db.example.com", name: "hidden"}
    with pytest.raises(MachineError, match=name):
        unit_environment(Larger(home=Path("/nowhere")), environ)


def test_only_settings_reach_a_unit_file() -> None:
    others = {
        "PATH": "/bin",
        "TENANTRY_API_KEY": "the client's",
        "TENANTRY_DATABASE_URL": "postgresql://a:b@c/d",
        "TENANTRY_IMPORT_FROM": "postgresql://a:b@c/d",
    }
    reported = {"TENANTRY_HOME": "/nowhere", "TENANTRY_API_PORT": "3100"}
    assert unit_environment(Settings(home=Path("/nowhere")), others | reported) == reported


def test_what_is_given_openly_has_no_secrets() -> None:
    found = Larger(
        home=Path("/nowhere"),
        domain="db.example.com",
        pool={"port": 7432},
        backup_s3=BackupS3.model_validate(
            {name.removeprefix("TENANTRY_BACKUP_S3_").lower(): it for name, it in BUCKET.items()}
        ),
        mail={"server": "mail.example.com", "password": "hidden"},
        token="hidden",
    )
    assert found.given_openly() == {
        "TENANTRY_HOME": Path("/nowhere"),
        "TENANTRY_DOMAIN": "db.example.com",
        "TENANTRY_POOL_PORT": 7432,
    }


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({}, "needs a host name"),
        ({"DOMAIN": "203.0.113.7"}, "needs a host name"),
        ({"DOMAIN": "::1"}, "needs a host name"),
        ({"DOMAIN": "example.com", "EDGE_HTTP_PORT": "443"}, "not three ports"),
        ({"DOMAIN": "example.com", "EDGE_HTTPS_PORT": "3000"}, "not three ports"),
        ({"DOMAIN": "example.com", "EDGE": "off", "EDGE_SQL": "on"}, "needs TENANTRY_EDGE=on"),
        ({"DOMAIN": "localhost", "EDGE_SQL": "on"}, "such as example.com"),
        (
            {"DOMAIN": "example.com", "EDGE_SQL": "on", "INSTANCE_HOSTS": "off"},
            "TENANTRY_INSTANCE_HOSTS=on",
        ),
        ({"DOMAIN": "example.com", "EDGE_SQL": "on"}, r"\(5432\) is also.*TENANTRY_PG_PORT=5433"),
        ({"DOMAIN": "example.com", "EDGE_SQL": "on", "EDGE_SQL_PORT": "5500"}, "also another"),
    ],
)
def test_an_edge_needs_names_and_ports(
    monkeypatch: pytest.MonkeyPatch, given: dict[str, str], why: str
) -> None:
    for name, value in {"EDGE": "on", **given}.items():
        monkeypatch.setenv(f"TENANTRY_{name}", value)
    with pytest.raises(MachineError, match=why):
        load()


def test_an_edge_changes_what_clients_use_and_nothing_else() -> None:
    here = Settings(home=Path("/nowhere"), domain="example.com", edge=True)
    assert here.rest_url("tenant_b7") == "https://tenant-b7.rest.example.com/rest/v1"
    assert here.auth_url("tenant_b7") == "https://tenant-b7.rest.example.com/auth/v1"
    assert here.cache_url == "https://cache.example.com"
    assert here.api_url == "http://127.0.0.1:3000"
    elsewhere = here.model_copy(update={"edge_https_port": 8443})
    assert elsewhere.edge_url("api") == "https://api.example.com:8443"
    off = Settings(home=Path("/nowhere"), domain="example.com")
    assert off.rest_url("tenant_b7") == "http://example.com:3001/tenant_b7/rest/v1"


def test_sql_at_the_edge_has_a_port_of_its_own() -> None:
    here = Settings(
        home=Path("/nowhere"), domain="example.com", edge=True, edge_sql=True, pg_port=5433
    )
    assert here.edge_ports == (80, 443, 5432)
    assert here.edge_on_low_ports
    assert Settings(home=Path("/nowhere")).edge_ports == ()
    assert Settings(home=Path("/nowhere"), domain="a.b", edge=True).edge_ports == (80, 443)


def test_challenges_are_answered_behind_an_edge_on_their_port() -> None:
    def port(**given: int) -> int:
        here = Settings(home=Path("/nowhere"), domain="example.com", edge=True, **given)  # type: ignore[arg-type]
        return here.challenge_port

    assert port() == 3003
    assert port(edge_http_port=8080) == 80
    assert Settings(home=Path("/nowhere")).challenge_port == 80
