"""The packet filter's rules for allowlists of sites, without setting any."""

import io
import ipaddress
import json
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenantry import filtering
from tenantry.base.errors import InvalidInput, MachineError
from tenantry.base.networks import Network
from tenantry.host import nftables, site_filter

OFFICE = ipaddress.ip_network("203.0.113.0/24")
PRINTER = ipaddress.ip_network("203.0.113.7/32")
OFFICE_6 = ipaddress.ip_network("2001:db8::/48")

networks = st.one_of(
    st.builds(
        lambda address, length: ipaddress.ip_network((address, length), strict=False),
        st.integers(0, 2**32 - 1),
        st.integers(0, 32),
    ),
    st.builds(
        lambda address, length: ipaddress.ip_network((address.to_bytes(16), length), strict=False),
        st.integers(2**112, 2**128 - 1),
        st.integers(0, 128),
    ),
)


def test_a_list_is_a_chain_for_its_port() -> None:
    rules = site_filter.render("tenantry_5432_sites", {6380: [OFFICE_6, PRINTER, OFFICE], 6381: []})
    assert "tcp dport vmap { 6380 : jump site_6380, 6381 : jump site_6381 }" in rules
    chains = {
        name: [line.strip() for line in body.partition("}\n    }\n")[0].splitlines()]
        for name, _, body in (each.partition(" {\n") for each in rules.split("    chain ")[1:])
    }
    assert chains["site_6380"][:3] == [
        "ip saddr { 203.0.113.0/24 } return",
        "ip6 saddr { 2001:db8::/48 } return",
        "counter reject with tcp reset",
    ]
    # A list whose entries have all expired admits nobody.
    assert chains["site_6381"][0] == "counter reject with tcp reset"
    assert 'iifname "lo" accept' in chains["input"]


def test_without_lists_the_table_refuses_nobody() -> None:
    rules = site_filter.render("tenantry_5432_sites", {})
    assert "vmap" not in rules
    assert "tcp reset" not in rules
    address, port = site_filter.mark_of_all({})
    assert f"{{ {address} . {port} }}" in rules


@given(st.lists(networks, max_size=6), st.lists(networks, max_size=6))
def test_a_mark_is_of_a_port_and_of_the_addresses_that_are_admitted(
    one: list[Network], other: list[Network]
) -> None:
    mark = site_filter.mark(6380, one)
    same = site_filter.collapsed(one) == site_filter.collapsed(other)
    assert (site_filter.mark(6380, other) == mark) == same
    assert site_filter.mark(6380, [*reversed(one), *one]) == mark
    assert site_filter.mark(6381, one)[0] != mark[0]
    assert ipaddress.ip_address(mark[0]) in ipaddress.ip_network("127.128.0.0/9")
    assert site_filter.mark_of_all({6380: one}) != site_filter.mark_of_all({6380: one, 6381: []})


@given(st.dictionaries(st.integers(1024, 65_535), st.lists(networks, max_size=4), max_size=4))
def test_what_is_sent_is_read_back(lists: dict[int, list[Network]]) -> None:
    text = json.dumps({port: [str(each) for each in its] for port, its in lists.items()})
    read = site_filter.read(text.encode())
    assert read == {port: tuple(its) for port, its in lists.items()}
    assert site_filter.mark_of_all(read) == site_filter.mark_of_all(lists)


@pytest.mark.parametrize(
    "text",
    [
        *("", "[]", "null", '"x"', "{", '{"6380": null}', '{"6380": {"a": 1}}', '{"6380": [1]}'),
        '{"22": ["0.0.0.0/0"]}',  # another's server
        '{"0": []}',
        '{"65536": []}',
        '{"06380": []}',
        '{"6380 } ; flush ruleset": []}',
        '{"\\uff16\\uff13\\uff18\\uff10": []}',  # digits, but not ASCII's
        '{"6380": ["0.0.0.0/0 } return; } include \\"/etc/shadow\\""]}',
        '{"6380": ["fe80::1%eth0"]}',
        '{"6380": ["example.com"]}',
        "[" * 100_000,
    ],
)
def test_nothing_but_addresses_and_ports_is_taken_from_the_platform(text: str) -> None:
    with pytest.raises(InvalidInput):
        site_filter.read(text.encode())


def test_too_much_is_refused() -> None:
    with pytest.raises(InvalidInput, match="larger than 8,388,608 bytes"):
        site_filter.read(b" " * (site_filter.MOST_BYTES + 1))


@pytest.mark.parametrize(
    ("sent", "fails", "answer"),
    [
        (b'{"6380": ["203.0.113.7"]}', None, "done\n"),
        (b'{"6380": "x"}', None, "These are no lists of addresses by port.\n"),
        (b"\xff", None, "These are no lists of addresses by port.\n"),
        (b"{}", MachineError("nft is not there."), "nft is not there.\n"),
    ],
)
def test_roots_program_answers_what_became_of_it(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    sent: bytes,
    fails: MachineError | None,
    answer: str,
) -> None:
    applied = []

    async def apply(text: str) -> None:
        if fails is not None:
            raise fails
        applied.append(text)

    monkeypatch.setattr(nftables, "apply", apply)
    monkeypatch.setattr(sys, "argv", ["filtering", "tenantry_5432_sites"])
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(sent)))
    filtering.main()
    assert capsys.readouterr().out == answer
    assert len(applied) == (answer == "done\n")


async def test_without_rules_there_is_no_mark() -> None:
    assert not await site_filter.in_force(site_filter.mark(6380, [OFFICE]))
    assert not await site_filter.in_force(site_filter.mark_of_all({}))
