"""The edge's configuration: what it serves, and what it never does."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tenantry.host import environment
from tenantry.services.clusters.sql_routes import LINGER_SECONDS, SqlRoute
from tenantry.services.edge import plan
from tenantry.services.edge.plan import Backend, EdgeConfig

KEY = "5f" * 32
CONFIG = EdgeConfig(
    folder=Path("/srv/home/edge"),
    domain="db.example.com",
    http_port=80,
    https_port=443,
    key=KEY,
    api=Backend("127.0.0.1", 3000, tls=False),
    rest=Backend("127.0.0.1", 3001, tls=False),
    cache=Backend("127.0.0.1", 3002, tls=False),
    challenge_port=None,
    certificates=(
        (Path("/srv/home/edge/fixed.pem"), "aa"),
        (Path("/srv/home/edge/rest.pem"), "bb"),
    ),
    roots="",
    proxies=(),
    backend_idle_seconds=5,
)


def read(text: str) -> dict[str, Any]:
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    found: dict[str, Any] = json.loads("\n".join(lines))
    return found


def routers(config: EdgeConfig) -> dict[str, Any]:
    found: dict[str, Any] = read(plan.dynamic(config))["http"]["routers"]
    return found


def test_it_reports_to_nobody_and_has_no_dashboard() -> None:
    static = read(plan.static(CONFIG))
    assert static["global"] == {"checkNewVersion": False, "sendAnonymousUsage": False}
    assert not {"api", "metrics", "tracing", "certificatesResolvers"} & set(static)


def test_each_name_leads_to_its_server() -> None:
    found = routers(CONFIG)
    assert {name: (each["rule"], each["service"]) for name, each in found.items()} == {
        "api": ("Host(`api.db.example.com`)", "api"),
        "console": ("Host(`console.db.example.com`)", "api"),
        "cache": ("Host(`cache.db.example.com`)", "cache"),
        "rest": (r"HostRegexp(`^[a-z0-9-]+\.rest\.db\.example\.com$`)", "rest"),
        "redirect": (
            r"HostRegexp(`^(api|console|cache|[a-z0-9-]+\.rest)\.db\.example\.com$`)",
            "noop@internal",
        ),
        "revision": (found["revision"]["rule"], "ping@internal"),
    }
    over_https = {name for name, each in found.items() if each["entryPoints"] == ["https"]}
    assert over_https == {"api", "console", "cache", "rest"}
    assert all(found[name]["middlewares"] == ["platform"] for name in over_https)


def test_what_does_not_run_has_no_route() -> None:
    found = read(plan.dynamic(replace(CONFIG, rest=None, cache=None)))["http"]
    assert set(found["routers"]) == {"api", "console", "redirect", "revision"}
    assert set(found["services"]) == {"api"}


def test_challenges_come_before_the_redirect_where_an_authority_asks_over_http() -> None:
    found = read(plan.dynamic(replace(CONFIG, challenge_port=3003)))["http"]
    challenges, redirect = found["routers"]["challenges"], found["routers"]["redirect"]
    assert challenges["priority"] > redirect["priority"]
    (server,) = found["services"]["challenges"]["loadBalancer"]["servers"]
    assert server == {"url": "http://127.0.0.1:3003"}


def test_a_client_cannot_send_the_key_nor_have_it_removed() -> None:
    headers = read(plan.dynamic(CONFIG))["http"]["middlewares"]["platform"]["headers"]
    assert headers["customRequestHeaders"] == {"X-Tenantry-Edge": KEY, "Connection": ""}
    assert KEY not in repr(CONFIG)


@pytest.mark.parametrize(("https_port", "named"), [(443, None), (8443, "8443")])
def test_a_redirect_names_the_port_if_it_is_unusual(https_port: int, named: str | None) -> None:
    found = read(plan.dynamic(replace(CONFIG, https_port=https_port)))["http"]["middlewares"]
    assert found["to-https"]["redirectScheme"].get("port") == named


def test_servers_with_tls_are_verified() -> None:
    config = replace(CONFIG, api=Backend("::", 3000, tls=True), roots="-----BEGIN")
    found = read(plan.dynamic(config))["http"]
    assert found["services"]["api"]["loadBalancer"]["servers"] == [
        {"url": "https://127.0.0.1:3000"}
    ]
    transport = found["serversTransports"]["platform"]
    assert (transport["serverName"], transport["rootCAs"]) == ("db.example.com", ["-----BEGIN"])
    assert Backend("2001:db8::1", 3000, tls=True).url == "https://[2001:db8::1]:3000"


def test_a_revision_is_of_all_that_is_served() -> None:
    revisions = {
        plan.revision_of(plan.dynamic(config))
        for config in (
            CONFIG,
            replace(CONFIG, rest=None),
            replace(CONFIG, key="0" * 64),
            replace(CONFIG, certificates=((Path("/srv/home/edge/fixed.pem"), "cc"),)),
        )
    }
    assert len(revisions) == 4
    assert None not in revisions
    assert plan.revision_of("routes: {}\n") is None


def test_nothing_in_it_is_a_template() -> None:
    path = Path("/srv/{{ env `SECRET` }}/fixed.pem")
    text = plan.dynamic(replace(CONFIG, certificates=((path, "aa"),)))
    assert set(re.findall(r"\{\{.*?\}\}", text)) == {'{{"{{"}}'}


def test_an_instance_is_led_to_by_its_name_and_its_own_list() -> None:
    assert "sql" not in read(plan.static(CONFIG))["entryPoints"]
    assert "tcp" not in read(plan.dynamic(CONFIG))
    shop = SqlRoute(cluster="i1", host="shop.db.example.com", port=5500)
    crm = SqlRoute(cluster="i2", host="crm.db.example.com", port=5501, networks=("192.0.2.0/24",))
    config = replace(CONFIG, sql_port=5432, sql=(shop, crm))
    entry_point = read(plan.static(config))["entryPoints"]["sql"]
    assert entry_point["address"] == ":5432"
    assert entry_point["transport"]["respondingTimeouts"] == {"readTimeout": "5s"}
    assert plan.HELLO_SECONDS < LINGER_SECONDS
    found = read(plan.dynamic(config))
    assert found["tcp"]["routers"] == {
        "i1": {
            "rule": "HostSNI(`shop.db.example.com`)",
            "entryPoints": ["sql"],
            "middlewares": [],
            "service": "i1",
            "tls": {"passthrough": True},
        },
        "i2": {
            "rule": "HostSNI(`crm.db.example.com`)",
            "entryPoints": ["sql"],
            "middlewares": ["i2"],
            "service": "i2",
            "tls": {"passthrough": True},
        },
    }
    assert found["tcp"]["middlewares"] == {"i2": {"ipAllowList": {"sourceRange": ["192.0.2.0/24"]}}}
    servers = {
        name: each["loadBalancer"]["servers"] for name, each in found["tcp"]["services"].items()
    }
    assert servers == {
        "i1": [{"address": "127.0.0.1:5500"}],
        "i2": [{"address": "127.0.0.1:5501"}],
    }
    # Each port is asked: they change one after the other.
    assert found["http"]["routers"]["revision"]["entryPoints"] == ["http", "sql"]
    assert config.revision_ports == [80, 5432]
    others = {
        plan.revision_of(plan.dynamic(replace(config, sql=sql)))
        for sql in ((), (shop,), (shop, crm), (shop, crm.model_copy(update={"networks": None})))
    }
    assert len(others) == 4
    # When a list was changed is not what the edge serves by.
    noted = replace(config, sql=(shop, crm.model_copy(update={"since": 1.0})))
    assert plan.dynamic(noted) == plan.dynamic(config)


def test_a_hosts_file_has_a_line_for_each_name() -> None:
    assert plan.hosts_lines("db.localhost", ["tenant_b7"]) == [
        "127.0.0.1 db.localhost",
        "127.0.0.1 api.db.localhost",
        "127.0.0.1 console.db.localhost",
        "127.0.0.1 cache.db.localhost",
        "127.0.0.1 tenant-b7.rest.db.localhost",
    ]
    assert plan.hosts_lines("a.localhost", [], ["shop.db.a.localhost"])[-1].endswith(
        " shop.db.a.localhost"
    )
    assert plan.hosts_lines("localhost", [])[0] == "127.0.0.1 api.localhost"


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("TENANTRY_EDGE=on", True),
        (' TENANTRY_EDGE = "True" ', True),
        ("TENANTRY_EDGE='1'", True),
        ("TENANTRY_EDGE=off", False),
        ("#TENANTRY_EDGE=on", False),
        ("TENANTRY_EDGE_HTTP_PORT=8080", False),
        ("", False),
    ],
)
def test_the_launcher_sees_whether_it_has_to_install_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, line: str, *, wanted: bool
) -> None:
    monkeypatch.delenv("TENANTRY_EDGE", raising=False)
    (tmp_path / "tenantry.env").write_text(f"TENANTRY_DOMAIN=example.com\n{line}\n")
    assert environment.wants_edge(tmp_path) is wanted
    monkeypatch.setenv("TENANTRY_EDGE", "off")
    assert environment.wants_edge(tmp_path) is False
