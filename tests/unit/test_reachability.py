"""What others find at this machine's ports: who listens, and what its packet filter does."""

import asyncio
import json
import os
import shutil
import socket
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tenantry.host import nftables, reachability
from tenantry.host.preflight import Port
from tenantry.host.reachability import Family, _serves, examine, listening, verdict

STRICT = """
table inet filter {
    set friends {
        type ipv4_addr
        elements = { 10.0.0.1 }
    }
    set ports {
        type inet_service
        elements = { 7000, 7001 }
    }
    chain web {
        tcp dport { 80, 443, 4000-4010 } accept
        tcp dport 5000-5999 accept
        tcp dport 6000 return
        tcp dport 6000-6001 accept
    }
    chain input {
        type filter hook input priority 0; policy drop;
        iifname "lo" accept
        ct state established,related accept
        ct state invalid drop
        meta l4proto icmp accept
        udp dport 53 accept
        tcp dport 22 counter accept
        ip saddr @friends tcp dport 5432 accept
        ip saddr 10.0.0.0/8 tcp dport 6432 accept
        tcp dport @ports accept
        jump web
        ct state new tcp dport 3000 limit rate 10/second accept
        tcp dport vmap { 8080 : accept, 8081 : drop }
        tcp dport != 9000 reject
        accept
    }
}
"""
LOOSE = """
table inet loose {
    chain early {
        type filter hook prerouting priority -300; policy accept;
        ip6 saddr ::1 drop
        tcp dport 25 drop
    }
    chain input {
        type filter hook input priority 10; policy accept;
        ip saddr 203.0.113.9 drop
        tcp dport 6379 reject with tcp reset
    }
    chain output {
        type filter hook output priority 0; policy drop;
    }
}
"""


def ruleset(text: str) -> dict[str, Any]:
    """What nft shows of rules that it has in a network of their own."""
    script = f"{nftables.PROGRAM} -f - && {nftables.PROGRAM} -j list ruleset"
    done = subprocess.run(
        ["unshare", "--net", "sh", "-c", script],
        input=text,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    reported: dict[str, Any] = json.loads(done.stdout)
    return reported


needs_nft = pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which(nftables.PROGRAM) is None, reason="takes root and nftables"
)


@needs_nft
@pytest.mark.parametrize(
    ("text", "ports"),
    [
        (
            STRICT,
            {
                22: "open",
                23: "some",  # as far as is understood of the map of verdicts
                443: "open",
                4005: "open",
                5432: "open",
                6000: "some",
                6001: "open",
                6432: "some",
                7001: "open",
                9000: "some",
            },
        ),
        (STRICT.replace("tcp dport vmap { 8080 : accept, 8081 : drop }", ""), {
            23: "closed", 3000: "some", 6000: "closed", 6432: "some", 9000: "open",
        }),
        (LOOSE, {25: "closed", 5432: "some", 6379: "closed"}),
        (LOOSE.replace("ip saddr 203.0.113.9 drop", ""), {5432: "open", 6379: "closed"}),
        (nftables.render("tenantry_5432", [5432], 100), {5432: "open"}),
        ("", {5432: "open"}),
    ],
)  # fmt: skip
def test_rules_let_in_all_or_some_or_none(text: str, ports: dict[int, str]) -> None:
    reported = ruleset(text)
    assert {port: verdict(reported, port) for port in ports} == ports


SIX = """
table inet filter {
    chain input {
        type filter hook input priority 0; policy accept;
        ip saddr 203.0.113.9 drop
        ip6 nexthdr tcp tcp dport 22 drop
        meta nfproto ipv6 tcp dport 5432 drop
        ip saddr != 10.0.0.0/8 tcp dport 6432 drop
    }
}
table ip6 more {
    chain input {
        type filter hook input priority 10; policy accept;
        ip6 saddr 2001:db8::/32 tcp dport 3000 accept
        tcp dport 3000 drop
    }
}
"""


