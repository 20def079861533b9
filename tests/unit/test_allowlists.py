"""The compilers of allowlists: whatever the lists, each endpoint admits exactly who is on them.

The rule files are judged by an evaluator of their own semantics (first match wins, no match
is a refusal), which knows nothing of how they were made.
"""

import ipaddress
from collections.abc import Collection

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenantry.base.errors import InvalidInput
from tenantry.base.networks import Network, parse_network
from tenantry.control.whitelist import Admission, OnInstance
from tenantry.pg import hba
from tenantry.pg.connections import PLATFORM_ROLES
from tenantry.services.network import plan

ROLES = [f"user_{letter}" for letter in "abcdefgh"]
ROLES_OF_OURS = ("tenantry_admin", "tenantry_platform")

IPV4 = st.integers(0, 2**32 - 1).map(ipaddress.IPv4Address)
IPV6 = st.integers(0, 2**128 - 1).map(ipaddress.IPv6Address)
ADDRESSES = st.one_of(IPV4, IPV6)


def networks() -> st.SearchStrategy[Network]:
    v4 = st.builds(
        lambda a, p: ipaddress.ip_network((a, p), strict=False), IPV4, st.integers(0, 32)
    )
    v6 = st.builds(
        lambda a, p: ipaddress.ip_network((a, p), strict=False), IPV6, st.integers(0, 128)
    )
    return st.one_of(v4, v6)


LISTS = st.dictionaries(st.sampled_from(ROLES), st.lists(networks(), max_size=5), max_size=6)


def admissions(lists: dict[str, list[Network]]) -> list[Admission]:
    return [
        Admission(role, "shared-1", network)
        for role, found in lists.items()
        for network in [*found, *([] if found else [None])]
    ]


def verdict(
    text: str,
    username: str,
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
    *,
    open_roles: Collection[str] = (),
) -> str:
    """What a rule file says to a TLS client: the method of the first line that matches.

    ``open_roles`` are members of a role that is named as the database is.
    """
    for line in text.splitlines():
        if not line or line.startswith("#"):
            continue
        endpoint, databases, users, *rest = line.split()
        if endpoint not in {"host", "hostssl"} or databases not in {"all", "samerole"}:
            continue
        if databases == "samerole" and username not in open_roles:
            continue
        if address not in ipaddress.ip_network(rest[0]):
            continue
        for word in users.split(","):
            name = word.strip('"')
            if name in {"all", username}:
                return rest[1]
    return "reject"


@given(LISTS, ADDRESSES, st.data())
def test_each_endpoint_admits_exactly_who_is_on_the_list(
    lists: dict[str, list[Network]],
    somewhere: ipaddress.IPv4Address | ipaddress.IPv6Address,
    data: st.DataObject,
) -> None:
    rulebook = plan.compile_lists(admissions(lists))
    direct = hba.render(hba.shared_rules(ROLES_OF_OURS, rulebook.lines()))
    pooled = plan.render_pooler_rules(rulebook)
    open_roles = {role for role in ROLES if role not in lists}
    # An address from within a list, so that admission is tried as often as refusal.
    inside = [network[0] for found in lists.values() for network in found]
    address = data.draw(st.sampled_from([somewhere, *inside]))
    for role in ROLES:
        admitted = role not in lists or any(address in network for network in lists[role])
        expected = "scram-sha-256" if admitted else "reject"
        assert verdict(direct, role, address, open_roles=open_roles) == expected
        assert verdict(pooled, role, address) == expected
        assert rulebook.is_foreign(role, str(address), "shared-1") is not admitted


def instance_rules(own: plan.Rulebook) -> list[hba.Rule]:
    return hba.instance_rules(
        ROLES_OF_OURS, own.lines(), plan.in_lines(own.closed()), own.of_others("db-a")
    )


