"""``tenantry_rls``: put policies on tables, take them off, and prove that they hold.

Exit codes: 0 done, or isolated; 1 not isolated, or nothing there; 2 wrong usage; 3 no
connection, or the database refuses.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tenantry_rls.context import TenantError

if TYPE_CHECKING:
    import psycopg

    from tenantry_rls.tables import Change

DONE, FAILED, NO_DATABASE = 0, 1, 3
_FROM_ENVIRONMENT = "default: DATABASE_URL, or what libpq finds (PGHOST, PGDATABASE …)"


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the program; return the exit code."""
    parser = _parser()
    asked = parser.parse_args(arguments)
    try:
        import psycopg  # noqa: PLC0415 (an extra of this library)
    except ImportError:
        _say("This needs psycopg: pip install 'tenantry-rls[psycopg]'")
        return NO_DATABASE
    try:
        with psycopg.connect(asked.url or os.environ.get("DATABASE_URL", "")) as conn:
            code: int = {"enable": _enable, "disable": _disable, "check": _check}[asked.verb](
                conn, asked
            )
            return code
    except TenantError as error:
        _say(str(error))
        return FAILED
    except psycopg.Error as error:
        _say(str(error).strip() or type(error).__name__)
        return NO_DATABASE


def _enable(conn: "psycopg.Connection[object]", asked: argparse.Namespace) -> int:
    from tenantry_rls import tables  # noqa: PLC0415 (needs psycopg)

    change = tables.enable(
        conn,
        asked.table,
        column=asked.column,
        through=asked.through,
        admin_role=None if asked.no_admin else asked.admin_role,
        dry_run=asked.dry_run,
    )
    return _report(conn, change, asked)


def _disable(conn: "psycopg.Connection[object]", asked: argparse.Namespace) -> int:
    from tenantry_rls import tables  # noqa: PLC0415 (needs psycopg)

    return _report(conn, tables.disable(conn, asked.table, dry_run=asked.dry_run), asked)


def _report(conn: "psycopg.Connection[object]", change: "Change", asked: argparse.Namespace) -> int:
    if asked.dry_run:
        for statement in change.statements:
            _print(f"{statement.as_string(conn)};")
    else:
        done = "is as asked now" if change.changed else "was as asked already"
        _say(f"{asked.table} {done}.")
    return DONE


def _check(conn: "psycopg.Connection[object]", asked: argparse.Namespace) -> int:
    from tenantry_rls import check, report  # noqa: PLC0415 (needs psycopg)

    found = check.check(conn, column=asked.column, role=asked.role, allow=asked.allow)
    render = {"text": report.as_text, "json": report.as_json, "junit": report.as_junit}
    text = render[asked.format](found)
    if asked.output:
        asked.output.write_text(f"{text}\n")
    else:
        _print(text)
    return DONE if found.passes(strict=asked.strict) else FAILED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="tenantry_rls",
        description="Keep customers' rows apart by row-level security, and prove it.",
        epilog="Exit codes: 0 done, or isolated; 1 not; 2 wrong usage; 3 no connection.",
    )
    verbs = parser.add_subparsers(dest="verb", required=True)

    enable = verbs.add_parser("enable", help="put tenant policies on a table")
    enable.add_argument("table", help="such as sites, or app.sites")
    by = enable.add_mutually_exclusive_group()
    by.add_argument("--column", default="customer_id", help="holds the customer's id")
    by.add_argument("--through", metavar="COLUMN", help="refers to a table that is secured")
    admin = enable.add_mutually_exclusive_group()
    admin.add_argument(
        "--admin-role", default="public", help="whose logins may act as administrators (public)"
    )
    admin.add_argument("--no-admin", action="store_true", help="nobody acts as administrator")

    disable = verbs.add_parser("disable", help="take them off again")
    disable.add_argument("table")
    for verb in (enable, disable):
        verb.add_argument("--url", help=_FROM_ENVIRONMENT)
        verb.add_argument("--dry-run", action="store_true", help="print the SQL, do nothing")

    check = verbs.add_parser("check", help="prove that customers are kept apart")
    check.add_argument("url", nargs="?", help=_FROM_ENVIRONMENT)
    check.add_argument("--column", default="customer_id", help="holds the customer's id")
    check.add_argument("--role", help="the application's role, if another one connects")
    check.add_argument(
        "--allow",
        action="append",
        default=[],
        metavar="KIND:SUBJECT",
        help="a finding that is known and meant, such as view-of-the-owner:public.prices",
    )
    check.add_argument("--format", choices=("text", "json", "junit"), default="text")
    check.add_argument("--output", type=Path, metavar="FILE", help="write the report there")
    check.add_argument("--strict", action="store_true", help="warnings fail it as well")
    return parser


def _print(text: str) -> None:
    sys.stdout.write(f"{text}\n")


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")
