"""What the tables of the blueprints let in, and whom they let see it."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, LiteralString, cast
from uuid import UUID, uuid4

import psycopg
import pytest
from catalogued import (
    ADMINISTRATOR,
    CATALOGUE,
    Blueprints,
    Kept,
    Session,
    acting,
    change,
    ids,
    insert,
    texts,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg import sql
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from tenantry_rls import TenantContext, tenant_transaction

UNIQUE, REFERENCE = psycopg.errors.UniqueViolation, psycopg.errors.ForeignKeyViolation
CHECKED, REFUSED = psycopg.errors.CheckViolation, psycopg.errors.InsufficientPrivilege

# ── hosting ──────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Hosted:
    """Two customers of the seeds, and a site of each."""

    kept: Kept
    ann: int
    bob: int
    anns: UUID
    bobs: UUID


@pytest.fixture(scope="module")
def hosting(blueprints: Blueprints) -> Hosted:
    kept = blueprints["hosting"]
    with acting(kept) as conn:
        found = {
            row["domain"]: row for row in conn.execute("SELECT id, customer_id, domain FROM sites")
        }
    ann, bob = found["antiques.example"], found["bikes.example"]
    return Hosted(kept, ann["customer_id"], bob["customer_id"], ann["id"], bob["id"])


def test_a_customer_sees_its_own_and_an_administrator_all(hosting: Hosted) -> None:
    seen = {}
    everything = ("users", "customers", "sites", "deployments", "cost_records", "policies")
    for who, context in {
        "ann": TenantContext(hosting.ann),
        "administrator": ADMINISTRATOR,
        "nobody": None,
    }.items():
        with acting(hosting.kept, context) as conn:
            seen[who] = {table: len(ids(conn, table)) for table in everything}
    assert list(seen["ann"].values()) == [1, 1, 2, 1, 7, 3]
    assert list(seen["administrator"].values()) == [3, 2, 3, 2, 14, 3]
    assert set(seen["nobody"].values()) == {0}


def test_what_a_customer_only_reads(hosting: Hosted) -> None:
    with acting(hosting.kept, TenantContext(hosting.ann)) as conn:
        assert change(conn, "customers", hosting.ann, tier="premium") == 0
        assert change(conn, "users", sql.SQL("id"), role="administrator") == 0
        assert change(conn, "cost_records", sql.SQL("id"), amount=0) == 0
        assert change(conn, "sites", hosting.anns, name="New name") == 1
        with pytest.raises(REFUSED):
            insert(conn, "policies", name="mine", policy_type="cost", rules={})


@pytest.mark.parametrize(
    ("table", "more"),
    [
        ("deployments", {}),
        (
            "ecommerce_integrations",
            {"platform": "shopify", "store_url": "x", "credentials_encrypted": b"x"},
        ),
        ("cost_records", {"cost_date": "2026-01-01", "cloud_provider": "aws", "amount": 1}),
    ],
)
def test_no_reference_crosses_customers(
    hosting: Hosted, table: str, more: dict[str, object]
) -> None:
    """Nor shows whether the other's site is there, or has a row on that day."""
    reported = set()
    for site in (hosting.bobs, uuid4()):
        with acting(hosting.kept) as conn, pytest.raises(REFERENCE) as refused:
            insert(conn, table, customer_id=hosting.ann, site_id=site, **more)
        reported.add((refused.value.diag.message_primary, refused.value.diag.constraint_name))
    assert len(reported) == 1


def test_costs_are_once_per_site_and_day(hosting: Hosted) -> None:
    row = {"site_id": hosting.anns, "cloud_provider": "aws", "amount": "0.000001"}
    with acting(hosting.kept) as conn:
        insert(conn, "cost_records", customer_id=hosting.ann, cost_date="2026-02-01", **row)
        with pytest.raises(UNIQUE) as refused:
            insert(conn, "cost_records", customer_id=hosting.ann, cost_date="2026-02-01", **row)
        assert refused.value.diag.constraint_name == "cost_records_site_id_cost_date_key"
        insert(conn, "cost_records", customer_id=hosting.ann, cost_date="2026-02-02", **row)


