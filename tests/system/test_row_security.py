"""What a customer's transaction finds in the control database, whatever is asked of it there.

These tests go round the application: they speak SQL as the control plane's own role.
"""

import asyncio
import os
import signal
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, LiteralString

import httpx
import psycopg
import pytest
from psycopg import sql
from psycopg.rows import TupleRow

from answers import data
from clients import eventually
from harness import Installation
from tenantry.control.audit import PLATFORM, Actor
from tenantry.control.store import ControlStore, as_platform
from tenantry.host.packages import find_postgres
from tenantry.pg.connections import CUSTOMER, Address
from tenantry_rls.check import check
from tenantry_rls.report import as_text

# Tables without a policy, and why a customer's transaction has nothing of them.
NOT_A_CUSTOMERS = {
    "clusters",
    "schema_migrations",
    "tenantry_migrations",
    "plans",
    "backup_defaults",
    "branch_passwords",
    "sample_rollups",
    "left_repositories",
    "cache_prices",
} | {
    "recovery_codes",
    "login_challenges",
    "failed_logins",
}

Control = psycopg.Connection[TupleRow]


@dataclass(frozen=True)
class Customer:
    id: uuid.UUID
    key: str
    database: dict[str, Any]
    entry: str
    operation: str
    user: str


def make_customer(api: httpx.Client, platform: Installation, name: str) -> Customer:
    email = f"{name}-{uuid.uuid4().hex[:8]}@example.com"
    key = data(
        api.post(
            "/api/api-keys",
            json={
                "name": name,
                "scopes": ["databases:read", "databases:write", "audit:read", "keys:read"],
                "customer_email": email,
            },
        ),
        201,
    )
    with platform.client(key["key"]) as client:
        goes = data(client.post("/api/databases", json={"friendlyName": "goes"}), 201)
        # On a busy machine the answer comes before it is gone.
        operation = client.delete(f"/api/databases/{goes['id']}").json()["data"]["operation_id"]
        database = data(
            client.post(
                "/api/databases", json={"friendlyName": name}, headers={"Idempotency-Key": name}
            ),
            201,
        )
        entry = data(
            client.post(
                f"/api/databases/{database['id']}/whitelist", json={"ip_address": "192.0.2.1"}
            ),
            201,
        )
    login = {"email": email, "password": "seven otters juggle copper kettles"}
    user = data(api.post("/api/users", json=login), 201)["id"]
    data(api.post("/api/auth/login", json=login))
    with platform.control() as control:
        (customer_id,) = control.execute(
            "SELECT id FROM customers WHERE email = %s", (email,)
        ).fetchone() or (None,)
        control.execute(
            "INSERT INTO disk_usage (database_id, used_bytes) VALUES (%s, 1)"
            " ON CONFLICT (database_id) DO NOTHING",
            (database["id"],),
        )
        control.execute(
            "INSERT INTO maskings (database_id, sql) VALUES (%s, 'SELECT 1')", (database["id"],)
        )
        control.execute(
            "INSERT INTO backups (id, database_id, database_name, customer_id, file_name, format,"
            " part, origin, status, damage, size_bytes, sha256, postgres_version, finished_at)"
            " VALUES (gen_random_uuid(), %s, %s, %s, 'x', 'custom', 'all', 'manual', 'damaged',"
            " 'gone', 1, 'x', '15', now())",
            (database["id"], database["database_name"], customer_id),
        )
        control.execute(
            "INSERT INTO proofs (id, database_id, seconds, passed)"
            " VALUES (gen_random_uuid(), %s, 1, true)",
            (database["id"],),
        )
        control.execute(
            "INSERT INTO backup_schedules VALUES (%s, 'off', 2, 'custom', 7, 7)", (database["id"],)
        )
        control.execute(
            "INSERT INTO database_activity VALUES (%s, 1) ON CONFLICT DO NOTHING",
            (database["id"],),
        )
        control.execute(
            "INSERT INTO alerts (id, rule, subject, severity, detail, customer_id, state, since)"
            " VALUES (gen_random_uuid(), 'x', %s, 'warning', 'x', %s, 'firing', now())",
            (database["database_name"], customer_id),
        )
        control.execute(
            "INSERT INTO alert_channels (id, customer_id, name, kind, shown_target, target, events)"
            " VALUES (gen_random_uuid(), %s, 'x', 'email', 'x', 'x', '{login.failed}')",
            (customer_id,),
        )
        control.execute("INSERT INTO alert_thresholds VALUES (%s, 1)", (database["id"],))
        control.execute("INSERT INTO backup_attempts VALUES (%s, now(), 1)", (database["id"],))
        control.execute(
            "INSERT INTO samples_raw (database_id, at) VALUES (%s, now())", (database["id"],)
        )
        control.execute(
            "INSERT INTO newest_samples (database_id, at, direct_active, direct_idle,"
            " direct_in_transaction, pooled_active, pooled_idle, pooled_in_transaction,"
            " longest_transaction_seconds, commits, rollbacks, rows_read, rows_fetched,"
            " rows_inserted, rows_updated, rows_deleted, blocks_hit, blocks_read, temporary_bytes,"
            " deadlocks) VALUES (%s, now(), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)"
            " ON CONFLICT DO NOTHING",
            (database["id"],),
        )
    return Customer(customer_id, key["id"], database, entry["id"], operation, user)


