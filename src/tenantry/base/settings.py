"""Settings: ``TENANTRY_…`` variables, or the same names in ``$TENANTRY_HOME/tenantry.env``."""

import ipaddress
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, Self, get_args
from urllib.parse import urlsplit

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SecretBytes,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, SettingsConfigDict

from tenantry.base.errors import MachineError
from tenantry.base.local_api import LONGEST_HOME, LocalApi, default_home, is_loopback
from tenantry.base.networks import in_url
from tenantry.base.setting_types import (
    OneLine,
    Percent,
    Port,
    PortRange,
    Rate,
    Weekday,
    WholePath,
    Word,
)

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

_HOST_NAME = re.compile(r"(?!-)[a-z0-9-]{1,63}(?<!-)(\.(?!-)[a-z0-9-]{1,63}(?<!-))*")
# A name that authorities certify: not localhost, and not an address (its last part is digits).
_CERTIFIABLE = re.compile(r".+\.(?=[a-z0-9-]*[a-z])[a-z0-9-]+")
_TIME = r"([01]\d|2[0-3]):[0-5]\d"
_WINDOW = rf"^(off|{_TIME}-{_TIME})$"


@dataclass(frozen=True, slots=True)
class Variable:
    """The variable of a setting; a secret one is never written anywhere else.

    One of an optional group is required if any other of the group is set.
    """

    name: str
    is_secret: bool
    is_required: bool

    @classmethod
    def of(cls, field: FieldInfo, *path: str) -> "Variable":
        return cls(_variable(*path), _is_secret(field.annotation), field.is_required())


class Group(BaseModel):
    """Settings whose variables share a prefix: ``TENANTRY_ACME_EMAIL`` is ``acme.email``."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _is_no_setting_itself(cls, given: object) -> object:
        if isinstance(given, str):
            raise ValueError("is not a setting: names of settings go on after it")  # noqa: TRY004
        return given


class Api(Group):
    """The address of the REST API, and its deadlines for clients."""

    host: str = "127.0.0.1"
    port: Port = 3000
    head_seconds: Annotated[int, Field(ge=1, le=3600)] = 10
    stall_seconds: Annotated[int, Field(ge=1, le=3600)] = 30
    idle_seconds: Annotated[int, Field(ge=1, le=3600)] = 5


class Rest(Group):
    """The address of the data API, and the memory that schemas of databases take in its process."""

    host: str = "127.0.0.1"
    port: Port = 3001
    cache_mb: Annotated[int, Field(ge=8, le=65_536)] = 150


class Pool(Group):
    """The pooler's port and limits."""

    port: Port = 6432
    packet_mb: Annotated[int, Field(ge=1, le=1024)] = 64
    memory_mb: Annotated[int, Field(ge=64, le=65_536)] = 256


class Customer(Group):
    """Limits of each customer."""

    databases: Annotated[int, Field(ge=1, le=100_000)] = 100
    backup_gb: Annotated[int, Field(ge=1, le=1_000_000)] = 100


class Backup(Group):
    """When physical backups are made, their retention, and their folder."""

    time: Annotated[str, Field(pattern=rf"^{_TIME}$")] = "02:00"
    weekday: Weekday = "sunday"
    days: Annotated[int, Field(ge=1, le=3650)] = 7
    dir: WholePath | None = None


class BackupS3(Group):
    """A further backup repository, in an S3 bucket."""

    endpoint: str
    bucket: Word
    region: Word = "us-east-1"
    path: Word = "/tenantry"
    key: OneLine
    secret: OneLine
    ca_file: WholePath | None = None

    @field_validator("endpoint")
    @classmethod
    def _https_server(cls, url: str) -> str:
        parts = urlsplit(url)
        if parts.scheme != "https" or not parts.hostname or parts.path not in {"", "/"}:
            raise ValueError("is not the https URL of a server, such as https://s3.example.com")
        return f"https://{parts.netloc}"


class Smtp(Group):
    """The mail server that takes the platform's e-mails."""

    host: Word
    port: Port = 587
    security: Literal["starttls", "tls", "none"] = "starttls"
    user: str | None = None
    password: OneLine | None = None
    sender: Annotated[str, Field(pattern=r"^[^@\s<>]+@[^@\s<>]+$")]
    ca_file: WholePath | None = None


class Alert(Group):
    """From where on the conditions of databases need attention."""

    disk_percent: Percent = 80
    connections_percent: Percent = 90
    transaction_minutes: Annotated[int, Field(ge=1, le=10_080)] = 60
    deadlocks: Annotated[int, Field(ge=1, le=1_000_000)] = 5
    rollback_percent: Percent = 50
    slower_percent: Annotated[int, Field(ge=101, le=100_000)] = 200