@pytest.mark.parametrize(
    ("table", "values"),
    [
        ("users", {"email": "Ann@example.com", "password_hash": "x"}),
        ("users", {"email": "c@example.com", "password_hash": "x", "mfa_enabled": True}),
        ("users", {"email": "c@example.com", "password_hash": "x", "failed_login_attempts": -1}),
        ("users", {"email": "c@example.com", "password_hash": "x", "role": "root"}),
        ("customers", {"name": "C", "tier": "gold"}),
        ("customers", {"name": "C", "white_label_config": Jsonb([])}),
        ("sites", {"name": "C", "domain": "c.example", "cloud_provider": "ours"}),
        ("sites", {"name": "C", "domain": "C.example", "cloud_provider": "aws"}),
        ("deployments", {"status": "succeeded"}),
        ("deployments", {"finished_at": "2026-01-01"}),
        ("policies", {"name": "c", "policy_type": "other", "rules": {}}),
        ("cost_records", {"cost_date": "2026-01-01", "cloud_provider": "aws", "amount": -1}),
    ],
)
def test_hosting_refuses_bad_states(hosting: Hosted, table: str, values: dict[str, Any]) -> None:
    with acting(hosting.kept) as conn:
        if table == "customers":
            values = {"owner_user_id": min(ids(conn, "users")), **values}
        if table not in {"users", "customers", "policies"}:
            values = {"customer_id": hosting.ann, **values}
        if table in {"deployments", "cost_records"}:
            values = {"site_id": hosting.anns, **values}
        with pytest.raises(CHECKED):
            insert(conn, table, **values)


def test_a_domain_is_free_again_after_its_site_was_deleted(hosting: Hosted) -> None:
    again = partial(
        insert, table="sites", customer_id=hosting.ann, name="x", cloud_provider="gcp",
        domain="antiques.example",
    )  # fmt: skip
    with acting(hosting.kept) as conn:
        with pytest.raises(UNIQUE):
            again(conn)
        assert change(conn, "sites", hosting.anns, deleted_at=sql.SQL("now()")) == 1
        made = again(conn)
        assert made["tags"] == []
        change(conn, "sites", made["id"], tags=["shop"])
        found = conn.execute("SELECT id FROM sites WHERE tags @> ARRAY['shop']").fetchall()
        assert found == [{"id": made["id"]}]


# ── billing ──────────────────────────────────────────────────────────────────────

# As its document names them.
INDEXES = {
    "idx_users_email": "users (email)",
    "idx_users_auth0_id": "users (auth0_id)",
    "idx_subscriptions_user_id": "subscriptions (user_id)",
    "idx_subscriptions_status": "subscriptions (status)",
    "idx_subscriptions_tier": "subscriptions (tier)",
    "idx_payment_transactions_user_id": "payment_transactions (user_id)",
    "idx_payment_transactions_status": "payment_transactions (status)",
    "idx_payment_transactions_created_at": "payment_transactions (created_at DESC)",
    "idx_admin_audit_logs_admin_user_id": "admin_audit_logs (admin_user_id)",
    "idx_admin_audit_logs_created_at": "admin_audit_logs (created_at DESC)",
}


_INDEXES: LiteralString = """
    SELECT pg_get_indexdef(indexrelid) FROM pg_index WHERE indrelid >= 16384
"""


def test_the_indexes_of_the_document_are_there(blueprints: Blueprints) -> None:
    found = {
        name: rest.removeprefix("public.").replace(" USING btree", "")
        for text in texts(blueprints["billing"].dsn(), _INDEXES)
        for name, _, rest in [text.partition(" INDEX ")[2].partition(" ON ")]
    }
    assert found.items() >= INDEXES.items()
    on_tags = "CREATE INDEX idx_sites_tags ON public.sites USING gin (tags)"
    assert on_tags in texts(blueprints["hosting"].dsn(), _INDEXES)


@pytest.fixture
def billing(blueprints: Blueprints) -> Iterator[Session]:
    with acting(blueprints["billing"]) as conn:
        yield conn


@pytest.fixture
def user(billing: Session) -> UUID:
    return cast("UUID", insert(billing, "users", email=f"{uuid4().hex}@example.com")["id"])


