"""SCRAM verifiers, beside libpq's own."""

import base64
import string

from hypothesis import given
from hypothesis import strategies as st
from psycopg import pq

from tenantry.base.secrets import Secret, SecretSource, scram_verifier

ALPHABET = string.ascii_letters + string.digits


def by_libpq(password: str) -> str:
    # It asks a connection for what it was not reported, so any will do, one that failed too.
    nobody = pq.PGconn.connect(b"host=/nowhere")
    return nobody.encrypt_password(password.encode(), b"user", b"scram-sha-256").decode()


@given(st.text(ALPHABET, min_size=1, max_size=40))
def test_a_verifier_is_the_one_that_libpq_computes(password: str) -> None:
    theirs = by_libpq(password)
    salt = base64.b64decode(theirs.split("$")[1].partition(":")[2])
    assert scram_verifier(Secret(password), salt=salt) == theirs


def test_every_verifier_has_a_salt_of_its_own() -> None:
    password = SecretSource().password()
    assert scram_verifier(password) != scram_verifier(password)