@needs_nft
def test_rules_for_one_family_leave_the_other_alone() -> None:
    reported = ruleset(SIX)
    ports = (22, 80, 3000, 5432, 6432)
    assert [verdict(reported, port, "IPv6") for port in ports] == [
        "closed", "open", "some", "closed", "open",
    ]  # fmt: skip
    assert [verdict(reported, port) for port in ports] == ["some"] * 5
    closed = ruleset(
        """
        table ip filter {
            chain input {
                type filter hook input priority 0; policy drop;
            }
        }
        """
    )
    assert (verdict(closed, 80), verdict(closed, 80, "IPv6")) == ("closed", "open")


@pytest.mark.parametrize(
    ("found", "families"),
    [
        (["0.0.0.0"], ["IPv4"]),  # noqa: S104
        (["::"], ["IPv4", "IPv6"]),
        (["127.0.0.1", "2001:db8::5"], ["IPv6"]),
        (["127.0.0.1", "::1"], []),
    ],
)
def test_who_is_served_over_which_family(found: list[str], families: list[Family]) -> None:
    every: list[Family] = ["IPv4", "IPv6"]
    assert [each for each in every if _serves(found, each)] == families


def test_what_is_not_understood_may_do_anything() -> None:
    chain = {"family": "ip", "table": "filter", "name": "INPUT"}
    base = {**chain, "type": "filter", "hook": "input", "prio": 0, "policy": "drop"}
    rule = {"family": "ip", "table": "filter", "chain": "INPUT"}
    strange = {"rule": {**rule, "expr": [{"xt": None}, {"accept": None}]}}
    assert verdict({"nftables": [{"chain": base}]}, 5432) == "closed"
    assert verdict({"nftables": [{"chain": base}, strange]}, 5432) == "some"


def test_who_listens_where_is_reported() -> None:
    with socket.create_server(("127.0.0.1", 0)) as local, socket.create_server(("", 0)) as open_:
        inside, outside = local.getsockname()[1], open_.getsockname()[1]
        assert listening(inside) == ["127.0.0.1"]
        assert listening(outside) == ["0.0.0.0"]  # noqa: S104
        ports = [
            Port("the API", "127.0.0.1", inside, "X"),
            Port("PostgreSQL", "0.0.0.0", outside, "Y"),  # noqa: S104
        ]
        first, second, *rest = asyncio.run(examine(ports, host="db.example.com"))
    assert "only programs of this machine" in first.detail
    assert second.subject == f"port {outside}"
    assert "PostgreSQL listens on 0.0.0.0" in second.detail
    assert [each.subject for each in rest] == ["reachability"]
    assert rest[0].detail.startswith("unknown")
    assert rest[0].hint.endswith(f"nc -vz db.example.com {outside}")
    assert listening(outside) == []
    assert asyncio.run(examine(ports, host="db.example.com")) == []


def test_ipv6_addresses_are_read() -> None:
    if not Path("/proc/net/if_inet6").exists():
        pytest.skip("without IPv6")
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as server:
        assert listening(server.getsockname()[1]) == ["::1"]


@pytest.mark.parametrize(
    ("there", "level", "said"),
    [
        ({"192.0.2.1"}, "ok", "leads to where example.com leads"),
        (set(), "warning", "is not in DNS, and example.com to 192.0.2.1, 2001:db8::1"),
        ({"192.0.2.9"}, "warning", "leads to 192.0.2.9, and"),
    ],
)
async def test_a_host_of_an_instance_leads_here(
    monkeypatch: pytest.MonkeyPatch, there: set[str], level: str, said: str
) -> None:
    known = {"example.com": {"192.0.2.1", "2001:db8::1"}, "shop.db.example.com": there}

    async def addresses(host: str) -> set[str]:
        return known[host]

    monkeypatch.setattr(reachability, "_addresses_of", addresses)
    found = await reachability.examine_host("shop.db.example.com", domain="example.com")
    assert (found.level, said in found.detail) == (level, True)
    assert ("*.db.example.com" in found.hint) == (level == "warning")


async def test_a_name_that_no_resolver_knows_has_no_addresses() -> None:
    assert await reachability._addresses_of("localhost") & {"127.0.0.1", "::1"}
    assert await reachability._addresses_of("no-such-host.invalid") == set()