def pay(conn: Session, user: UUID, amount: int, status: str = "succeeded") -> UUID:
    paid = insert(
        conn, "payment_transactions", user_id=user, amount=amount, currency="EUR", status=status
    )
    return cast("UUID", paid["id"])


def refund(conn: Session, user: UUID, payment: UUID, amount: int, **more: object) -> UUID:
    given = {"user_id": user, "transaction_id": payment, "amount": amount, "currency": "EUR"}
    return cast("UUID", insert(conn, "refunds", **(given | more))["id"])


def test_refunds_never_exceed_what_was_paid(billing: Session, user: UUID) -> None:
    payment = pay(billing, user, 1999)
    first = refund(billing, user, payment, 1500)
    with pytest.raises(CHECKED, match="refunded_at_most"):
        refund(billing, user, payment, 500)
    refund(billing, user, payment, 499, status="succeeded")
    change(billing, "refunds", first, status="failed")
    refund(billing, user, payment, 1500)
    with pytest.raises(CHECKED, match="refunded_at_most"):
        refund(billing, user, payment, 1)
    refunded = billing.execute(
        "SELECT refunded_amount FROM payment_transactions WHERE id = %s", (payment,)
    ).fetchone()
    assert refunded == {"refunded_amount": 1999}


@given(
    doings=st.lists(
        st.tuples(
            st.sampled_from(["refund", "succeeded", "failed", "cancelled", "delete"]),
            st.integers(1, 12),
        ),
        max_size=12,
    )
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=20)
def test_a_payment_knows_the_sum_of_its_refunds(
    billing: Session, user: UUID, doings: list[tuple[str, int]]
) -> None:
    payment = pay(billing, user, 20)
    made: list[UUID] = []
    for what, number in doings:
        with suppress(CHECKED):
            if what == "refund":
                made.append(refund(billing, user, payment, number))
            elif made and what == "delete":
                key = made.pop(number % len(made))
                billing.execute("DELETE FROM refunds WHERE id = %s", (key,))
            elif made:
                change(billing, "refunds", made[number % len(made)], status=what)
    reported = billing.execute(
        "SELECT refunded_amount, coalesce((SELECT sum(amount)::bigint FROM refunds"
        "   WHERE transaction_id = p.id AND status IN ('pending', 'succeeded')), 0) AS counted"
        " FROM payment_transactions p WHERE id = %s",
        (payment,),
    ).fetchone()
    assert reported is not None
    assert reported["refunded_amount"] == reported["counted"] <= 20


def test_two_refunds_at_once_are_counted_one_after_the_other(blueprints: Blueprints) -> None:
    dsn = blueprints["billing"].dsn()
    with (
        psycopg.connect(dsn, row_factory=dict_row) as conn,
        tenant_transaction(conn, ADMINISTRATOR),
    ):
        somebody = insert(conn, "users", email=f"{uuid4().hex}@example.com")["id"]
        payment = pay(conn, somebody, 100)

    def begin(isolation: psycopg.IsolationLevel) -> Session:
        conn = psycopg.connect(dsn, row_factory=dict_row)
        conn.isolation_level = isolation
        conn.execute("SET lock_timeout = '5s'")
        conn.execute("SET app.current_user_role = 'administrator'")
        conn.commit()
        conn.execute("SELECT 1")
        return conn

    read_committed = psycopg.IsolationLevel.READ_COMMITTED
    for isolation, error in (
        (read_committed, CHECKED),
        (psycopg.IsolationLevel.REPEATABLE_READ, psycopg.errors.SerializationFailure),
    ):
        with begin(read_committed) as one, begin(isolation) as other:
            ids(other, "refunds")  # its snapshot, where it keeps one
            made = refund(one, somebody, payment, 60)
            one.commit()
            with pytest.raises(error):
                refund(other, somebody, payment, 60)
            change(one, "refunds", made, status="cancelled")


@pytest.mark.parametrize(
    ("status", "refund_status", "let"),
    [
        ("succeeded", "pending", True),
        ("pending", "pending", True),
        ("pending", "succeeded", False),
        ("failed", "pending", False),
        ("cancelled", "succeeded", False),
    ],
)
def test_only_what_was_paid_is_given_back(
    billing: Session, user: UUID, status: str, refund_status: str, let: bool
) -> None:
    payment = pay(billing, user, 5, status)
    if let:
        refund(billing, user, payment, 5, status=refund_status)
    else:
        with pytest.raises(CHECKED, match="has not succeeded"):
            refund(billing, user, payment, 5, status=refund_status)