@contextmanager
def stopped_worker(platform: Installation, control: Control) -> Iterator[None]:
    """While this lasts the worker does nothing, and holds no row of the control database."""
    worker = platform.pids()["worker"]
    others = (
        "SELECT FROM pg_stat_activity WHERE datname = current_database()"
        " AND xact_start IS NOT NULL AND pid <> pg_backend_pid()"
    )

    def is_at_rest() -> bool:
        os.kill(worker, signal.SIGSTOP)
        if control.execute(others).fetchone() is None:
            return True
        os.kill(worker, signal.SIGCONT)
        return False

    try:
        eventually(is_at_rest)
        yield
    finally:
        os.kill(worker, signal.SIGCONT)


@pytest.fixture(scope="module")
def customers(platform: Installation) -> Iterator[tuple[Customer, Customer]]:
    with platform.client() as api:
        both = (make_customer(api, platform, "ann"), make_customer(api, platform, "bob"))
        ids = [each.database["id"] for each in both]
        # A pass of the worker's would undo what is no change of password at all.
        with platform.control() as control, stopped_worker(platform, control):
            control.execute(
                "INSERT INTO password_rotations (database_id, verifier_before)"
                " SELECT unnest(%s::uuid[]), 'x'",
                (ids,),
            )
            yield both
            control.execute("DELETE FROM password_rotations WHERE database_id = ANY (%s)", (ids,))
        for each in both:
            api.delete(f"/api/databases/{each.database['id']}")


@contextmanager
def acting(
    platform: Installation, customer: uuid.UUID | None, *, role: str | None = "customer"
) -> Iterator[Control]:
    """A transaction as the store makes it for a customer; undone at the end."""
    with psycopg.connect(
        host=str(platform.home / "run" / "control"),
        port=5432,
        user="tenantry_platform",
        dbname="tenantry_control",
    ) as control:
        control.execute("SET LOCAL ROLE tenantry_customer")
        if role is not None:
            control.execute("SELECT set_config('app.current_user_role', %s, true)", (role,))
        if customer is not None:
            control.execute(
                "SELECT set_config('app.current_customer_id', %s, true)", (str(customer),)
            )
        yield control
        control.rollback()


# How the rows that are a customer's are reported, in each table with a policy.
OWNERS: dict[str, LiteralString] = {
    "customers": "id",
    "databases": "customer_id",
    "password_rotations": "database_id",
    "ip_whitelist": "database_id",
    "disk_usage": "database_id",
    "samples_raw": "database_id",
    "newest_samples": "database_id",
    "database_activity": "database_id",
    "failing_reconciliations": "database_id",
    "maskings": "database_id",
    "alerts": "customer_id",
    "alert_channels": "customer_id",
    "alert_thresholds": "database_id",
    "backups": "database_id",
    "backup_schedules": "database_id",
    "backup_attempts": "database_id",
    "operations": "customer_id",
    "api_keys": "customer_id",
    "idempotency_keys": "caller_id",
    "users": "customer_id",
    "sessions": "user_id",
    "audit_logs": "customer_id",
}


