"""The edge's configuration, rendered whole from what it has to serve. Pure.

Traefik reads two files: one at its start, and one that it follows. Both are JSON, which is YAML
too. The second has a revision, at which the edge answers programs of this machine once the file
is in force.
"""

import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tenantry.base.local_api import reached_at
from tenantry.base.networks import in_url
from tenantry.base.settings import HTTPS, rest_name
from tenantry.services.clusters.sql_routes import SqlRoute
from tenantry.services.requests.proxies import EDGE_HEADER

FIXED = ("api", "console", "cache")  # names below the domain
REVISIONS = "/.well-known/tenantry-edge"

# From a connection until its ClientHello is there: what waits longer is ended. Otherwise a client
# that waits would be let in by an allowlist of before.
HELLO_SECONDS = 5

_HTTP, _HTTPS, _SQL = "http", "https", "sql"  # the entry points
_HEADERS, _REDIRECT, _TRANSPORT = "platform", "to-https", "platform"
_CHALLENGES = "/.well-known/acme-challenge/"
_HSTS_SECONDS = 365 * 86_400
# An upload may take as long. A client that is silent has as long, too: as many as there are
# descriptors, unless TENANTRY_CONNECTIONS_PER_ADDRESS limits them.
_UPLOAD_SECONDS = 3600
_IDLE_SECONDS = 60
_GRACE_SECONDS = 5
_REVISION = re.compile(r"# revision ([0-9a-f]{16})\n")


@dataclass(frozen=True, slots=True)
class Backend:
    """A server of the platform, to which the edge passes requests on."""

    host: str
    port: int
    tls: bool

    @property
    def url(self) -> str:
        return f"{'https' if self.tls else 'http'}://{in_url(reached_at(self.host))}:{self.port}"


@dataclass(frozen=True, slots=True)
class EdgeConfig:
    """What the edge has to serve.

    ``rest`` and ``cache`` are None while they do not run, ``challenge_port`` where no authority
    asks over HTTP. ``certificates`` are files with their fingerprints. ``roots`` verify backends
    with TLS, by the domain's name. ``proxies`` are networks whose forwarded headers it trusts.
    ``sql`` are the ways to instances at ``sql_port``, which is None where none are served.
    """

    folder: Path
    domain: str
    http_port: int
    https_port: int
    key: str = field(repr=False)
    api: Backend
    rest: Backend | None
    cache: Backend | None
    challenge_port: int | None
    certificates: tuple[tuple[Path, str], ...]
    roots: str
    proxies: tuple[str, ...]
    backend_idle_seconds: int
    sql_port: int | None = None
    sql: tuple[SqlRoute, ...] = ()

    @property
    def revision_ports(self) -> list[int]:
        """The ports at which the revision in force is asked for: each changes by itself."""
        return [self.http_port, *([] if self.sql_port is None else [self.sql_port])]

    @property
    def static_file(self) -> Path:
        return self.folder / "traefik.yml"

    @property
    def dynamic_file(self) -> Path:
        return self.folder / "routes.yml"


def fixed_names(domain: str) -> list[str]:
    """Return the host names that there are always."""
    return [f"{name}.{domain}" for name in FIXED]


def host_of(database_name: str, domain: str) -> str:
    """Return the host name of a database's data API."""
    return f"{rest_name(database_name)}.{domain}"


def hosts_lines(domain: str, databases: Iterable[str], instances: Iterable[str] = ()) -> list[str]:
    """Return lines for a hosts file, which has no wildcards; ``instances`` are host names."""
    own = [] if domain == "localhost" else [domain]
    names = [*own, *fixed_names(domain), *(host_of(each, domain) for each in databases), *instances]
    return [f"127.0.0.1 {name}" for name in names]


def is_local(domain: str) -> bool:
    """Whether a domain is this machine's only (RFC 6761, section 6.3)."""
    return domain == "localhost" or domain.endswith(".localhost")


def static(config: EdgeConfig) -> str:
    """Return what Traefik reads at its start."""
    timeouts = {"readTimeout": f"{_UPLOAD_SECONDS}s", "idleTimeout": f"{_IDLE_SECONDS}s"}
    entry_point = {
        "transport": {
            "respondingTimeouts": timeouts,
            "lifeCycle": {"graceTimeOut": f"{_GRACE_SECONDS}s"},
        },
        "forwardedHeaders": {"trustedIPs": list(config.proxies)},
        "http": {
            # Some programs make no difference between X_Forwarded_For and X-Forwarded-For.
            "aliasHeadersStrategy": "delete",
            # A semicolon in a filter of a data API would become an ampersand.
            "encodeQuerySemicolons": True,
        },
    }
    return _rendered(
        {
            "global": {"checkNewVersion": False, "sendAnonymousUsage": False},
            "entryPoints": {
                _HTTP: {"address": f":{config.http_port}", **entry_point},
                _HTTPS: {"address": f":{config.https_port}", **entry_point},
                **_sql_entry_point(config),
            },
            "providers": {
                "providersThrottleDuration": "200ms",
                "file": {"filename": str(config.dynamic_file), "watch": True},
            },
            "ping": {"manualRouting": True},
            "log": {"level": "WARN", "noColor": True},
        }
    )


def _sql_entry_point(config: EdgeConfig) -> dict[str, Any]:
    if config.sql_port is None:
        return {}
    transport = {
        "respondingTimeouts": {"readTimeout": f"{HELLO_SECONDS}s"},
        "lifeCycle": {"graceTimeOut": f"{_GRACE_SECONDS}s"},
    }
    http = {"aliasHeadersStrategy": "delete"}  # of the revision's; else it is warned of
    return {_SQL: {"address": f":{config.sql_port}", "transport": transport, "http": http}}


