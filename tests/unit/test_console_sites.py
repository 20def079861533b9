"""The console's pages of a site of the AI cache, and what of their forms is a change."""

import datetime as dt
import html
import re
import uuid
from dataclasses import replace
from ipaddress import ip_network

import pytest
from test_site_backups_plan import backup

from tenantry.base.errors import InvalidInput
from tenantry.base.secrets import Secret
from tenantry.control.whitelist import EntryRow
from tenantry.services.bodies.site_proxies import UpdateSiteProxy
from tenantry.services.bodies.sites import UpdateSite
from tenantry.services.caching.judging import Certificate, Step
from tenantry.services.caching.upstreams import PROVIDERS, Limits, ProxySettings, Upstream
from tenantry.services.network.model import Preview
from tenantry.services.network.plan import Ending
from tenantry.services.sites.model import Reach, Site, SiteKey
from tenantry.web import pages, site_pages, site_settings
from tenantry.web.routing import read

NOW = dt.datetime(2026, 6, 1, 12, tzinfo=dt.UTC)
SITE = Site(
    id=uuid.UUID(int=5),
    customer_id=None,
    name="shop",
    status="active",
    port=6380,
    memory_mb=32,
    max_clients=100,
    eviction="volatile-lru",
    persistence="none",
    semantic="exact",
    isolation="dedicated",
    networks=[ip_network("203.0.113.7/32")],
    created_at=NOW,
    updated_at=NOW,
)
SHOWN = {
    "name": "shop",
    "memory_mb": "32",
    "max_clients": "100",
    "eviction": "volatile-lru",
    "persistence": "none",
    "semantic": "exact",
}
# What the page's form sends if nothing is typed.
FORM = {"once": "x"} | SHOWN | {f"was_{name}": value for name, value in SHOWN.items()}
PROXY = ProxySettings(
    {
        "openai": Upstream("openai", "https://llm.example.com", Secret("sk-x"), trusted=True),
        "anthropic": Upstream("anthropic", PROVIDERS["anthropic"], None, trusted=True),
    },
    Limits(requests_per_minute=600, most_temperature=0.5),
)
PROXY_SHOWN = {
    "openai_url": "https://llm.example.com",
    "requests_per_minute": "600",
    "most_temperature": "0.5",
}
PROXY_FORM = PROXY_SHOWN | {f"was_{name}": value for name, value in PROXY_SHOWN.items()}


def rendered(template: str, **values: object) -> str:
    return pages._templates.get_template(template).render(
        **{
            "site": SITE,
            "tab": "",
            "may_write": True,
            "may_read_names": True,
            "fragment": False,
            "problem": None,
            "me": None,
            "done": None,
            **values,
        }
    )


def settings_page(site: Site = SITE, **values: object) -> str:
    return rendered(
        "site_settings.html",
        **{
            "site": site,
            "tab": "/settings",
            "proxy": PROXY,
            "defaults": PROVIDERS,
            "evictions": ["volatile-lru", "noeviction"],
            "modes": ["off", "exact"],
            "cache_url": "http://localhost:3002",
            "reach": Reach("allowlist"),
            **values,
        },
    )


def test_only_what_was_changed_in_the_form_of_a_site_is_changed() -> None:
    """What others have changed since the form was loaded stays, whatever it shows."""
    assert site_settings._changes(FORM) == {}
    changes = site_settings._changes(FORM | {"memory_mb": "64", "semantic": "shadow"})
    assert changes == {"memory_mb": "64", "semantic": "shadow"}
    body = read(UpdateSite, {}, **changes)
    assert (body.memory_mb, body.networks) == (64, None)


def test_a_key_of_a_provider_stays_unless_one_is_given_or_it_is_removed() -> None:
    changes = site_settings._proxy_changes
    assert changes(PROXY_FORM) == {}
    found = changes(
        PROXY_FORM | {"anthropic_key": "sk-y", "openai_forget": "yes", "tokens_per_day": "9"}
    )
    # The given key is for the URL that the form shows, which is the default.
    assert found == {
        "openai_key": None,
        "anthropic_url": None,
        "anthropic_key": "sk-y",
        "tokens_per_day": "9",
    }
    body = read(UpdateSiteProxy, {}, **found)
    assert body.values() == {"anthropic_url": None, "tokens_per_day": 9}
    given = body.keys()["anthropic"]
    assert given is not None
    assert (body.keys()["openai"], given.reveal()) == (None, "sk-y")
    # Emptied fields are the defaults; the default's own address is the same.
    emptied = {name: value for name, value in PROXY_FORM.items() if name.startswith("was_")}
    assert changes(emptied | {"anthropic_url": PROVIDERS["anthropic"] + "/"}) == {
        "openai_url": None,
        "anthropic_url": None,
        "requests_per_minute": None,
        "most_temperature": None,
    }