def owner_of(column: str, customer: Customer) -> str:
    ids = {
        "database_id": customer.database["id"],
        "caller_id": customer.key,
        "user_id": customer.user,
    }
    return str(ids.get(column, customer.id))


@pytest.mark.parametrize("table", OWNERS)
def test_everything_of_a_table_is_ones_own(
    platform: Installation, customers: tuple[Customer, Customer], table: str
) -> None:
    ann, bob = customers
    asked = sql.SQL("SELECT DISTINCT {}::text FROM {}").format(
        sql.Identifier(OWNERS[table]), sql.Identifier(table)
    )
    with platform.control() as holding:
        holding.execute(
            "INSERT INTO failing_reconciliations (database_id, detail)"
            " SELECT unnest(%s::uuid[]), 'x' ON CONFLICT DO NOTHING",
            ([ann.database["id"], bob.database["id"]],),
        )
        holding.execute("BEGIN")
        # A pass takes away what does not fail: not while these rows are locked.
        holding.execute("SELECT FROM failing_reconciliations FOR UPDATE")
        all_owners = {row[0] for row in holding.execute(asked)}
        assert {owner_of(OWNERS[table], each) for each in (ann, bob)} <= all_owners
        for each in (ann, bob):
            with acting(platform, each.id) as control:
                found = {row[0] for row in control.execute(asked)} - {None}  # None: nobody's yet
            assert found == {owner_of(OWNERS[table], each)}


@pytest.mark.parametrize("role", [None, "", "administrator", "platform"])
def test_without_a_customer_there_is_nothing(
    platform: Installation, customers: tuple[Customer, Customer], role: str | None
) -> None:
    with acting(platform, customers[0].id, role=role) as control:
        for table, column in OWNERS.items():
            found = control.execute(
                sql.SQL("SELECT count({}) FROM {}").format(
                    sql.Identifier(column), sql.Identifier(table)
                )
            ).fetchone()
            # Databases that nobody has yet, which have no customer, are there to be taken.
            assert found == (0,), table
    with acting(platform, None) as control:
        assert control.execute("SELECT count(customer_id) FROM databases").fetchone() == (0,)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE databases SET friendly_name = 'mine' WHERE id = %(database)s",
        "DELETE FROM ip_whitelist WHERE id = %(entry)s",
        "UPDATE ip_whitelist SET network = '::/0' WHERE database_id = %(database)s",
        "UPDATE operations SET status = 'failed' WHERE id = %(operation)s",
        "UPDATE api_keys SET revoked_at = now() WHERE id = %(key)s",
        "DELETE FROM password_rotations WHERE database_id = %(database)s",
        "UPDATE maskings SET sql = '' WHERE database_id = %(database)s",
        "DELETE FROM backups WHERE database_id = %(database)s",
        "UPDATE backup_schedules SET keep_count = 1 WHERE database_id = %(database)s",
        "DELETE FROM alert_channels WHERE customer_id = (SELECT customer_id FROM databases"
        " WHERE id = %(database)s)",
        "UPDATE alert_thresholds SET disk_percent = 2 WHERE database_id = %(database)s",
        "SELECT FROM databases WHERE id = %(database)s FOR UPDATE",
    ],
)
def test_a_neighbours_row_cannot_be_touched(
    platform: Installation, customers: tuple[Customer, Customer], statement: LiteralString
) -> None:
    ann, bob = customers
    for me, touched in ((ann, 0), (bob, 1)):
        with acting(platform, me.id) as control:
            done = control.execute(
                statement,
                {
                    "me": me.id,
                    "database": bob.database["id"],
                    "entry": bob.entry,
                    "operation": bob.operation,
                    "key": bob.key,
                },
            )
            assert done.rowcount == touched


