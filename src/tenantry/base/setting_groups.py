"""Groups of settings, whose variables share a prefix: ``TENANTRY_ACME_EMAIL`` is ``acme.email``."""

from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from tenantry.base.setting_types import (
    TIME,
    OneLine,
    Percent,
    Port,
    PortRange,
    Rate,
    Weekday,
    WholePath,
    Word,
)


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
    """The data API's address, its processes, and the memory that schemas take in all of them.

    ``processes`` is by default a number that follows from the processors. Without ``mail`` users of
    applications get no e-mails, whatever the mail server is used for besides.
    """

    host: str = "127.0.0.1"
    port: Port = 3001
    processes: Annotated[int, Field(ge=1, le=32)] | None = None
    cache_mb: Annotated[int, Field(ge=8, le=65_536)] = 150
    mail: bool = True


class Cache(Group):
    """The address of the AI cache."""

    host: str = "127.0.0.1"
    port: Port = 3002


class Redis(Group):
    """The first port of the AI cache's sites, and the memory that they may have together."""

    port: Port = 6379
    memory_mb: Annotated[int, Field(ge=8, le=1_048_576)] | None = None


class Pool(Group):
    """The pooler's port and limits."""

    port: Port = 6432
    packet_mb: Annotated[int, Field(ge=1, le=1024)] = 64
    memory_mb: Annotated[int, Field(ge=64, le=65_536)] = 256


class Instance(Group):
    """Ports of dedicated and further shared clusters; the version and memory of instances.

    ``memory_mb`` is that of an instance that asks for none, ``total_mb`` the most of all together.
    ``hosts`` is whether instances have host names of their own below the domain.
    """

    ports: PortRange = "5500-5999"
    version: Annotated[int, Field(ge=15, le=99)] | None = None
    memory_mb: Annotated[int, Field(ge=128, le=16_777_216)] = 512
    total_mb: Annotated[int, Field(ge=0, le=16_777_216)] | None = None
    hosts: bool = True


class Embedder(Group):
    """What embeds the questions of the AI cache: a server, a model's folder, or the installed one.

    ``url`` is that of an API such as OpenAI's, with the version: https://…/v1.
    """

    folder: WholePath | None = None
    url: Annotated[str, Field(pattern=r"^https?://[^\s/?#@]+(/[^\s?#]*)?$")] | None = None
    model: Word | None = None
    key: OneLine | None = None

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        if self.url is not None and (self.model is None or self.folder is not None):
            raise ValueError("takes either a url with a model, or a folder")
        return self


class Customer(Group):
    """Limits of each customer."""

    databases: Annotated[int, Field(ge=1, le=100_000)] = 100
    sites: Annotated[int, Field(ge=0, le=10_000)] = 10
    backup_gb: Annotated[int, Field(ge=1, le=1_000_000)] = 100


class Backup(Group):
    """When physical backups are made, their retention, and their folder."""

    time: Annotated[str, Field(pattern=rf"^{TIME}$")] = "02:00"
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