class Acme(Group):
    """The ACME authority that certifies the TLS endpoints, instead of the installation's own."""

    directory: str | None = None
    email: str | None = None
    ca_file: WholePath | None = None
    http_port: Port = 80
    dns_hook: WholePath | None = None

    @field_validator("directory")
    @classmethod
    def _https_url(cls, url: str | None) -> str | None:
        if url is not None and (urlsplit(url).scheme != "https" or not urlsplit(url).hostname):
            raise ValueError("is not the https URL of an ACME directory")
        return url


class Rates(Group):
    """Limits of requests per minute."""

    per_address: Rate = 120_000
    per_key: Rate = 60_000
    failures: Rate = 60
    logins: Rate = 30


class Concurrent(Group):
    """Limits of concurrent requests."""

    per_key: Annotated[int, Field(ge=1, le=10_000)] = 32
    per_customer: Annotated[int, Field(ge=1, le=10_000)] = 64


class Session(Group):
    """The lifetime of sessions."""

    idle_minutes: Annotated[int, Field(ge=1, le=10_080)] = 60
    hours: Annotated[int, Field(ge=1, le=720)] = 12


class Restart(Group):
    """Restarts of servers whose files were replaced."""

    broken: bool = True
    grace_seconds: Annotated[int, Field(ge=1, le=60)] = 30


