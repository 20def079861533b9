"""Settings: ``TENANTRY_…`` variables, or the same names in ``$TENANTRY_HOME/tenantry.env``."""

import ipaddress
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Self, get_args

from pydantic import (
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
from tenantry.base.local_api import (
    LONGEST_HOME,
    LONGEST_HOST,
    LocalApi,
    default_home,
    is_loopback,
)
from tenantry.base.networks import in_url
from tenantry.base.setting_groups import (
    Acme,
    Alert,
    Api,
    Backup,
    BackupS3,
    Cache,
    Concurrent,
    Customer,
    Embedder,
    Group,
    Instance,
    Pool,
    Rates,
    Redis,
    Rest,
    Restart,
    Session,
    Smtp,
)
from tenantry.base.setting_types import TIME, Port, WholePath

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

_FIRST_OPEN_PORT = 1024  # by default: ip(7), ip_unprivileged_port_start
HTTPS = 443  # the port that URLs do not name
_HOST_NAME = re.compile(r"(?!-)[a-z0-9-]{1,63}(?<!-)(\.(?!-)[a-z0-9-]{1,63}(?<!-))*")
# A name that authorities certify: not localhost, and not an address (its last part is digits).
_CERTIFIABLE = re.compile(r".+\.(?=[a-z0-9-]*[a-z])[a-z0-9-]+")
_LONGEST_LABEL = 63
_IMAGE = r"^[a-zA-Z0-9][a-zA-Z0-9._/:@{}-]*$"  # an argument of docker pull, and {version}
_WINDOW = rf"^(off|{TIME}-{TIME})$"


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
    instance: Instance = Instance()
    postgres_image: Annotated[str, Field(pattern=_IMAGE)] | None = None
    connections_per_address: Annotated[int, Field(ge=10, le=65_535)] | None = None
    cache: Cache = Cache()
    redis: Redis = Redis()
    embedder: Embedder = Embedder()
    warm_pool: Annotated[int, Field(ge=0, le=500)] = 16
    branches: Annotated[int, Field(ge=0, le=1000)] = 10
    customer: Customer = Customer()
    engines: Path | None = None
    blueprints: WholePath | None = None
    backups: bool = True
    backup: Backup = Backup()
    backup_s3: BackupS3 | None = None
    replaced_days: Annotated[int, Field(ge=1, le=3650)] | None = None
    drill_time: Annotated[str, Field(pattern=rf"^(off|{TIME})$")] = "04:00"
    maintenance_window: Annotated[str, Field(pattern=_WINDOW)] = "03:00-04:00"
    restart: Restart = Restart()
    import_private: bool = False
    password_days: Annotated[int, Field(ge=0, le=3650)] = 90
    audit_days: Annotated[int, Field(ge=30, le=36_500)] = 365
    memory_mb: Annotated[int, Field(ge=256)] | None = None
    disk_reserve_mb: Annotated[int, Field(ge=0, le=65_536)] = 256
    queued_minutes: Annotated[int, Field(ge=0, le=1440)] = 5
    rate: Rates = Rates()
    concurrent: Concurrent = Concurrent()
    session: Session = Session()
    acme: Acme = Acme()
    smtp: Smtp | None = None
    alert: Alert = Alert()
    certificate: WholePath | None = None
    certificate_key: WholePath | None = None
    edge: bool = False
    edge_http_port: Port = 80
    edge_https_port: Port = 443
    edge_challenge_port: Port = 3003
    edge_sql: bool = False
    edge_sql_port: Port = 5432

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
        if _is_address(name):
            return str(ipaddress.ip_address(name))
        if len(name) > LONGEST_HOST or not _HOST_NAME.fullmatch(name):
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

    @model_validator(mode="after")
    def _edge_has_names(self) -> Self:
        if not self.edge:
            if self.edge_sql:
                raise ValueError("TENANTRY_EDGE_SQL needs TENANTRY_EDGE=on")
            return self
        if "domain" not in self.model_fields_set or _is_address(self.domain):
            raise ValueError(
                "TENANTRY_EDGE needs a host name such as example.com as TENANTRY_DOMAIN"
            )
        ports = {self.edge_http_port, self.edge_https_port, self.edge_challenge_port}
        others = {self.api.port, self.rest.port, self.cache.port, self.pg_port, self.pool.port}
        if len(ports) < 3 or ports & others:  # noqa: PLR2004 (all of them differ)
            raise ValueError(
                "TENANTRY_EDGE_HTTP_PORT, TENANTRY_EDGE_HTTPS_PORT and TENANTRY_EDGE_CHALLENGE_PORT"
                " are not three ports that no other setting has"
            )
        return self._sql_has_names(ports | others)

    def _sql_has_names(self, others: set[int]) -> Self:
        if self.edge_sql and self.instance_domain is None:
            raise ValueError(
                "TENANTRY_EDGE_SQL needs a name such as example.com as TENANTRY_DOMAIN, and"
                " TENANTRY_INSTANCE_HOSTS=on"
            )
        if self.edge_sql and self.edge_sql_port in {*others, *self.instance_port_range}:
            raise ValueError(
                f"TENANTRY_EDGE_SQL_PORT ({self.edge_sql_port}) is also another setting's, such as"
                " TENANTRY_PG_PORT: give one of them another port, such as TENANTRY_PG_PORT=5433"
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
        first, last = map(int, self.instance.ports.split("-"))
        return range(first, last + 1)

    @property
    def instance_domain(self) -> str | None:
        """The domain below which instances have host names; None if they have none."""
        domain = f"db.{self.domain}"
        fits = _LONGEST_LABEL + len(f".{domain}") <= LONGEST_HOST
        has_records = _CERTIFIABLE.fullmatch(self.domain) is not None
        return domain if self.instance.hosts and has_records and fits else None

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
        return f"{self._rest_of(database_name)}/rest/v1"

    def auth_url(self, database_name: str) -> str:
        """Return the URL at which the users of a database's application sign in."""
        return f"{self._rest_of(database_name)}/auth/v1"

    def _rest_of(self, database_name: str) -> str:
        if self.edge:
            return self.edge_url(rest_name(database_name))
        return f"{self.rest_root}/{database_name}"

    def edge_url(self, name: str) -> str:
        """Return the URL of a name below the domain, which the edge serves."""
        port = "" if self.edge_https_port == HTTPS else f":{self.edge_https_port}"
        return f"https://{name}.{self.domain}{port}"

    @property
    def edge_on_low_ports(self) -> bool:
        """Whether the edge listens on a port that not every user may listen on."""
        return self.edge and min(self.edge_ports) < _FIRST_OPEN_PORT

    @property
    def edge_ports(self) -> tuple[int, ...]:
        """The ports that the edge listens on; none if it is off."""
        if not self.edge:
            return ()
        sql = (self.edge_sql_port,) if self.edge_sql else ()
        return (self.edge_http_port, self.edge_https_port, *sql)

    @property
    def challenge_port(self) -> int:
        """The port at which challenges are answered: the edge, which has its own, passes them on.

        Another port than the edge's is one that something else passes them to.
        """
        behind = self.edge and self.acme.http_port == self.edge_http_port
        return self.edge_challenge_port if behind else self.acme.http_port

    @property
    def rest_root(self) -> str:
        """Return the URL of the data API, below which that of each database is.

        With the edge each database has a host name of its own instead, for which there is a ``*``.
        """
        if self.edge:
            return self.edge_url("*.rest")
        scheme = "https" if self.rest_tls else "http"
        return f"{scheme}://{in_url(self.domain)}:{self.rest.port}"

    @property
    def rest_tls(self) -> bool:
        """Whether the data API uses TLS: whenever other machines can reach it."""
        return not is_loopback(self.rest.host)

    @property
    def cache_tls(self) -> bool:
        """Whether the AI cache uses TLS: whenever other machines can reach it."""
        return not is_loopback(self.cache.host)

    @property
    def cache_url(self) -> str:
        """The root of the AI cache's URLs, for its clients."""
        if self.edge:
            return self.edge_url("cache")
        scheme = "https" if self.cache_tls else "http"
        return f"{scheme}://{in_url(self.domain)}:{self.cache.port}"

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


def rest_name(database_name: str) -> str:
    """Return the host name of a database's data API at the edge, below the domain."""
    return f"{database_name.replace('_', '-')}.rest"


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


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