def test_a_refund_is_its_payments_users_in_its_currency(billing: Session, user: UUID) -> None:
    payment = pay(billing, user, 5)
    other = insert(billing, "users", email="other@example.com")["id"]
    for wrong in ({"user_id": other}, {"currency": "USD"}):
        with pytest.raises(REFERENCE):
            refund(billing, user, payment, 5, **wrong)


def test_a_user_takes_a_way_to_pay_off_and_the_payments_stay(blueprints: Blueprints) -> None:
    with acting(blueprints["billing"]) as conn:
        (paid,) = conn.execute(
            "SELECT id, user_id, payment_method_id FROM payment_transactions"
            " WHERE status = 'succeeded' AND payment_method_id IS NOT NULL"
        ).fetchall()
        with tenant_transaction(conn, TenantContext(paid["user_id"])):
            taken = conn.execute(
                "DELETE FROM payment_methods WHERE id = %s", (paid["payment_method_id"],)
            )
            assert taken.rowcount == 1
            left = conn.execute(
                "SELECT payment_method_id FROM payment_transactions WHERE id = %s", (paid["id"],)
            ).fetchall()
    assert left == [{"payment_method_id": None}]


def test_what_was_charged_stays(billing: Session, user: UUID) -> None:
    payment = pay(billing, user, 5)
    made = refund(billing, user, payment, 5)
    for values in ({"amount": 6}, {"refunded_amount": 0}, {"currency": "USD"}):
        with pytest.raises(REFUSED, match="what was charged stays"):
            change(billing, "payment_transactions", payment, **values)
    with pytest.raises(REFUSED, match="cancel it"):
        change(billing, "refunds", made, amount=1)


@pytest.mark.parametrize(
    ("table", "before", "way"),
    [
        ("payment_transactions", "pending", ("succeeded", "pending")),
        ("payment_transactions", "pending", ("failed", "succeeded")),
        ("refunds", "pending", ("cancelled", "pending")),
        ("subscriptions", "trialing", ("active", "trialing")),
        ("subscriptions", "past_due", ("expired", "active")),
    ],
)
def test_a_status_goes_one_way(
    billing: Session, user: UUID, table: str, before: str, way: tuple[str, str]
) -> None:
    let, refused = way
    if table == "subscriptions":
        key = insert(billing, table, user_id=user, tier="premium", status=before)["id"]
    else:
        key = pay(billing, user, 5, before)
        key = refund(billing, user, key, 5) if table == "refunds" else key
    assert change(billing, table, key, status=let) == 1
    with pytest.raises(CHECKED, match=f"what is {let} cannot become {refused}"):
        change(billing, table, key, status=refused)


@pytest.mark.parametrize(
    ("table", "values", "error"),
    [
        ("users", {"email": "UPPER@example.com"}, CHECKED),
        ("users", {"email": "ann@example.com"}, UNIQUE),
        ("subscriptions", {"tier": "gold"}, CHECKED),
        ("subscriptions", {"tier": "free", "status": "cancelled"}, CHECKED),
        ("subscriptions", {"tier": "free", "trial_ends_at": "2020-01-01"}, CHECKED),
        ("payment_methods", {"type": "card", "last_four": "424"}, CHECKED),
        ("payment_transactions", {"amount": 0, "currency": "EUR"}, CHECKED),
        ("payment_transactions", {"amount": 1, "currency": "XXX"}, REFERENCE),
        ("payment_transactions", {"amount": 1, "currency": "EUR", "failure_reason": "x"}, CHECKED),
        ("currencies", {"code": "eur", "name": "Euro", "minor_units": 2}, CHECKED),
    ],
)
def test_billing_refuses_bad_states(
    billing: Session, user: UUID, table: str, values: dict[str, Any], error: type[Exception]
) -> None:
    if table == "payment_methods":
        values = {"provider_payment_method_id": "x", **values}
    if table not in {"users", "currencies"}:
        values = {"user_id": user, **values}
    with pytest.raises(error):
        insert(billing, table, **values)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE admin_audit_logs SET action = 'nothing'",
        "DELETE FROM admin_audit_logs",
        "TRUNCATE admin_audit_logs",
        "TRUNCATE users CASCADE",
        "TRUNCATE refunds",
    ],
)
@pytest.mark.parametrize("login", ["owner", "app"])
def test_what_was_done_stays(blueprints: Blueprints, statement: LiteralString, login: str) -> None:
    kept = blueprints["billing"]
    with psycopg.connect(kept.dsn() if login == "owner" else kept.dsn(kept.app)) as conn:
        with tenant_transaction(conn, ADMINISTRATOR):
            added = conn.execute(
                "INSERT INTO admin_audit_logs (admin_user_id, action, resource_type)"
                " SELECT id, 'looked', 'user' FROM users LIMIT 1"
            ).rowcount
            assert added == 1
        with pytest.raises(REFUSED), tenant_transaction(conn, ADMINISTRATOR):
            conn.execute(statement)