def test_a_sites_settings_have_their_forms_and_commands() -> None:
    page = settings_page()
    posted = re.findall(r'action="/sites/[^/]+/(\w+)"', page)
    assert posted == ["settings", "proxy", "rotate", "flush", "delete"]
    # The form that is sent unchanged changes nothing.
    inputs = r'<input (?!type="checkbox")[^>]*?name="(\w+)"[^>]* value="([^"]*)"'
    fields = dict(re.findall(inputs, page))
    selects = re.findall(r'<select [^>]*name="(\w+)">(.*?)</select>', page)
    for name, options in selects:
        chosen = re.search(r'<option (?:value="(\w+)" )?selected>([^<]*)', options)
        fields |= {name: chosen[1] or chosen[2]} if chosen else {}
    sent = {name: value for name, value in fields.items() if value}
    assert FORM.items() <= (sent | {"once": "x"}).items()
    assert PROXY_FORM.items() <= sent.items()
    assert site_settings._changes(sent) == {}
    assert site_settings._proxy_changes(sent) == {}
    assert "sk-x" not in page
    assert page.count('type="password"') == 2
    found = [line for line in html.unescape(page).splitlines() if line.startswith("<pre>tenantry")]
    assert found[1] == "<pre>tenantry cache update shop --memory 64MB --semantic shadow</pre>"
    assert "<pre>tenantry cache proxy shop --openai-key - < openai.key</pre>" in found


@pytest.mark.parametrize(("status", "may_write"), [("active", False), ("deleting", True)])
def test_who_may_change_nothing_reads_the_settings(status: str, may_write: bool) -> None:
    page = settings_page(replace(SITE, status=status), may_write=may_write)  # type: ignore[arg-type]
    assert 'action="/sites/' not in page
    for said in (
        "the addresses of its allowlist",
        "volatile-lru",
        "https://llm.example.com",
        "600",
        "0.5",
    ):
        assert said in page
    assert "tenantry cache update" not in page


def test_a_site_in_the_shared_redis_has_what_is_its_own() -> None:
    page = settings_page(replace(SITE, isolation="shared", networks=None))
    assert "in the shared Redis" in page
    for name in ("eviction", "persistence"):
        assert f'name="{name}"' not in page


ENTRIES = [EntryRow(uuid.UUID(int=7), ip_network("203.0.113.7/32"), "o'<b>ffice", None, NOW)]


def access_page(site: Site = SITE, **values: object) -> str:
    usual = {
        "entries": ENTRIES,
        "text": "",
        "address": "192.0.2.1",
        "refused": True,
        "reach": Reach("allowlist"),
    }
    return rendered("site_access.html", tab="/access", **{"site": site, **usual, **values})


def test_a_sites_allowlist_has_its_forms_and_commands() -> None:
    page = access_page()
    posted = re.findall(r'action="/sites/[^/]+(/[^"]+)"', page)
    ways = ["/whitelist", "/whitelist", "/whitelist/preview"]
    assert posted == [f"/whitelist/{ENTRIES[0].id}/remove", *ways]
    assert "Allow 192.0.2.1 (this browser)" in page
    assert "<b>ffice" not in page
    assert "machine reach it, too" in page
    found = [line for line in html.unescape(page).splitlines() if line.startswith("<pre>tenantry")]
    assert found == [
        "<pre>tenantry cache whitelist add shop 203.0.113.7</pre>",
        "<pre>tenantry cache whitelist remove shop 203.0.113.7/32</pre>",
        "<pre>tenantry cache whitelist replace shop allowed.txt</pre>",
    ]
    assert f"/api/sites/{SITE.id}/whitelist/{ENTRIES[0].id}" in page
    first = access_page(replace(SITE, networks=None), entries=[], reach=Reach("everywhere"))
    assert "closes the site to all other addresses, and ends their connections" in first
    assert "reach it, too" not in first