class Settings(BaseSettings):
    """The settings of one installation. Everything else is derived or in its home.

    A variable is named after its field, with its group's name before it if it is in one.
    """

    model_config = SettingsConfigDict(
        env_prefix="TENANTRY_",
        env_nested_delimiter="_",
        env_nested_max_split=1,  # acme.http_port is TENANTRY_ACME_HTTP_PORT
        enable_decoding=False,  # no value is JSON
        extra="ignore",
        frozen=True,
    )

    home: Path = Field(default_factory=default_home)
    environment: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,31}$")] = "production"
    domain: str = "localhost"
    api: Api = Api()
    rest: Rest = Rest()
    trusted_proxies: str = ""
    pg_port: Port = 5432
    pool: Pool = Pool()
    instance_ports: PortRange = "5500-5999"
    connections_per_address: Annotated[int, Field(ge=10, le=65_535)] | None = None
    redis_port: Port = 6379
    warm_pool: Annotated[int, Field(ge=0, le=500)] = 16
    branches: Annotated[int, Field(ge=0, le=1000)] = 10
    customer: Customer = Customer()
    engines: Path | None = None
    blueprints: WholePath | None = None
    backups: bool = True
    backup: Backup = Backup()
    backup_s3: BackupS3 | None = None
    replaced_days: Annotated[int, Field(ge=1, le=3650)] | None = None
    drill_time: Annotated[str, Field(pattern=rf"^(off|{_TIME})$")] = "04:00"
    maintenance_window: Annotated[str, Field(pattern=_WINDOW)] = "03:00-04:00"
    restart: Restart = Restart()
    import_private: bool = False
    password_days: Annotated[int, Field(ge=0, le=3650)] = 90
    audit_days: Annotated[int, Field(ge=30, le=36_500)] = 365
    memory_mb: Annotated[int, Field(ge=256)] | None = None
    queued_minutes: Annotated[int, Field(ge=0, le=1440)] = 5
    rate: Rates = Rates()
    concurrent: Concurrent = Concurrent()
    session: Session = Session()
    acme: Acme = Acme()
    smtp: Smtp | None = None
    alert: Alert = Alert()
    certificate: WholePath | None = None
    certificate_key: WholePath | None = None

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

    @field_validator("backup_s3", "smtp", mode="before")
    @classmethod
    def _none_without_its_needs(cls, given: object, info: ValidationInfo) -> object:
        group = BackupS3 if info.field_name == "backup_s3" else Smtp
        needed = {name for name, field in group.model_fields.items() if field.is_required()}
        return None if isinstance(given, dict) and not needed & given.keys() else given

    @model_validator(mode="after")
    def _one_certificate(self) -> Self:
        if self.certificate_key is not None and self.certificate is None:
            raise ValueError("TENANTRY_CERTIFICATE_KEY is of no use without TENANTRY_CERTIFICATE")
        if self.acme.directory is None:
            return self
        if self.certificate is not None:
            raise ValueError(
                "TENANTRY_CERTIFICATE cannot be used together with TENANTRY_ACME_DIRECTORY"
            )
        if not _CERTIFIABLE.fullmatch(self.domain):
            raise ValueError(
                "TENANTRY_ACME_DIRECTORY needs a name such as db.example.com as TENANTRY_DOMAIN"
            )
        return self

    @classmethod
    def variables(cls) -> list[Variable]:
        """Return the variables of all settings."""
        found = []
        for name, field in cls.model_fields.items():
            group = _group_in(field.annotation)
            if group is None:
                found.append(Variable.of(field, name))
            else:
                found += [
                    Variable.of(each, name, inner) for inner, each in group.model_fields.items()
                ]
        return found

    def given_openly(self) -> dict[str, object]:
        """Return the values of the variables that are set, except secrets.

        Groups with a secret are left out: they cannot be used without it.
        """
        found: dict[str, object] = {}
        for name in self.model_fields_set:
            value = getattr(self, name)
            if isinstance(value, Group):
                fields = type(value).model_fields.values()
                if not any(_is_secret(each.annotation) for each in fields):
                    found |= {
                        _variable(name, inner): getattr(value, inner)
                        for inner in value.model_fields_set
                    }
            elif not _is_secret(type(self).model_fields[name].annotation):
                found[_variable(name)] = value
        return {name: value for name, value in found.items() if value is not None}

    @property
    def proxy_networks(self) -> list[ipaddress.IPv4Network | ipaddress.IPv6Network]:
        """The networks of proxies whose ``X-Forwarded-For`` is trusted."""
        parts = re.split(r"[\s,]+", self.trusted_proxies)
        return [ipaddress.ip_network(part) for part in parts if part]

    @property
    def instance_port_range(self) -> range:
        """The ports of dedicated and further shared clusters."""
        first, last = map(int, self.instance_ports.split("-"))
        return range(first, last + 1)

    @property
    def engines_dir(self) -> Path:
        """The folder of engines built on this machine."""
        return self.engines or self.home / "engines"

    @property
    def repository_dir(self) -> Path:
        """The folder of the local repository of physical backups."""
        return self.backup.dir or self.home / "backups" / "repository"

    @property
    def local_api(self) -> LocalApi:
        """The API's address for a client on this machine."""
        return LocalApi(self.home, self.domain, self.api.host, self.api.port)

    @property
    def api_tls(self) -> bool:
        """Whether the API uses TLS: whenever other machines can reach it."""
        return self.local_api.tls

    def rest_url(self, database_name: str) -> str:
        """Return the URL of the data API of a database, for its clients."""
        scheme = "https" if self.rest_tls else "http"
        return f"{scheme}://{in_url(self.domain)}:{self.rest.port}/{database_name}/rest/v1"

    @property
    def rest_tls(self) -> bool:
        """Whether the data API uses TLS: whenever other machines can reach it."""
        return not is_loopback(self.rest.host)

    @property
    def is_local(self) -> bool:
        """Whether the connection strings that it issues lead only to this machine."""
        return is_loopback(self.domain)

    @property
    def api_url(self) -> str:
        """The API's URL for a client on this machine."""
        return self.local_api.url


def load() -> Settings:
    """Return the settings in force.

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
        wrong = "; ".join(map(_described, error.errors(include_url=False, include_input=False)))
        raise MachineError(
            f"These settings cannot be used: {wrong}.",
            hint=f"Fix them in the environment or in {home / 'tenantry.env'}.",
        ) from None
    except OSError as error:
        raise MachineError(
            f"{home / 'tenantry.env'} cannot be read: {error.strerror}.",
            hint="Give its owner the right to read it, or set TENANTRY_HOME to another folder.",
        ) from None


def _described(wrong: "ErrorDetails") -> str:
    """Describe one wrong setting. Errors about several settings name them themselves."""
    what = wrong["msg"].removeprefix("Value error, ")
    if wrong["type"] == "missing":
        what = "is missing, and others of its group need it"
    return f"{_variable(*map(str, wrong['loc']))} {what}" if wrong["loc"] else what


def _variable(*path: str) -> str:
    return f"TENANTRY_{'_'.join(path).upper()}"


def _group_in(annotation: object) -> type[Group] | None:
    for each in (annotation, *get_args(annotation)):
        if isinstance(each, type) and issubclass(each, Group):
            return each
    return None


def _is_secret(annotation: object) -> bool:
    if isinstance(annotation, type) and issubclass(annotation, SecretStr | SecretBytes):
        return True
    return any(map(_is_secret, get_args(annotation)))