def test_money_is_shown_as_its_currency_has_it(billing: Session, user: UUID) -> None:
    """By the query of the blueprint's README, which has no floating point in it."""
    for currency in ("USD", "JPY", "KWD"):
        insert(billing, "payment_transactions", user_id=user, amount=2900, currency=currency)
    readme = (CATALOGUE / "billing" / "README.md").read_text()
    query = readme.partition("```sql\n")[2].partition(";\n```")[0] + " WHERE user_id = %s"
    shown = {
        str(amount)
        for amount, _ in (row.values() for row in billing.execute(query.encode(), (user,)))
    }
    assert shown == {"29.00", "2900", "2.900"}


# ── todos ────────────────────────────────────────────────────────────────────────


def test_public_todos_are_for_everybody_to_read(blueprints: Blueprints) -> None:
    kept = blueprints["todos"]
    seen = {}
    for who in (None, "ann", "bob", "administrator"):
        context = ADMINISTRATOR if who == "administrator" else TenantContext(who) if who else None
        with acting(kept, context) as conn:
            rows = conn.execute("SELECT customer_id FROM api.todos")
            seen[who] = sorted(str(row["customer_id"]) for row in rows)
    public = ["None", "None"]
    assert seen[None] == public
    assert seen["ann"] == [*public, "ann"]
    assert seen["administrator"] == [*public, "ann", "bob"]


def test_who_makes_a_todo_has_it(blueprints: Blueprints) -> None:
    kept = blueprints["todos"]
    for context, owner in ((TenantContext("ann"), "ann"), (ADMINISTRATOR, None)):
        with acting(kept, context) as conn:
            assert insert(conn, "api.todos", title="x")["customer_id"] == owner
    with acting(kept, None) as conn, pytest.raises(REFUSED):
        insert(conn, "api.todos", title="x")


def test_only_administrators_publish(blueprints: Blueprints) -> None:
    with acting(blueprints["todos"], TenantContext("ann")) as conn:
        with pytest.raises(REFUSED):
            change(conn, "api.todos", sql.SQL("id"), customer_id=None)
        assert change(conn, "api.todos", sql.SQL("id"), completed=True) == 1
    with acting(blueprints["todos"]) as conn:
        assert change(conn, "api.todos", sql.SQL("id"), customer_id=None) == 4


@pytest.mark.parametrize("values", [{"title": ""}, {"title": "x" * 501}, {"customer_id": ""}])
def test_todos_refuses_bad_states(blueprints: Blueprints, values: dict[str, str]) -> None:
    with acting(blueprints["todos"]) as conn, pytest.raises(CHECKED):
        insert(conn, "api.todos", **({"title": "x"} | values))


@pytest.mark.parametrize(("name", "table"), [("hosting", "sites"), ("todos", "api.todos")])
def test_a_change_is_noted(blueprints: Blueprints, name: str, table: str) -> None:
    with acting(blueprints[name]) as conn:
        key = min(ids(conn, table))
        change(conn, table, key, updated_at=sql.SQL("'2020-01-01'"))
        now = sql.SQL("SELECT updated_at = now() AS noted FROM {} WHERE id = {}")
        query = now.format(sql.Identifier(*table.split(".")), key)
        assert conn.execute(query).fetchone() == {"noted": True}