@given(st.lists(networks(), max_size=3), st.booleans(), ADDRESSES)
def test_what_the_tenant_of_an_instance_creates_obeys_the_list_of_its_database(
    listed: list[Network],
    has_list: bool,
    somewhere: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> None:
    owner, branchs, theirs = "user_aaabbb", "user_cccddd", "created"
    found = [Admission(owner, "db-aaabbb", each) for each in (*listed, None)]
    on_instance = [
        OnInstance("db-aaabbb", "tenant_aaabbb", owner),
        OnInstance("db-aaabbb", "tenant_cccddd", branchs),
    ]
    rulebook = plan.compile_lists(found if has_list else [], on_instance)
    own = rulebook.on("db-aaabbb")
    rules = hba.render(
        hba.instance_rules(
            ROLES_OF_OURS, own.lines(), plan.in_lines(own.closed()), own.of_others("db-aaabbb")
        )
    )
    inside = not has_list or any(somewhere in network for network in listed)
    for role, admitted in ((owner, inside), (theirs, inside), (branchs, True)):
        assert verdict(rules, role, somewhere) == ("scram-sha-256" if admitted else "reject")
        assert rulebook.is_foreign(role, str(somewhere), "db-aaabbb") is not admitted
        assert hba.NetworkRules(rules).admit(role, str(somewhere)) is admitted
    assert not rulebook.is_foreign(theirs, str(somewhere), "shared-1")


@given(LISTS, ADDRESSES, st.sets(st.sampled_from(ROLES)))
def test_an_instance_admits_its_roles_by_their_lists_to_all_databases(
    lists: dict[str, list[Network]],
    somewhere: ipaddress.IPv4Address | ipaddress.IPv6Address,
    elsewhere: set[str],
) -> None:
    found = [
        Admission(each.username, "shared-1" if each.username in elsewhere else "db-a", each.network)
        for each in admissions(lists)
    ]
    own = plan.compile_lists(found).on("db-a")
    rules = instance_rules(own)
    for role in ROLES:
        is_open = role not in lists or role in elsewhere
        admitted = is_open or any(somewhere in network for network in lists[role])
        expected = "scram-sha-256" if admitted else "reject"
        assert verdict(hba.render(rules), role, somewhere) == expected
    for role in ROLES_OF_OURS:
        assert verdict(hba.render(rules), role, somewhere) == "reject"


@given(LISTS, ADDRESSES)
def test_the_platform_roles_come_by_no_network(
    lists: dict[str, list[Network]], address: ipaddress.IPv4Address
) -> None:
    rulebook = plan.compile_lists(admissions(lists))
    for text in (
        hba.render(hba.shared_rules(ROLES_OF_OURS, rulebook.lines())),
        plan.render_pooler_rules(rulebook),
    ):
        for role in ROLES_OF_OURS:
            assert verdict(text, role, address) == "reject"


@given(LISTS, ADDRESSES)
def test_the_login_of_a_data_api_comes_by_no_network(
    lists: dict[str, list[Network]], address: ipaddress.IPv4Address
) -> None:
    name = "user_a__authenticator"
    rulebook = plan.compile_lists([*admissions(lists), Admission(name, "shared-1", None)])
    assert verdict(plan.render_pooler_rules(rulebook), name, address) == "reject"
    direct = hba.render(hba.shared_rules(ROLES_OF_OURS, rulebook.lines()))
    assert verdict(direct, name, address, open_roles={*ROLES} - {*lists}) == "reject"


@given(st.permutations(ROLES))
def test_the_same_lists_give_the_same_files(order: list[str]) -> None:
    home = ipaddress.ip_network("203.0.113.0/24")
    rulebook = plan.compile_lists([Admission(role, "shared-1", home) for role in order])
    text = plan.render_pooler_rules(rulebook)
    assert f"hostssl all {','.join(ROLES)} {home} scram-sha-256" in text


def test_long_lists_are_cut_into_lines() -> None:
    home = ipaddress.ip_network("203.0.113.0/24")
    many = [f"user_{number:012}" for number in range(501)]
    rulebook = plan.compile_lists([Admission(role, "shared-1", home) for role in many])
    assert [len(names) for _, names in rulebook.lines()] == [500, 1]


def test_long_names_make_no_longer_lines() -> None:
    home = ipaddress.ip_network("203.0.113.0/24")
    many = [f"user_{number:012}_{'x' * 30}" for number in range(1_000)]
    lines = list(plan.compile_lists([Admission(role, "shared-1", home) for role in many]).lines())
    assert [name for _, names in lines for name in names] == many
    assert all(len(",".join(names)) < plan.LINE_LENGTH for _, names in lines)


@pytest.mark.parametrize(
    ("text", "network"),
    [
        ("203.0.113.5", "203.0.113.5/32"),
        ("203.0.113.77/24", "203.0.113.0/24"),
        (" 10.0.0.1/8 ", "10.0.0.0/8"),
        ("2001:DB8::1", "2001:db8::1/128"),
        ("2001:db8::ffff/32", "2001:db8::/32"),
        ("::ffff:203.0.113.5", "203.0.113.5/32"),
        ("::ffff:203.0.113.5/120", "203.0.113.0/24"),
        ("0.0.0.0/0", "0.0.0.0/0"),
        ("::/0", "::/0"),
    ],
)
def test_networks_are_normalised(text: str, network: str) -> None:
    assert str(parse_network(text)) == network


@pytest.mark.parametrize(
    "text",
    ["", "localhost", "1.2.3", "1.2.3.4/33", "1.2.3.4/255.0.255.0", "fe80::1%eth0", "all",
     "0.0.0.0/0\nhost all all 0.0.0.0/0 trust", "::g", "1.2.3.4 trust"],
)  # fmt: skip
def test_what_is_no_network_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput):
        parse_network(text)


def test_no_platform_role_comes_in_through_the_pooler() -> None:
    """The first rule that fits counts."""
    rules = [
        line.split()
        for line in plan.render_pooler_rules(plan.compile_lists([])).splitlines()[1:]
        if line[0] != "#"
    ]
    for role in PLATFORM_ROLES:
        for endpoint, networks in (("local", [[]]), ("hostssl", [["0.0.0.0/0"], ["::/0"]])):
            for network in networks:
                first = next(
                    rule
                    for rule in rules
                    if rule[0] in {endpoint, "host" if endpoint == "hostssl" else endpoint}
                    and rule[1] == "all"
                    and (rule[2] == "all" or role in rule[2].split(","))
                    and rule[3:-1] == network
                )
                assert first[-1] == "reject", (role, endpoint, network)