@pytest.mark.parametrize("sessions", [0, 1, 3])
def test_a_removal_says_what_it_ends(sessions: int) -> None:
    entry, *_ = ENTRIES
    endings = [Ending("user_<b>", "203.0.113.7", "pooler", sessions)] if sessions else []
    page = rendered(
        "allowlist_remove.html",
        fragment=True,
        entry=entry,
        preview=Preview([], closes=False, opens=False, endings=endings, version="v"),
        path="/sites/x",
        name="a<b>",
        ends="connections",
        command="cache whitelist",
        named="a",
        address="203.0.113.7",
        refused=True,
    )
    number = {0: "no connections", 1: "1 connection", 3: "3 connections"}[sessions]
    assert f"Removing it ends {number} of those" in page
    assert "not on the list then" in page
    assert f'action="/sites/x/whitelist/{entry.id}/remove"' in page
    assert "<b>" not in page
    assert "tenantry cache whitelist remove a 203.0.113.7/32" in page


def test_a_closed_site_says_why() -> None:
    page = access_page(reach=Reach("this_machine", "nobody may set <rules>"))
    assert "this machine" not in page
    assert "machine only: nobody may set &lt;rules&gt;." in page


@pytest.mark.parametrize(("status", "may_write"), [("active", False), ("deleting", True)])
def test_who_may_change_nothing_reads_the_allowlist(status: str, may_write: bool) -> None:
    page = access_page(replace(SITE, status=status), may_write=may_write)  # type: ignore[arg-type]
    assert "203.0.113.7/32" in page
    assert 'action="/sites/' not in page


def test_a_site_in_the_shared_redis_has_no_allowlist() -> None:
    shared = replace(SITE, isolation="shared", networks=None)
    page = access_page(shared, entries=[], reach=Reach("everywhere"))
    assert "cannot have an allowlist" in page
    assert 'action="/sites/' not in page


def test_names_of_keys_are_texts_and_words_of_a_command() -> None:
    keys = [SiteKey("site:a:<b>", "string", 90, 2048), SiteKey("site:a:c", "hash", None, 64)]
    match = "it's*;<i>"
    page = rendered("site_keys.html", tab="/keys", keys=keys, match=match, following="/sites/5")
    assert "<b>" not in page
    assert "<i>" not in page
    assert "tenantry cache keys shop --match 'it'\"'\"'s*;<i>'" in html.unescape(page)
    assert "/keys?match=it%27s%2A%3B%3Ci%3E" in page
    assert (">90 s<" in page, ">never<" in page, ">Next page<" in page) == (True, True, True)
    none = rendered("site_keys.html", tab="/keys", keys=[], match="", following=None)
    assert "No key matches." in none
    assert "--match" not in none


@pytest.mark.parametrize(("certified", "said"), [(True, "from a cosine of 0.900"), (False, "Not")])
def test_a_certificate_shows_what_the_judged_hits_show(certified: bool, said: str) -> None:
    steps = [Step(0.95, 300, 0, 0.0099), Step(0.9, 500, 2, 0.0142)]
    found = Certificate(certified, 0.02, 0.9 if certified else None, steps)
    page = rendered("site_certificate.html", found=found)
    assert said in page
    assert "2.0 %" in page
    assert re.findall(r'<td class="right">([^<]*)</td>', page)[3:] == ["500", "2", "1.4 %"]
    assert "tenantry cache certify shop --budget 0.02" in page


def test_a_budget_is_typed_in_percent() -> None:
    assert site_pages._share({"budget": "2"}, "budget") == 0.02
    assert site_pages._share({"budget": "0.3"}, "budget") == 0.003
    for text in ("", "much", "0", "100", "nan", "-1"):
        with pytest.raises(InvalidInput, match="above 0 and below 100"):
            site_pages._share({"budget": text}, "budget")


def test_backups_are_restored_only_where_the_site_keeps_its_data() -> None:
    row = backup(1, dt.timedelta(hours=1))
    values = {"backups": [row], "are_on": True, "time": "02:00", "days": 7}
    values |= {"may_back_up": True, "has_more": False}
    kept = replace(SITE, persistence="aof")
    page = rendered("site_backups.html", site=kept, tab="/backups", **values)
    assert f'name="backup_id" value="{row.id}"' in page
    assert f'action="/sites/{SITE.id}/restore"' in page
    assert f'action="/sites/{SITE.id}/backups/{row.id}/delete"' in page
    assert f"tenantry cache restore shop --backup {row.id}" in html.unescape(page)
    assert "made each day at 02:00 UTC, and kept for 7 days" in page
    for differing in (
        {"site": SITE},
        {"site": replace(kept, status="deleting")},
        {"are_on": False},
    ):
        page = rendered(
            "site_backups.html", **{"site": kept, "tab": "/backups"} | values | differing
        )
        assert f'action="/sites/{SITE.id}/restore"' not in page
        assert f'action="/sites/{SITE.id}/backups"' not in page
    page = rendered("site_backups.html", site=kept, **values | {"backups": []})
    assert "None yet." in page
