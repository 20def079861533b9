"""Settings: ``TENANTRY_…`` variables, or the same names in ``$TENANTRY_HOME/tenantry.env``."""

import ipaddress
import os
import re
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import (
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic_settings import BaseSettings, SettingsConfigDict

from tenantry.base.errors import MachineError
from tenantry.base.local_api import LONGEST_HOME, LocalApi, default_home, is_loopback

Port = Annotated[int, Field(ge=1, le=65535)]
Weekday = Literal["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]
Rate = Annotated[int, Field(ge=1, le=10_000_000)]

_HOST_NAME = re.compile(r"(?!-)[a-z0-9-]{1,63}(?<!-)(\.(?!-)[a-z0-9-]{1,63}(?<!-))*")
# A name that authorities certify: not localhost, and not an address (whose last part is digits).
_CERTIFIABLE = re.compile(r".+\.(?=[a-z0-9-]*[a-z])[a-z0-9-]+")
_WORD = re.compile(r"[A-Za-z0-9._/-]+")
_VISIBLE = re.compile(r"[!-~]+")
_TIME = r"([01]\d|2[0-3]):[0-5]\d"
_WINDOW = rf"^(off|{_TIME}-{_TIME})$"
_S3 = ("backup_s3_endpoint", "backup_s3_bucket", "backup_s3_key")


class Settings(BaseSettings):
    """What one installation is told from outside. Everything else is derived or in its home."""

    model_config = SettingsConfigDict(env_prefix="TENANTRY_", extra="ignore", frozen=True)

    home: Path = Field(default_factory=default_home)
    environment: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,31}$")] = "production"
    domain: str = "localhost"
    api_host: str = "127.0.0.1"
    api_port: Port = 3000
    trusted_proxies: str = ""
    api_head_seconds: Annotated[int, Field(ge=1, le=3600)] = 10
    api_stall_seconds: Annotated[int, Field(ge=1, le=3600)] = 30
    api_idle_seconds: Annotated[int, Field(ge=1, le=3600)] = 5
    pg_port: Port = 5432
    pool_port: Port = 6432
    pool_packet_mb: Annotated[int, Field(ge=1, le=1024)] = 64
    pool_memory_mb: Annotated[int, Field(ge=64, le=65_536)] = 256
    connections_per_address: Annotated[int, Field(ge=10, le=65_535)] | None = None
    redis_port: Port = 6379
    warm_pool: Annotated[int, Field(ge=0, le=500)] = 16
    branches: Annotated[int, Field(ge=0, le=1000)] = 10
    customer_databases: Annotated[int, Field(ge=1, le=100_000)] = 100
    customer_backup_gb: Annotated[int, Field(ge=1, le=1_000_000)] = 100
    engines: Path | None = None
    blueprints: Path | None = None
    backups: bool = True
    backup_time: Annotated[str, Field(pattern=r"^([01]\d|2[0-3]):[0-5]\d$")] = "02:00"
    backup_weekday: Weekday = "sunday"
    backup_days: Annotated[int, Field(ge=1, le=3650)] = 7
    replaced_days: Annotated[int, Field(ge=1, le=3650)] | None = None
    drill_time: Annotated[str, Field(pattern=r"^(off|([01]\d|2[0-3]):[0-5]\d)$")] = "04:00"
    maintenance_window: Annotated[str, Field(pattern=_WINDOW)] = "03:00-04:00"
    restart_broken: bool = True
    restart_grace_seconds: Annotated[int, Field(ge=1, le=60)] = 30
    backup_dir: Path | None = None
    backup_s3_endpoint: str | None = None
    backup_s3_bucket: str | None = None
    backup_s3_region: str = "us-east-1"
    backup_s3_path: str = "/tenantry"
    backup_s3_key: SecretStr | None = None
    backup_s3_secret: Annotated[SecretStr | None, Field(validate_default=True)] = None
    backup_s3_ca_file: Path | None = None
    import_private: bool = False
    password_days: Annotated[int, Field(ge=0, le=3650)] = 90
    audit_days: Annotated[int, Field(ge=30, le=36_500)] = 365
    memory_mb: Annotated[int, Field(ge=256)] | None = None
    queued_minutes: Annotated[int, Field(ge=0, le=1440)] = 5
    rate_per_address: Rate = 120_000
    rate_per_key: Rate = 60_000
    rate_failures: Rate = 60
    rate_logins: Rate = 30
    concurrent_per_key: Annotated[int, Field(ge=1, le=10_000)] = 32
    concurrent_per_customer: Annotated[int, Field(ge=1, le=10_000)] = 64
    session_idle_minutes: Annotated[int, Field(ge=1, le=10_080)] = 60
    session_hours: Annotated[int, Field(ge=1, le=720)] = 12
    acme_directory: str | None = None
    acme_email: str | None = None
    acme_ca_file: Path | None = None
    acme_http_port: Port = 80
    acme_dns_hook: Path | None = None
    certificate: Path | None = None
    certificate_key: Path | None = None

    @field_validator("home")
    @classmethod
    def _absolute_and_short(cls, home: Path) -> Path:
        home = home.expanduser().absolute()
        if len(str(home)) > LONGEST_HOME:
            raise ValueError(
                f"is longer than {LONGEST_HOME} characters, so Unix sockets would not fit below it"
            )
        return home

    @field_validator("domain")
    @classmethod
    def _host_name(cls, domain: str) -> str:
        name = domain.strip().rstrip(".").lower()
        try:
            return str(ipaddress.ip_address(name))
        except ValueError:
            pass
        if len(name) > 253 or not _HOST_NAME.fullmatch(name):  # noqa: PLR2004 (RFC 1035)
            raise ValueError("is not a host name or an IP address")
        return name

    @field_validator("trusted_proxies")
    @classmethod
    def _addresses(cls, text: str) -> str:
        for part in filter(None, re.split(r"[\s,]+", text)):
            try:
                network = ipaddress.ip_network(part)
            except ValueError:
                raise ValueError(f"has {part!r} in it, which is no address or network") from None
            if network.prefixlen == 0:
                raise ValueError("has a network of all addresses in it: anybody could claim any")
        return text

    @field_validator("acme_directory")
    @classmethod
    def _directory_of_a_name(cls, url: str | None, others: ValidationInfo) -> str | None:
        if url is None:
            return None
        if urlsplit(url).scheme != "https" or not urlsplit(url).hostname:
            raise ValueError("is not the https URL of an ACME directory")
        if not _CERTIFIABLE.fullmatch(others.data.get("domain", "")):
            raise ValueError("needs a name such as db.example.com as TENANTRY_DOMAIN")
        return url

    @field_validator("certificate")
    @classmethod
    def _instead_of_acme(cls, path: Path | None, others: ValidationInfo) -> Path | None:
        if path is not None and others.data.get("acme_directory") is not None:
            raise ValueError("cannot be used together with TENANTRY_ACME_DIRECTORY")
        return path

    @field_validator("certificate_key")
    @classmethod
    def _with_its_certificate(cls, path: Path | None, others: ValidationInfo) -> Path | None:
        if path is not None and others.data.get("certificate") is None:
            raise ValueError("is of no use without TENANTRY_CERTIFICATE")
        return path

    @field_validator("backup_s3_endpoint")
    @classmethod
    def _https_server(cls, url: str | None) -> str | None:
        if url is None:
            return None
        parts = urlsplit(url)
        if parts.scheme != "https" or not parts.hostname or parts.path not in {"", "/"}:
            raise ValueError("is not the https URL of a server, such as https://s3.example.com")
        return f"https://{parts.netloc}"

    @field_validator("backup_s3_bucket", "backup_s3_region", "backup_s3_path")
    @classmethod
    def _one_word(cls, word: str | None) -> str | None:
        if word is not None and not _WORD.fullmatch(word):
            raise ValueError("has other than letters, digits and . _ - / in it")
        return word

    @field_validator("backup_s3_key", "backup_s3_secret")
    @classmethod
    def _one_line(cls, secret: SecretStr | None) -> SecretStr | None:
        if secret is not None and not _VISIBLE.fullmatch(secret.get_secret_value()):
            raise ValueError("is empty, or has a space or a line break in it")
        return secret

    @field_validator("backup_s3_secret")
    @classmethod
    def _whole_s3(cls, secret: SecretStr | None, others: ValidationInfo) -> SecretStr | None:
        told = {name: others.data[name] for name in _S3 if name in others.data}
        names = [f"TENANTRY_{name.upper()}" for name, value in told.items() if value is None]
        if secret is None and any(told.values()):
            raise ValueError("is missing, and a repository in S3 needs it")
        if secret is not None and names:
            raise ValueError(f"is of no use without {', '.join(names)}")
        return secret

    @field_validator(
        "acme_ca_file",
        "acme_dns_hook",
        "backup_dir",
        "backup_s3_ca_file",
        "blueprints",
        "certificate",
        "certificate_key",
    )
    @classmethod
    def _whole_path(cls, path: Path | None) -> Path | None:
        if path is not None and not path.is_absolute():
            raise ValueError("is not a whole path, from / on")
        return path

    @property
    def proxy_networks(self) -> list[ipaddress.IPv4Network | ipaddress.IPv6Network]:
        """From where ``X-Forwarded-For`` is believed."""
        parts = re.split(r"[\s,]+", self.trusted_proxies)
        return [ipaddress.ip_network(part) for part in parts if part]

    @property
    def engines_dir(self) -> Path:
        """Where engines built on this machine live."""
        return self.engines or self.home / "engines"

    @property
    def repository_dir(self) -> Path:
        """Where the local repository of physical backups lives."""
        return self.backup_dir or self.home / "backups" / "repository"

    @property
    def local_api(self) -> LocalApi:
        """Where the API is for a client on this machine."""
        return LocalApi(self.home, self.domain, self.api_host, self.api_port)

    @property
    def api_tls(self) -> bool:
        """Whether the API speaks TLS: wherever others than this machine reach it."""
        return self.local_api.tls

    @property
    def is_local(self) -> bool:
        """Whether the connection strings that it hands out lead nowhere but to this machine."""
        return is_loopback(self.domain)

    @property
    def api_url(self) -> str:
        """The API as a client on this machine reaches it."""
        return self.local_api.url


def load() -> Settings:
    """The settings in force.

    Raises MachineError naming each setting that cannot be used, and why.
    """
    try:
        home = Path(os.environ.get("TENANTRY_HOME") or default_home()).expanduser()
    except RuntimeError:
        raise MachineError(
            "TENANTRY_HOME begins with the home of a user who is not there.",
            hint="Set it to the whole path of a folder.",
        ) from None
    try:
        return Settings(_env_file=home / "tenantry.env")
    except ValidationError as error:
        wrong = "; ".join(
            f"TENANTRY_{'_'.join(str(part) for part in e['loc']).upper()} "
            f"{e['msg'].removeprefix('Value error, ')}"
            for e in error.errors(include_url=False, include_input=False)
        )
        raise MachineError(
            f"These settings cannot be used: {wrong}.",
            hint=f"Mend them in the environment or in {home / 'tenantry.env'}.",
        ) from None
    except OSError as error:
        raise MachineError(
            f"{home / 'tenantry.env'} cannot be read: {error.strerror}.",
            hint="Give its owner the right to read it, or set TENANTRY_HOME to another folder.",
        ) from None
