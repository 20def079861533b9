"""Which unfinished logins are ended when there are too many."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from tenantry.services.login_floods import Pending, _unfinished, surplus

POSTMASTER = ["/usr/lib/postgresql/15/bin/postgres", "-D", "/data"]


def test_only_logins_from_the_network_are_unfinished() -> None:
    def of(title: str) -> tuple[bool, str | None]:
        return _unfinished([title], POSTMASTER)

    assert _unfinished(POSTMASTER, POSTMASTER) == (True, None)
    assert of("postgres: user_a tenant_a 192.0.2.1(5000) authentication") == (True, "192.0.2.1")
    assert of("postgres: a b tenant_a ::1(5000) authentication") == (True, "::1")
    assert of("postgres: tenantry_platform postgres [local] authentication") == (False, None)
    assert of("postgres: authentication tenant_a 192.0.2.1(5000) idle") == (False, None)
    assert of("postgres: checkpointer ") == (False, None)
    assert _unfinished([], POSTMASTER) == (False, None)


def test_the_oldest_of_the_address_with_the_most_are_ended() -> None:
    of_many = [Pending(pid, "192.0.2.1", float(pid)) for pid in range(1, 9)]
    of_one = [Pending(9, "192.0.2.2", 100.0)]
    assert [each.pid for each in surplus(of_many + of_one, 6)] == [8, 7, 6]


def test_what_has_just_come_is_left_alone() -> None:
    assert surplus([Pending(1, None, 0.0), Pending(2, None, 0.1)], 0) == []


@given(
    st.lists(st.tuples(st.sampled_from(["a", "b", None]), st.floats(1, 99)), max_size=40),
    st.integers(0, 50),
)
def test_as_many_remain_as_may_be(found: list[tuple[str | None, float]], most: int) -> None:
    pending = [Pending(pid, *each) for pid, each in enumerate(found)]
    ended = surplus(pending, most)
    assert len(ended) == max(0, len(pending) - most)
    left = Counter(each.address for each in pending if each not in ended)
    if ended and left:
        most_left = max(left.values())
        for address, count in Counter(each.address for each in ended).items():
            assert left[address] >= most_left - 1, (address, count)
