"""What a key may do: the intersection along the chain of its grantors."""

import dataclasses
import datetime as dt
import uuid
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenantry.control.grants import (
    ADMIN,
    CUSTOMER_SCOPES,
    OF_DATA,
    VIEWER_SCOPES,
    Link,
    evaluate,
)
from tenantry.control.keys import SCOPES

NOW = dt.datetime(2026, 11, 28, 12, tzinfo=dt.UTC)
SOON, PAST = NOW + dt.timedelta(days=1), NOW - dt.timedelta(days=1)
SHOP, RIVAL, ANN = uuid.uuid4(), uuid.uuid4(), uuid.uuid4()

FIRST = Link(
    of=uuid.uuid4(),
    id=uuid.uuid4(),
    name="first",
    scopes=[ADMIN],
    customer_id=None,
    parent_id=None,
    expires_at=None,
    revoked_at=None,
    created_by=None,
    user_email=None,
    user_role=None,
    user_customer_id=None,
    user_disabled_at=None,
)


def link(*scopes: str, **changed: Any) -> Link:
    return dataclasses.replace(FIRST, scopes=list(scopes), **changed)


def by_administrator(**changed: Any) -> Link:
    return link(ADMIN, **{"created_by": ANN, "user_role": "administrator"} | changed)


def by_customer(*scopes: str, **changed: Any) -> Link:
    made = {"created_by": ANN, "user_role": "customer", "user_customer_id": SHOP}
    return link(*scopes, **made | {"customer_id": SHOP} | changed)


READ, KEYS = "databases:read", "keys:write"


@pytest.mark.parametrize(
    ("links", "scopes", "customer"),
    [
        ([FIRST], {ADMIN}, None),
        ([FIRST, link(READ)], {READ}, None),
        ([FIRST, link(READ, KEYS), link(KEYS, "audit:read")], {KEYS}, None),
        ([FIRST, link(READ, KEYS), link(ADMIN)], {READ, KEYS}, None),
        ([FIRST, link(ADMIN, customer_id=SHOP)], {ADMIN}, SHOP),
        ([by_administrator(), link(ADMIN)], {ADMIN}, None),
        ([by_customer(READ)], {READ}, SHOP),
        # Nobody has the rows in databases by ``admin``; but who has it may grant them by name.
        ([by_customer(ADMIN)], CUSTOMER_SCOPES - OF_DATA, SHOP),
        ([by_customer(ADMIN, "data:read")], CUSTOMER_SCOPES - {"data:write"}, SHOP),
        ([by_administrator(), link(ADMIN), link("data:read")], {"data:read"}, None),
        ([FIRST, link(READ, "data:read"), link(ADMIN)], {READ}, None),
        ([FIRST, link(READ, "data:read"), link("data:read")], {"data:read"}, None),
        ([by_customer("platform:read", READ)], {READ}, SHOP),
        ([by_customer(ADMIN, "data:read", user_role="viewer")], VIEWER_SCOPES, SHOP),
    ],
)
def test_rights_are_what_all_of_a_chain_have(
    links: list[Link], scopes: set[str], customer: uuid.UUID | None
) -> None:
    rights = evaluate(links, NOW)
    assert rights.status == "active"
    assert (set(rights.scopes), rights.customer_id) == (scopes, customer)


@pytest.mark.parametrize(
    ("links", "status", "reason"),
    [
        ([], "suspended", "grantor unknown"),
        ([link(READ, parent_id=SHOP)], "suspended", "grantor unknown"),
        ([FIRST, link(READ, revoked_at=PAST)], "revoked", "revoked"),
        ([link(ADMIN, revoked_at=PAST), FIRST], "revoked", "grantor revoked"),
        ([link(ADMIN, expires_at=NOW), FIRST], "expired", "grantor expired"),
        ([FIRST, link(READ, expires_at=PAST)], "expired", "expired"),
        ([by_administrator(user_disabled_at=PAST), FIRST], "suspended", "user disabled"),
        ([by_administrator(user_role=None), FIRST, FIRST], "revoked", "user deleted"),
        # An administrator becomes a customer's user; a user goes to another customer.
        (
            [by_administrator(user_role="customer", user_customer_id=SHOP)],
            "suspended",
            "grantor belongs to another customer",
        ),
        (
            [by_customer(READ, user_customer_id=RIVAL), link(READ, customer_id=SHOP)],
            "suspended",
            "grantor belongs to another customer",
        ),
        (
            [FIRST, link(ADMIN, customer_id=SHOP), link(READ)],
            "suspended",
            "grantor belongs to another customer",
        ),
    ],
)
def test_a_key_ends_with_each_of_its_grantors(links: list[Link], status: str, reason: str) -> None:
    rights = evaluate(links, NOW)
    assert (rights.status, rights.reason, rights.scopes) == (status, reason, frozenset())


def test_a_key_expires_with_the_first_of_its_grantors() -> None:
    later = SOON + dt.timedelta(days=1)
    assert evaluate([FIRST, link(READ, expires_at=later)], NOW).expires_at == later
    links = [FIRST, link(ADMIN, expires_at=SOON), link(READ, expires_at=later), link(READ)]
    assert evaluate(links, NOW).expires_at == SOON


_some_links = st.lists(
    st.builds(
        lambda scopes, customer, ended: link(
            *scopes, customer_id=customer, revoked_at=PAST if ended else None
        ),
        st.sets(st.sampled_from(SCOPES)),
        st.sampled_from([None, SHOP, RIVAL]),
        st.sampled_from([False, False, False, True]),
    ),
    min_size=1,
    max_size=6,
)


@given(_some_links, _some_links)
def test_nothing_below_in_a_chain_has_more_than_what_is_above(
    above: list[Link], below: list[Link]
) -> None:
    first, last = evaluate(above, NOW), evaluate([*above, *below], NOW)
    if ADMIN not in first.scopes:
        assert last.scopes <= first.scopes
    if last.status == "active":
        assert first.status == "active"
        assert first.customer_id in {None, last.customer_id}
