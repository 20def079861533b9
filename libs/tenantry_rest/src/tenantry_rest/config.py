"""The settings of a server, from PostgREST's own variables, files and database settings."""

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

ALIASES = {
    "db-schema": "db-schemas",
    "db-pool-timeout": "db-pool-max-idletime",
    "max-rows": "db-max-rows",
    "pre-request": "db-pre-request",
    "role-claim-key": "jwt-role-claim-key",
    "root-spec": "db-root-spec",
    "secret-is-base64": "jwt-secret-is-base64",
    "server-proxy-uri": "openapi-server-proxy-uri",
}
HOISTED = "statement_timeout, plan_filter.statement_cost_limit, default_transaction_isolation"
CHOICES = {
    "db_tx_end": ("commit", "commit-allow-override", "rollback", "rollback-allow-override"),
    "openapi_mode": ("follow-privileges", "ignore-privileges", "disabled"),
    "log_level": ("crit", "error", "warn", "info", "debug"),
    "client_error_verbosity": ("verbose", "minimal"),
}

CATALOGS = {"pg_catalog", "information_schema"}


class BadConfig(Exception):
    """A setting has a value that it cannot have."""


@dataclass(frozen=True)
class Config:
    """PostgREST's options, by their names with underscores.

    ``db_max_bytes``, of a body, is an option of ours: PostgreSQL sends no larger one.
    """

    db_uri: str = "postgresql://"
    db_schemas: tuple[str, ...] = ("public",)
    db_anon_role: str = ""
    db_extra_search_path: tuple[str, ...] = ("public",)
    db_pre_request: str = ""
    db_root_spec: str = ""
    db_max_rows: int | None = None
    db_max_bytes: int | None = None
    db_plan_enabled: bool = False
    db_aggregates_enabled: bool = False
    db_tx_end: str = "commit"
    db_prepared_statements: bool = True
    db_hoisted_tx_settings: tuple[str, ...] = tuple(HOISTED.split(", "))
    db_pool: int = 10
    db_pool_acquisition_timeout: int = 10
    db_pool_max_idletime: int = 30
    db_pool_max_lifetime: int = 1800
    db_pool_automatic_recovery: bool = True
    db_channel: str = "pgrst"
    db_channel_enabled: bool = True
    db_config: bool = True
    db_pre_config: str = ""
    jwt_secret: str = ""
    jwt_secret_is_base64: bool = False
    jwt_aud: str = ""
    jwt_role_claim_key: str = "$.role"
    jwt_cache_max_entries: int = 1000
    openapi_mode: str = "follow-privileges"
    openapi_security_active: bool = False
    openapi_server_proxy_uri: str = ""
    server_host: str = "!4"
    server_port: int = 3000
    server_unix_socket: str = ""
    server_unix_socket_mode: str = "660"
    server_reuseport: bool = False
    server_trace_header: str = ""
    server_timing_enabled: bool = False
    server_cors_allowed_origins: tuple[str, ...] = ()
    admin_server_host: str = ""
    admin_server_port: int | None = None
    log_level: str = "error"
    log_query: str = "disabled"
    client_error_verbosity: str = "verbose"
    url_use_legacy_target_names: bool = True
    app_settings: tuple[tuple[str, str], ...] = field(default=())

    @property
    def allows_tx_override(self) -> bool:
        return self.db_tx_end.endswith("-allow-override")

    @property
    def rolls_back(self) -> bool:
        return self.db_tx_end.startswith("rollback")

    @property
    def minimal_errors(self) -> bool:
        return self.client_error_verbosity == "minimal"

    def secret(self) -> bytes:
        """The key or the JWK set that tokens are verified with; empty if there is none."""
        if not self.jwt_secret_is_base64:
            return self.jwt_secret.encode()
        text = self.jwt_secret.translate(str.maketrans("_-.", "/+="))
        try:
            return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
        except ValueError as error:
            message = "jwt-secret is not base64, which jwt-secret-is-base64 says it is"
            raise BadConfig(message) from error


def read_config(text: str = "", variables: Mapping[str, str] | None = None) -> Config:
    """The settings of a file's text, and of environment variables, which have precedence."""
    found = parse_file(text)
    for name, value in (variables or {}).items():
        if name.startswith("PGRST_APP_SETTINGS_"):
            found["app.settings." + name.removeprefix("PGRST_APP_SETTINGS_").lower()] = value
        elif name.startswith("PGRST_"):
            found[name.removeprefix("PGRST_").lower().replace("_", "-")] = value
    return override(Config(), found)


def override(config: Config, given: Mapping[str, str]) -> Config:
    """The settings with others in place of some; names that are not PostgREST's are ignored.

    Raises:
        BadConfig: a value is not one that the setting can have.
    """
    defaults = {each.name: each.default for each in fields(Config)}
    changed: dict[str, Any] = {}
    app = dict(config.app_settings)
    for name, value in given.items():
        key = ALIASES.get(name, name).replace("-", "_")
        if name.startswith("app.settings."):
            app[name] = value
        elif key in defaults and key != "app_settings":
            changed[key] = _converted(key, defaults[key], value)
    changed["app_settings"] = tuple(app.items())
    return replace(config, **changed)


def _converted(key: str, default: object, value: str) -> Any:
    if key in {"jwt_secret", "db_uri"} and value.startswith("@"):
        value = Path(value[1:]).read_text(encoding="utf-8").rstrip("\n")
    if key in CHOICES and value not in CHOICES[key]:
        raise BadConfig(f"{key.replace('_', '-')} is one of {', '.join(CHOICES[key])}")
    if isinstance(default, tuple):
        listed = tuple(each.strip() for each in value.split(",") if each.strip())
        if key == "db_schemas" and (refused := sorted(CATALOGS.intersection(listed))):
            raise BadConfig(f"db-schemas cannot have {refused[0]}, which no API is made of")
        return listed
    if isinstance(default, bool):
        return value.strip().lower() in {"true", "1", "t", "yes", "on"}
    if default is None or isinstance(default, int):
        if not value.strip():
            return default
        try:
            return int(value)
        except ValueError as error:
            raise BadConfig(f"{key.replace('_', '-')} is a whole number, not {value}") from error
    return value


_LINE = re.compile(r'\s*([\w.-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^#\s]+))\s*(?:#.*)?$')


def parse_file(text: str) -> dict[str, str]:
    """The settings of PostgREST's configuration file: ``name = "value"``, comments after ``#``.

    Raises:
        BadConfig: a line is neither.
    """
    found = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        matched = _LINE.match(line)
        if matched is None:
            raise BadConfig(f'line {number} is not of the form: name = "value"')
        name, quoted, bare = matched.groups()
        # PostgREST reads a dollar sign as the start of a variable, unless it is written twice.
        found[name] = bare if quoted is None else re.sub(r"\\(.)|\$(\$)", r"\1\2", quoted)
    return found
