"""Secrets: derived alike for the same keys, unlike for any other, and never printed."""

import string
import traceback

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenantry.base.secrets import Secret, SecretSource, hash_api_key

salts = st.binary(min_size=16, max_size=16)
api_keys = st.text(string.hexdigits, min_size=8, max_size=64)
# As the API takes them: printable ASCII.
idempotency_keys = st.text(string.printable[:95], min_size=1, max_size=40)
inputs = st.tuples(api_keys, idempotency_keys, salts)


def derived(api_key: str, idempotency_key: str, salt: bytes) -> SecretSource:
    return SecretSource.derived(api_key=Secret(api_key), idempotency_key=idempotency_key, salt=salt)


def both(source: SecretSource) -> tuple[str, str]:
    return source.password().reveal(), source.api_key().reveal()


@given(inputs)
def test_the_same_keys_and_salt_give_the_same_secrets(keys: tuple[str, str, bytes]) -> None:
    assert both(derived(*keys)) == both(derived(*keys))


@given(inputs, inputs, st.integers(0, 2))
def test_each_input_makes_a_difference(
    keys: tuple[str, str, bytes], others: tuple[str, str, bytes], which: int
) -> None:
    changed = [*keys]
    changed[which] = others[which] if others[which] != keys[which] else keys[which] * 2
    for one, other in zip(both(derived(*keys)), both(derived(*changed)), strict=True):  # type: ignore[arg-type]
        assert one != other


@given(inputs)
def test_secrets_are_of_letters_that_nothing_has_to_escape(keys: tuple[str, str, bytes]) -> None:
    password, api_key = both(derived(*keys))
    assert len(password) == 24
    assert set(password) <= set(string.ascii_letters + string.digits)
    assert api_key.startswith("tnt_")
    assert len(bytes.fromhex(api_key.removeprefix("tnt_"))) == 32


def test_derivation_stays_as_it_is() -> None:
    """Another one would answer repeated requests with secrets that open nothing."""
    assert both(derived("tnt_00", "key-1", b"0123456789abcdef")) == (
        "m7YSqKaeGSPRT9pxPzwMsGkZ",
        "tnt_670c538564373d69b427a2cdaa1fa6647943aad7c8e2fca1dbb02bb50b44c15a",
    )


def test_without_keys_every_source_is_another() -> None:
    secrets = {secret for _ in range(50) for secret in both(SecretSource())}
    assert len(secrets) == 100


def test_every_letter_is_as_likely() -> None:
    letters = "".join(derived("k", str(n), b"salt" * 4).password().reveal() for n in range(600))
    counts = [letters.count(letter) for letter in string.ascii_letters + string.digits]
    expected = len(letters) / 62
    # Chi-squared of 61 degrees of freedom: above 118 once in 100,000; and the input is fixed.
    assert sum((count - expected) ** 2 / expected for count in counts) < 118


@given(st.text("xyz0123456789", min_size=6))
def test_a_secret_is_not_printed(text: str) -> None:
    secret = Secret(text)
    source = SecretSource(caller_secret=secret, salt=text.encode())
    for printed in (f"{secret}", f"{secret!r}", f"{[secret]}", f"{source}", f"{source!r}"):
        assert text not in printed
    assert secret.reveal() == text
    with pytest.raises(AttributeError) as reported:
        secret.text = text  # type: ignore[attr-defined]
    shown = traceback.TracebackException.from_exception(reported.value, capture_locals=True)
    assert f"secret = {secret}" in "".join(shown.format())


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_secrets_are_compared_by_what_they_hide(text: str) -> None:
    assert Secret(text) == Secret(text)
    assert hash(Secret(text)) == hash(Secret(text))
    assert hash_api_key(Secret(text)) == hash_api_key(Secret(text))
    assert Secret(text) != text
    assert Secret(text) != Secret(text + "x")
    assert hash_api_key(Secret(text)) != hash_api_key(Secret(text + "x"))
