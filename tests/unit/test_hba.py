"""Rule files: what is written is what is meant, read back as PostgreSQL reads it."""

import ipaddress
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenantry.base.networks import Network
from tenantry.pg import hba
from tenantry.pg.hba import ALL, ANYWHERE, Rule

# A word of a list: quoted, or bare (PostgreSQL's manual, section 21.1).
_NAME = re.compile(r'"([^"]+)"|([^\s",]+)')

names = st.text(
    st.characters(exclude_characters='"\n\r\0', exclude_categories=["Cs"]), min_size=1
).filter(lambda name: name != ALL)
lists = st.one_of(st.just((ALL,)), st.lists(names, min_size=1, max_size=4).map(tuple))


def networks_of(addresses: st.SearchStrategy[Any], most: int) -> st.SearchStrategy[Network]:
    return st.builds(
        lambda address, bits: ipaddress.ip_network((address, bits), strict=False),
        addresses,
        st.integers(0, most),
    )


networks = networks_of(st.ip_addresses(v=4), 32) | networks_of(st.ip_addresses(v=6), 128)
methods = st.sampled_from(["peer", "scram-sha-256", "reject"])
rules = st.one_of(
    st.builds(Rule, st.just("local"), methods, lists, lists),
    st.builds(
        Rule, st.sampled_from(["host", "hostssl", "hostnossl"]), methods, lists, lists, networks
    ),
)


def read_names(text: str, at: int) -> tuple[tuple[str, ...], int]:
    """The names of a list that begins at ``at``, and where it ends."""
    found = []
    while match := _NAME.match(text, at):
        assert match[1] or match[2] == ALL, "only all stands unquoted"
        found.append(match[1] or match[2])
        at = match.end()
        if text[at] != ",":
            return tuple(found), at
        at += 1
    raise AssertionError(f"no name at {at} of {text}")


def read(line: str) -> Rule:
    """The rule that a line is."""
    connection_type, _, rest = line.partition(" ")
    databases, at = read_names(rest, 0)
    users, at = read_names(rest, at + 1)
    words = rest[at + 1 :].split(" ")
    network = None if connection_type == "local" else ipaddress.ip_network(words.pop(0))
    options = dict(word.split("=") for word in words[1:])
    return Rule(connection_type, words[0], databases, users, network, options)  # type: ignore[arg-type]


@given(st.lists(rules, max_size=4))
def test_what_is_rendered_is_read_back_the_same(rules: list[Rule]) -> None:
    comment, *lines, end = hba.render(rules).split("\n")
    assert comment.startswith("# ")
    assert end == ""
    assert [read(line) for line in lines] == rules


@given(st.text(), st.sampled_from('"\n\r\0'), st.text())
def test_a_name_that_could_end_its_quotes_or_line_is_refused(
    before: str, letter: str, after: str
) -> None:
    for rule in (
        Rule("local", "peer", users=[before + letter + after]),
        Rule("local", "peer", databases=["fine", before + letter + after]),
    ):
        with pytest.raises(ValueError, match="cannot stand in a rule file"):
            hba.render([rule])
    with pytest.raises(ValueError, match="cannot stand in a rule file"):
        hba.render_identities("platform", [(before + letter + after, "role")])


def test_no_name_is_refused() -> None:
    with pytest.raises(ValueError, match="cannot stand in a rule file"):
        hba.render([Rule("local", "peer", users=[""])])


def test_keywords_are_names() -> None:
    """Quoted, they lose their meaning: a database may be named replication."""
    (line,) = hba.render([Rule("local", "peer", ["replication", "+group", "/.*"])]).splitlines()[1:]
    assert line == 'local "replication","+group","/.*" all peer'


def test_a_rule_has_a_network_unless_it_is_local() -> None:
    with pytest.raises(ValueError, match="network"):
        Rule("hostssl", "scram-sha-256")
    with pytest.raises(ValueError, match="network"):
        Rule("local", "peer", network=ANYWHERE[0])


def test_a_shared_cluster_takes_nobody_without_tls_nor_its_platform_from_afar() -> None:
    rules = hba.shared_rules(["platform"], [])
    network = [rule for rule in rules if rule.connection_type != "local"]
    for anywhere in ANYWHERE:
        first, *others = [rule for rule in network if rule.network == anywhere]
        assert (first.method, first.users) == ("reject", ["platform"])
        assert {(rule.connection_type, rule.method) for rule in others} == {
            ("hostssl", "scram-sha-256")
        }
    assert {rule.connection_type for rule in hba.control_rules(["platform"])} == {"local"}


@given(
    lists=st.dictionaries(
        st.sampled_from(["user_a", "user_b", "user_c"]),
        st.lists(st.sampled_from(["192.0.2.0/24", "192.0.2.7/32", "2001:db8::/32"]), max_size=3),
    ),
    username=st.sampled_from(["user_a", "user_b", "user_c", "user_d", "tenantry_admin"]),
    address=st.sampled_from(["192.0.2.7", "::ffff:192.0.2.8", "198.51.100.1", "2001:db8::1"]),
)
def test_the_rules_of_an_instance_are_read_as_postgresql_reads_them(
    lists: dict[str, list[str]], username: str, address: str
) -> None:
    admitted = [
        (ipaddress.ip_network(network), [name])
        for name, found in lists.items()
        for network in found
    ]
    others = [(network, ()) for network in hba.ANYWHERE]
    text = hba.render(
        hba.instance_rules(["tenantry_admin"], admitted, [[name] for name in lists], others)
    )
    plain = ipaddress.ip_address(address.removeprefix("::ffff:"))
    listed = lists.get(username)
    wanted = username != "tenantry_admin" and (
        listed is None or any(plain in ipaddress.ip_network(network) for network in listed)
    )
    assert hba.NetworkRules(text).admit(username, address) == wanted


def test_rules_that_are_not_there_admit_nobody() -> None:
    assert not hba.NetworkRules("").admit("user_a", "192.0.2.7")
