"""Prove that a database isolates customers: by its catalogs, then by attempts."""

from collections.abc import Collection
from typing import Any

import psycopg
from psycopg import Connection, sql

from tenantry_rls import catalog, rules
from tenantry_rls.attempts import Attempts
from tenantry_rls.context import TenantError
from tenantry_rls.report import Attempt, Finding, Report


class CannotCheck(TenantError):
    """The check itself failed; the message says why."""


def check(
    conn: Connection[Any],
    *,
    column: str = "customer_id",
    role: str | None = None,
    allow: Collection[str] = (),
) -> Report:
    """Check every table with ``column``, and try to reach other customers' rows as ``role``.

    ``role`` is the application's, which the connection's must be able to become (default: the
    connection's own). ``allow`` holds ``kind:subject`` of findings that are known and accepted.
    Nothing stays: it all happens in one transaction that is rolled back (but sequences advance).
    Raises CannotCheck.
    """
    try:
        with conn.transaction(force_rollback=True):
            seen = catalog.read(conn, column=column, role=role)
            found = rules.judge(seen)
            attempts: list[Attempt] = []
            if seen.tenants and not seen.role.bypasses:
                _try_to_become(conn, seen.role.name)
                attempts = Attempts(conn, seen).make()
    except LookupError as error:
        raise CannotCheck(str(error)) from error
    crossed = [_crossing(each) for each in attempts if each.outcome == "crossed"]
    untried = [_untried(each) for each in attempts if each.outcome == "not tried"]
    subjects = [each.relation.label for each in seen.tenants.values()]
    subjects += [view.label for view in seen.views()]
    subjects += [function.label for function in seen.functions if function.definer]
    reported = (*found, *crossed, *untried)
    return Report(
        database=seen.database,
        role=seen.role.name,
        subjects=tuple(subjects),
        findings=tuple(each for each in reported if f"{each.kind}:{each.subject}" not in allow),
        allowed=tuple(each for each in reported if f"{each.kind}:{each.subject}" in allow),
        attempts=tuple(attempts),
    )


def _try_to_become(conn: Connection[Any], role: str) -> None:
    try:
        with conn.transaction(force_rollback=True):
            conn.execute(sql.SQL("SET LOCAL ROLE {}").format(sql.Identifier(role)))
    except psycopg.errors.InsufficientPrivilege as error:
        raise CannotCheck(
            f"{conn.info.user} may not become {role}: connect as a superuser, or as a member of "
            f"{role}, or as {role} itself."
        ) from error


def _crossing(attempt: Attempt) -> Finding:
    return Finding(
        "crossed",
        attempt.subject,
        f"{attempt.action}: it was done.",
        "As one customer, another customer's row was reached."
        if "without a context" not in attempt.action
        else "Whoever sets no context sees rows, instead of none.",
        f"-- tenantry_rls enable {attempt.subject}, and drop what else lets it through",
    )


def _untried(attempt: Attempt) -> Finding:
    return Finding(
        "not-tried",
        attempt.subject,
        f"{attempt.action}: {attempt.detail}",
        "What was not tried is proved by the catalog alone.",
        "-- Connect as a role that may make the rows, such as the owner or a superuser,\n"
        "-- and name the application's role with --role",
        severity="warning",
    )