@pytest.mark.parametrize(
    "statement",
    [
        # Nothing is made in a neighbour's name, nor given away.
        "INSERT INTO ip_whitelist (id, database_id, network)"
        " VALUES (gen_random_uuid(), %(theirs)s, '::/0')",
        "INSERT INTO operations (id, kind, resource_kind, resource_id, customer_id)"
        " VALUES (gen_random_uuid(), 'x', 'x', gen_random_uuid(), %(them)s)",
        "INSERT INTO backup_schedules VALUES (%(theirs)s, 'day', 2, 'custom', 7, 7)",
        "INSERT INTO alert_thresholds VALUES (%(theirs)s, 1)",
        "INSERT INTO alert_channels (id, customer_id, name, kind, shown_target, target, events)"
        " VALUES (gen_random_uuid(), NULL, 'y', 'email', 'x', 'x', '{}')",
        "UPDATE alert_channels SET customer_id = NULL",
        "SELECT FROM alert_messages",
        "SELECT send_event()",
        "UPDATE backups SET customer_id = %(them)s",
        "INSERT INTO audit_logs (actor_kind, actor_name, customer_id, action, resource_kind,"
        " result) VALUES ('api_key', 'x', %(them)s, 'x', 'x', 'ok')",
        "INSERT INTO api_keys (id, name, prefix, hash, scopes, customer_id)"
        " VALUES (gen_random_uuid(), 'x', 'x', 'x', '{admin}', NULL)",
        "UPDATE databases SET customer_id = %(them)s WHERE id = %(mine)s",
        "UPDATE databases SET customer_id = NULL WHERE id = %(mine)s",
        "INSERT INTO api_keys (id, name, prefix, hash, scopes, customer_id)"
        " VALUES (gen_random_uuid(), 'x', 'x', 'x', '{admin}', %(me)s)",  # which nobody granted
        "UPDATE api_keys SET customer_id = NULL WHERE customer_id = %(me)s",
        "UPDATE api_keys SET scopes = '{admin}'",
        "UPDATE api_keys SET expires_at = NULL",
        "UPDATE api_keys SET parent_id = NULL, created_by = NULL",
        # What has no business here at all.
        "DELETE FROM databases",
        "INSERT INTO databases SELECT * FROM databases",
        "UPDATE customers SET email = 'x@example.com'",
        "SELECT password_hash FROM users",
        "SELECT hash FROM sessions",
        "UPDATE users SET disabled_at = NULL",
        "SELECT FROM recovery_codes",
        "SELECT FROM login_challenges",
        "SELECT FROM failed_logins",
        "DELETE FROM audit_logs",
        "UPDATE audit_logs SET result = 'ok'",
        "SELECT FROM procrastinate_jobs",
        "UPDATE clusters SET port = 1",
        "UPDATE plans SET max_connections = 500",
        "UPDATE plans SET site_memory_mb = 1024",
        "UPDATE customers SET plan = 'premium'",
        "UPDATE backup_defaults SET every = 'off'",
        "UPDATE backup_attempts SET tries = 1",
        "UPDATE disk_usage SET state = 'ok'",
        "INSERT INTO samples_raw (database_id, at) VALUES (%(mine)s, now())",
        "DELETE FROM newest_samples",
        "UPDATE sample_rollups SET until = now()",
        "SELECT FROM sample_partitions.x",
        "UPDATE database_activity SET last_active_at = now()",
        "UPDATE failing_reconciliations SET detail = 'x'",
        "SELECT forget_old_audit_logs(30)",
        "SET LOCAL ROLE tenantry_admin",
    ],
)
def test_what_is_refused(
    platform: Installation, customers: tuple[Customer, Customer], statement: LiteralString
) -> None:
    ann, bob = customers
    with (
        acting(platform, ann.id) as control,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        control.execute(
            statement,
            {
                "me": ann.id,
                "mine": ann.database["id"],
                "them": bob.id,
                "theirs": bob.database["id"],
            },
        )


def test_every_table_of_the_control_database_has_its_policy(platform: Installation) -> None:
    """Whoever adds a table decides what a customer sees of it."""
    with platform.control() as control:
        without = {
            row[0]
            for row in control.execute(
                "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace"
                " AND relkind IN ('r', 'p') AND NOT relrowsecurity"
                " AND relname NOT LIKE 'procrastinate%%'"
            )
        }
        open_to_customers = {
            row[0]
            for row in control.execute(
                "SELECT table_name FROM information_schema.role_table_grants"
                " WHERE grantee = 'tenantry_customer' AND privilege_type <> 'SELECT'"
            )
        }
    assert without <= NOT_A_CUSTOMERS
    assert not open_to_customers & NOT_A_CUSTOMERS


def test_a_query_that_forgets_the_customer_finds_no_neighbour(
    platform: Installation, customers: tuple[Customer, Customer]
) -> None:
    """The store itself, asked for all rows in a customer's name and in the platform's."""
    ann, bob = customers

    async def owners() -> list[set[uuid.UUID]]:
        found: list[set[uuid.UUID]] = []
        everything = "SELECT customer_id FROM databases WHERE customer_id IS NOT NULL"
        async with ControlStore(Address(platform.home / "run" / "control", 5432)) as store:
            async with store.transaction(Actor("api_key", "ann", customer_id=ann.id)) as tx:
                found.append({row[0] async for row in await tx.execute(everything)})
                async with as_platform(tx):
                    found.append({row[0] async for row in await tx.execute(everything)})
                found.append({row[0] async for row in await tx.execute(everything)})
            async with store.transaction(PLATFORM) as tx:  # nothing is left on the connection
                found.append({row[0] async for row in await tx.execute(everything)})
        return found

    first, lifted, again, platforms = asyncio.run(owners())
    assert first == again == {ann.id}
    assert {ann.id, bob.id} <= lifted & platforms


# What the toolkit's check says of the control database and is meant: decision 0026.
MEANT = {
    "rls-not-forced",  # the owner is the superuser, to whom it never applies
    "column-nullable",  # of nobody: the platform's and the administrators', and warm databases
    "index-missing",  # tables of one small installation, most of them read by another key
    "unique-tells",  # names of databases and people are the whole platform's; hashes are random
    "foreign-key-crosses:public.api_keys",  # made by an administrator, for a customer
    "foreign-key-crosses:public.databases",  # a branch's parent; the id is unguessable
    # It adds messages for the platform's channels, and those of the customer of an audited row,
    # which for a customer is its own.
    "function-of-the-owner:public.send_event()",
}


@pytest.fixture(scope="module")
def copied(
    platform: Installation, customers: tuple[Customer, Customer]
) -> Iterator[psycopg.Connection[TupleRow]]:
    """A copy of the control database, in which nothing changes while it is examined."""
    assert len(customers) == 2  # who have rows of every kind
    bindir, name = find_postgres(platform.home / "none").bindir, f"copied_{uuid.uuid4().hex[:8]}"
    where = [f"--host={platform.home / 'run' / 'control'}", "--username=tenantry_admin"]
    dump = [f"{bindir}/pg_dump", *where, "--format=custom", "tenantry_control"]
    restore = [f"{bindir}/pg_restore", *where, "--exit-on-error", f"--dbname={name}"]
    with platform.control() as control:
        control.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        try:
            archive = subprocess.run(dump, capture_output=True, check=True)
            subprocess.run(restore, input=archive.stdout, check=True)
            with platform.superuser("control", name) as copy:
                # What others did here: too many rows to try it on. Autovacuum may have counted them
                # already; TRUNCATE makes their number unknown again.
                copy.execute("TRUNCATE audit_logs")
                yield copy
        finally:
            control.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def test_the_toolkit_proves_that_customers_are_kept_apart(
    copied: psycopg.Connection[TupleRow],
) -> None:
    report = check(copied, role=CUSTOMER)
    unexplained = [
        each for each in report.findings if not {each.kind, f"{each.kind}:{each.subject}"} & MEANT
    ]
    assert not unexplained
    assert (report.count("crossed"), report.count("not tried")) == (0, 0), as_text(report)
    assert report.count("refused") > 100
    # Of what is not found by customer_id and references, this file's own tests are the proof.
    assert {f"public.{table}" for table in OWNERS} - set(report.subjects) == {
        "public.idempotency_keys",
        "public.samples_raw",
        "public.newest_samples",
    }
    unforced = [each for each in report.findings if each.kind == "rls-not-forced"]
    assert all(
        "the owner, tenantry_admin," in each.why
        or ("sample" in each.subject and "the owner, tenantry_platform," in each.why)
        for each in unforced
    )


def test_and_would_find_one_who_is_not(copied: psycopg.Connection[TupleRow]) -> None:
    with copied.transaction(force_rollback=True):
        copied.execute("CREATE POLICY careless ON ip_whitelist TO tenantry_customer USING (true)")
        report = check(copied, role=CUSTOMER)
    found = {(each.kind, each.subject) for each in report.errors}
    assert {("policy-open", "public.ip_whitelist"), ("crossed", "public.ip_whitelist")} <= found