def dynamic(config: EdgeConfig) -> str:
    """Return what Traefik follows. Its first lines are the revision and the fingerprints.

    With them a renewed certificate changes the file, whose new content is read only then.
    """
    shown = "".join(f"# certificate {fingerprint}\n" for _, fingerprint in config.certificates)
    routes = _routes(config)
    revision = hashlib.sha256(f"{shown}{_rendered(routes)}".encode()).hexdigest()[:16]
    routes["http"]["routers"]["revision"] = {
        "rule": f"Path(`{REVISIONS}/{revision}`) && (ClientIP(`127.0.0.0/8`) || ClientIP(`::1`))",
        "entryPoints": [_HTTP] if config.sql_port is None else [_HTTP, _SQL],
        "service": "ping@internal",
        "priority": 30,
    }
    return f"# revision {revision}\n{shown}{_rendered(routes)}"


def revision_of(dynamic_text: str) -> str | None:
    """Return the revision of a file that ``dynamic`` has rendered; None for anything else."""
    found = _REVISION.match(dynamic_text)
    return found[1] if found else None


def _rendered(config: dict[str, Any]) -> str:
    # Traefik takes the second file for a template of Go, which begins with two braces.
    return json.dumps(config, indent=1).replace("{{", '{{"{{"}}') + "\n"


def _routes(config: EdgeConfig) -> dict[str, Any]:
    backends = {"api": config.api, "rest": config.rest, "cache": config.cache}
    running = {name: each for name, each in backends.items() if each is not None}
    routers = {
        name: _router(rule, service)
        for name, rule, service in (
            ("api", _host("api", config), "api"),
            ("console", _host("console", config), "api"),
            ("cache", _host("cache", config), "cache"),
            # One route for all databases: the data API finds the one of a host name.
            ("rest", _any_host(r"[a-z0-9-]+\.rest", config), "rest"),
        )
        if service in running
    }
    services = {name: _service(each.url) for name, each in running.items()}
    names = rf"({'|'.join(FIXED)}|[a-z0-9-]+\.rest)"
    routers["redirect"] = {
        "rule": _any_host(names, config),
        "entryPoints": [_HTTP],
        "middlewares": [_REDIRECT],
        "service": "noop@internal",
        "priority": 10,
    }
    if config.challenge_port is not None:
        routers["challenges"] = {
            "rule": f"PathPrefix(`{_CHALLENGES}`)",
            "entryPoints": [_HTTP],
            "service": "challenges",
            "priority": 20,
        }
        services["challenges"] = _service(f"http://127.0.0.1:{config.challenge_port}")
    return {
        "http": {
            "routers": routers,
            "middlewares": _middlewares(config),
            "services": services,
            "serversTransports": {_TRANSPORT: _transport(config)},
        },
        **_sql_routes(config.sql),
        "tls": {
            "options": {"default": {"minVersion": "VersionTLS12", "sniStrict": True}},
            "certificates": [
                {"certFile": str(path), "keyFile": str(path)} for path, _ in config.certificates
            ],
        },
    }


def _sql_routes(routes: Iterable[SqlRoute]) -> dict[str, Any]:
    """Return the ways to instances: TLS is theirs, and is not decrypted here."""
    tcp: dict[str, Any] = {"routers": {}, "services": {}, "middlewares": {}}
    for each in routes:
        name = each.cluster
        listed = [] if each.networks is None else [name]
        tcp["routers"][name] = {
            "rule": f"HostSNI(`{each.host}`)",
            "entryPoints": [_SQL],
            "middlewares": listed,
            "service": name,
            "tls": {"passthrough": True},
        }
        tcp["services"][name] = {
            "loadBalancer": {"servers": [{"address": f"127.0.0.1:{each.port}"}]}
        }
        if each.networks is not None:
            tcp["middlewares"][name] = {"ipAllowList": {"sourceRange": list(each.networks)}}
    # Traefik takes an empty section for a mistake.
    found = {kind: them for kind, them in tcp.items() if them}
    return {"tcp": found} if found else {}


def _host(name: str, config: EdgeConfig) -> str:
    return f"Host(`{name}.{config.domain}`)"


def _any_host(pattern: str, config: EdgeConfig) -> str:
    domain = config.domain.replace(".", r"\.")
    return rf"HostRegexp(`^{pattern}\.{domain}$`)"


def _router(rule: str, service: str) -> dict[str, Any]:
    return {
        "rule": rule,
        "entryPoints": [_HTTPS],
        "middlewares": [_HEADERS],
        "service": service,
        "tls": {},
    }


def _service(url: str) -> dict[str, Any]:
    return {"loadBalancer": {"servers": [{"url": url}], "serversTransport": _TRANSPORT}}


def _middlewares(config: EdgeConfig) -> dict[str, Any]:
    return {
        _HEADERS: {
            "headers": {
                # Without Connection, in which a client could name the header of the key: those
                # that it names are removed before a request is passed on.
                "customRequestHeaders": {EDGE_HEADER: config.key, "Connection": ""},
                "stsSeconds": _HSTS_SECONDS,
                "contentTypeNosniff": True,
                "frameDeny": True,
                "referrerPolicy": "same-origin",
            }
        },
        _REDIRECT: {
            "redirectScheme": {
                "scheme": "https",
                **({} if config.https_port == HTTPS else {"port": str(config.https_port)}),
                "permanent": True,
            }
        },
    }


def _transport(config: EdgeConfig) -> dict[str, Any]:
    # It closes idle connections before our servers do: a request that is sent while they do is
    # lost, and only those without a body are repeated.
    idle = {"forwardingTimeouts": {"idleConnTimeout": f"{config.backend_idle_seconds / 2}s"}}
    if not config.roots:
        return idle
    return {**idle, "serverName": config.domain, "rootCAs": [config.roots]}
