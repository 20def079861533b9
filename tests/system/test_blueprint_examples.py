"""A database of each blueprint, made in one call, with its sample program, and upgraded."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from psycopg import sql

from answers import data
from clients import ENDPOINTS, eventually, login
from harness import Installation
from tenantry_rls import TenantContext, tenant_transaction
from tenantry_rls.check import check

EXAMPLES = Path(__file__).parents[2] / "examples"

# What each says, beside the seeds: to the customers, to the administrator, to nobody in particular.
SAYS = {
    "hosting": """\
ann: ann.hosting.example
ann suspends bob's: 0
bob: bob.hosting.example
administrator: ann.hosting.example antiques.example bikes.example blog.antiques.example \
bob.hosting.example
nobody:
""",
    "billing": """\
too much: payment_transactions_refunded_at_most
ann: ann=1499USD
bob: bob=2900JPY
administrator: ann=1499USD bob=2900JPY
nobody:
""",
    "todos": """\
ann: administrator=open ann=done
bob: administrator=open bob=open
administrator: administrator=open ann=done bob=open
nobody: administrator=open
""",
}
# What later versions add to a table.
ADDED = {
    "hosting": ("public.sites", "tags"),
    "billing": ("public.subscriptions", "trial_ends_at"),
    "todos": ("api.todos", "due_at"),
}


def run(name: str, url: str) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", EXAMPLES / f"{name}.py"],
        env={"DATABASE_URL": url, "PYTHONPATH": ":".join(sys.path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def rows(url: str) -> dict[str, list[dict[str, Any]]]:
    """All rows of all tables, as an administrator sees them."""
    context = TenantContext(user_role="administrator")
    with login(url) as session, tenant_transaction(session, context):
        tables = session.execute(
            "SELECT schemaname, tablename FROM pg_tables WHERE schemaname IN ('public', 'api')"
            " AND tablename NOT LIKE '%\\_migrations'"
        ).fetchall()
        return {
            ".".join(table): [
                row
                for (row,) in session.execute(
                    sql.SQL("SELECT to_jsonb(x) FROM {} AS x ORDER BY x.ctid").format(
                        sql.Identifier(*table)
                    )
                )
            ]
            for table in tables
        }


@pytest.mark.parametrize("name", SAYS)
def test_made_in_one_call_used_and_upgraded(
    platform: Installation, api: httpx.Client, name: str
) -> None:
    database = platform.create(blueprint=f"{name}@1", seeds="development")
    application = database["roles"][0] if database["roles"] else database
    for endpoint in ENDPOINTS:
        assert run(name, application[endpoint]) == SAYS[name]

    before = rows(application["connection_string"])
    path = f"/api/databases/{database['id']}/blueprint"
    operation = data(api.post(path, json={}), 202)
    eventually(
        lambda: (
            data(api.get(f"/api/operations/{operation['id']}"))["status"]
            not in {"queued", "running"}
        )
    )
    stands = data(api.get(path))
    assert stands["version"] == stands["newest"] > 1
    assert data(api.get(f"{path}/diff"))["differences"] == []
    after = rows(application["connection_string"])
    table, column = ADDED[name]
    assert all(column in row for row in after[table])
    for row in after[table]:
        del row[column]
    assert all(before.values())
    assert after == before

    assert run(name, application["connection_string_pooled"]) == SAYS[name]
    isolation = data(api.get(f"/api/blueprints/{name}"))["isolation"]
    with psycopg.connect(application["connection_string_pooled"]) as conn:
        report = check(conn, **isolation)
    # That the owner is asked is a warning; todos has no other login.
    assert report.passes(strict=application is not database)
    assert report.count("refused") == len(report.attempts) > 0
