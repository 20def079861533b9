"""The rules of logging in: passwords, waits, codes, and what is kept of them."""

import datetime as dt

import pyotp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenantry.base import passwords
from tenantry.base.secrets import (
    Seal,
    Secret,
    SecretSource,
    device_token,
    read_device_token,
)
from tenantry.services.people import plan

NOW = dt.datetime(2026, 5, 4, 12, 0, 10, tzinfo=dt.UTC)
SECRET = Secret("JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP")


@pytest.mark.parametrize(
    ("password", "said"),
    [
        ("Tr0ub4dor&3", "needs at least 16"),
        ("four one two", "needs at least 16"),
        ("to be or no", "needs at least 16"),
        ("passwordpassword", "too easy"),
        ("1234567890123456", "too easy"),
        ("aaaaaaaaaaaaaaaaaaaaaaaa", "too easy"),
        ("ann.smith@example.com", "too easy"),
        ("example.comexample.com", "too easy"),
        ("qwertyuiopasdfghjkl", "too easy"),
    ],
)
def test_a_poor_password_is_reported_why(password: str, said: str) -> None:
    fault = passwords.fault(Secret(password), email="ann.smith@example.com")
    assert fault is not None
    assert said in fault


@pytest.mark.parametrize(
    "password",
    [
        "the lighthouse keeper sold umbrellas",
        "oak rug jam fox",
        "zJ8#vQ2!mK5@xW9$",
        "Grüße aus dem Nebelwald",
        "aB3dEf7GhJk9mN2pQr5tUv8x",
    ],
)
def test_a_good_password_is_taken(password: str) -> None:
    assert passwords.fault(Secret(password), email="ann.smith@example.com") is None


async def test_a_password_is_known_again_however_it_is_composed() -> None:
    hashing = passwords.Hashing()
    kept = await hashing.hash(Secret("Gr\u00fc\u00dfe aus dem Wald"))
    assert kept.startswith("$argon2id$v=19$m=65536,t=3,p=4$")
    assert await hashing.verify(Secret("Gru\u0308\u00dfe aus dem Wald"), kept)
    assert not await hashing.verify(Secret("Grusse aus dem Wald"), kept)
    assert not await hashing.verify(Secret("anything"), None)


@pytest.mark.parametrize(
    ("failures", "seconds"),
    [(0, 0), (4, 0), (5, 30), (6, 60), (7, 120), (8, 240), (9, 480), (10, 900), (10**9, 900)],
)
def test_the_wait_doubles_up_to_a_quarter_of_an_hour(failures: int, seconds: int) -> None:
    assert plan.lock_seconds(failures, allowed=5) == seconds


@pytest.mark.parametrize(
    ("failures", "seconds"),
    [
        (0, 0),
        (49, 0),
        (50, 1),
        (59, 1),
        (60, 2),
        (75, 4),
        (89, 8),
        (99, 16),
        (100, 30),
        (10**9, 30),
    ],
)
def test_an_account_becomes_slow_and_is_never_locked(failures: int, seconds: int) -> None:
    assert plan.slow_seconds(failures) == seconds


def test_what_others_can_raise_keeps_no_known_device_waiting() -> None:
    for counters in (plan.password_counters, plan.code_counters):
        known = counters("ann@example.com", "192.0.2.7", "device-1")
        unknown = counters("ann@example.com", "192.0.2.7", None)
        assert [each.subject for each in known] == ["device:device-1"]
        assert not {each.subject for each in known} & {each.subject for each in unknown}
    there = {each.subject for each in plan.password_counters("ann@example.com", "192.0.2.8", None)}
    here = plan.password_counters("ann@example.com", "192.0.2.7", None)
    (shared,) = [each for each in here if each.subject in there]
    assert max(map(shared.wait, range(10_000))) <= plan.SLOWEST


def test_a_device_is_known_by_its_own_token_only() -> None:
    seal, ends = Seal(Seal.new_key()), NOW + dt.timedelta(days=90)
    token = device_token(seal, "d1", "ann@example.com", ends)
    assert read_device_token(seal, token, "ann@example.com", NOW) == "d1"
    assert read_device_token(seal, token, "bob@example.com", NOW) is None
    assert read_device_token(seal, token, "ann@example.com", ends) is None
    assert read_device_token(Seal(Seal.new_key()), token, "ann@example.com", NOW) is None


@given(st.text(max_size=200))
def test_no_text_is_a_devices_token(text: str) -> None:
    seal = Seal(bytes(Seal.KEY_BYTES))
    for forged in (text, f"tnd_{text}"):
        assert read_device_token(seal, Secret(forged), "ann@example.com", NOW) is None


@pytest.mark.parametrize(
    ("address", "subject"),
    [
        ("192.0.2.7", "address:192.0.2.7"),
        ("::ffff:192.0.2.7", "address:192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "address:2001:db8:1:2::/64"),
        ("2001:db8:1:2::9", "address:2001:db8:1:2::/64"),
        (None, "address:unknown"),
    ],
)
def test_an_ipv6_network_is_one_caller(address: str | None, subject: str) -> None:
    assert plan.address_subject(address) == subject


@pytest.mark.parametrize(
    ("seconds", "good"), [(-60, False), (-30, True), (0, True), (30, True), (60, False)]
)
def test_a_code_is_right_for_a_moment(seconds: int, good: bool) -> None:
    code = pyotp.TOTP(SECRET.reveal()).at(NOW + dt.timedelta(seconds=seconds))
    step = plan.totp_step(SECRET, code, NOW)
    present = int(NOW.timestamp()) // 30
    assert step == (present + seconds // 30 if good else None)


@given(st.text(max_size=40))
def test_what_is_no_code_is_refused(text: str) -> None:
    step = plan.totp_step(SECRET, text, NOW)
    assert step is None or len(text) == 6


def test_recovery_codes_are_all_different_and_typed_as_one_likes() -> None:
    codes = SecretSource().recovery_codes()
    assert len({code.reveal() for code in codes}) == 10
    for code in codes:
        typed = f" {code.reveal().upper().replace('-', ' ')} "
        assert plan.recovery_code(typed) == code


def test_the_same_source_gives_the_same_codes_again() -> None:
    def source() -> SecretSource:
        return SecretSource.derived(
            api_key=Secret("tns_1"), idempotency_key="k", salt=b"0123456789abcdef"
        )

    assert source().recovery_codes() == source().recovery_codes()
    assert source().totp_secret() == source().totp_secret()
    assert len(source().totp_secret().reveal()) == 32


def test_what_is_sealed_opens_for_its_owner_only() -> None:
    seal = Seal(Seal.new_key())
    sealed = seal.close(SECRET, owner=b"ann")
    assert SECRET.reveal().encode() not in sealed
    assert sealed != seal.close(SECRET, owner=b"ann")
    assert seal.open(sealed, owner=b"ann") == SECRET
    assert seal.open(sealed, owner=b"bob") is None
    assert Seal(Seal.new_key()).open(sealed, owner=b"ann") is None
    assert seal.open(sealed[:-1] + bytes([sealed[-1] ^ 1]), owner=b"ann") is None
